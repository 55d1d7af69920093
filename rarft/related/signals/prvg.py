"""PRVG: all sentences of a paragraph at once (Shi et al., 2021, arXiv 2109.11265: dense video grounding by parallel
regression).

Mechanism: each sentence is one query of a transformer decoder. The queries read each other and the video, and each
regresses its segment directly: no proposals, no ranking. Attention is guided as a whole: what a sentence pays to the
steps of its segment, taken together, is to be 1, however long the segment is.

Kept: parallel queries, direct regression, the attention loss over the whole segment. Scaled down: two layers that read
the video and three of the decoder, width 128. Ours: a presence logit for each sentence, since a paragraph can be wrong
in one of them.

Does it refuse? The other sentences tell what the video is about and in which order; they tell nothing about what a
wrong one *should* say. A regression has an answer to every sentence; only the presence logit can say no, and it needs
negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import LONGEST, Batch, FeatureBank, Scalar, in_batches
from rarft.related.moments import blocks
from rarft.related.moments.blocks import HEADS, WIDTH
from rarft.related.moments.training import Learner
from rarft.related.protocol import Answer, System
from rarft.schema import Crop, Group, Sample, Span

MAX_SENTENCES = 4  # of a paragraph in training
PARAGRAPHS = 12  # of a batch in training
DECODER_LAYERS = 3
Paragraph = Sequence[Sample]  # about one video


class ParagraphBatch(NamedTuple):
    """Paragraphs as tensors. batch: all their sentences as samples, in a row."""

    batch: Batch
    places: Int[Tensor, "paragraphs places"]  # the row of each sentence in the batch, -1 where a paragraph has no more
    firsts: Int[Tensor, " paragraphs"]  # the row of each paragraph's first sentence


class _Layer(nn.Module):
    """Sentences read each other, then the video."""

    def __init__(self) -> None:
        super().__init__()
        self.among = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.video = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.think = blocks.two_layers(WIDTH, WIDTH, hidden=2 * WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(
        self,
        queries: Float[Tensor, "paragraphs places hidden"],
        missing: Bool[Tensor, "paragraphs places"],
        video: Float[Tensor, "paragraphs cells hidden"],
        beyond: Bool[Tensor, "paragraphs cells"],
    ) -> tuple[Float[Tensor, "paragraphs places hidden"], Float[Tensor, "paragraphs places cells"]]:
        """The sentences, and their attention to the cells of the video."""
        x = self.norms[0](queries)
        queries = queries + self.among(x, x, x, key_padding_mask=missing, need_weights=False)[0]
        read, attention = self.video(self.norms[1](queries), video, video, key_padding_mask=beyond)
        queries = queries + read
        return queries + self.think(self.norms[2](queries)), attention


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.content = blocks.Content(bank.video_size)
        self.time = blocks.positions(LONGEST)
        self.encoder = blocks.transformer(2)
        self.query = blocks.PooledQuery(bank.word_size)
        self.place = blocks.positions(16)  # of a sentence in its paragraph
        self.layers = nn.ModuleList(_Layer() for _ in range(DECODER_LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.segment = blocks.two_layers(WIDTH, 2)
        self.presence = blocks.two_layers(WIDTH, 1)

    def forward(
        self, asked: ParagraphBatch
    ) -> tuple[Float[Tensor, "sentences 2"], Float[Tensor, " sentences"], Float[Tensor, "sentences layers steps"]]:
        """Of each sentence of the batch: its segment as shares of the video, a presence logit, and its attention to
        each step in each layer."""
        batch, places, firsts = asked
        steps = batch.steps[firsts]
        regions = batch.video.shape[2]
        seen = self.content(batch.video[firsts], steps) + self.time[: steps.shape[1], None]
        # Regions of all steps in one sequence, so that what is next to what is kept.
        beyond = ~steps.repeat_interleave(regions, 1)
        video = self.encoder(seen.flatten(1, 2), src_key_padding_mask=beyond)
        queries = self.query(batch.words, batch.word_mask) * WIDTH**0.5
        missing = places < 0
        x = queries[places.clamp(min=0)] + self.place[: places.shape[1]]
        attentions = []
        for layer in self.layers:
            x, attention = layer(x, missing, video, beyond)
            attentions.append(attention.unflatten(2, (-1, regions)).sum(3)[~missing])
        x = self.norm(x)[~missing]
        centre, length = self.segment(x).sigmoid().unbind(-1)
        spans = torch.stack([centre - length / 2, centre + length / 2], -1)
        return spans, self.presence(x).squeeze(-1), torch.stack(attentions, 1)


class PRVG(Learner, System):
    """Answers whole paragraphs (`answer_paragraphs`); under the protocol, each query is a paragraph of one sentence."""

    def __init__(self, *, ordered: bool = True, **training: int):
        """ordered: sentences of a training paragraph come in the order of their segments; else in any order.
        training: steps and seed, see `Learner`."""
        super().__init__(**training)
        self.ordered = ordered

    def build(self, examples: Sequence[Group], bank: FeatureBank) -> nn.Module:
        """An encoder of the video and a decoder of sentences."""
        return _Network(bank)

    def batches(self, examples: Sequence[Group], rng: np.random.Generator) -> Iterator[list[Paragraph]]:
        """Batches of paragraphs, made of the groups that are about the same video: their relevant queries; where they
        have irrelevant ones, half of the paragraphs have one of these in the place of a sentence."""
        by_video: dict[Crop, list[Group]] = {}
        for group in examples:
            by_video.setdefault(group.crop, []).append(group)
        videos = list(by_video.values())
        while True:
            drawn = rng.choice(len(videos), min(PARAGRAPHS, len(videos)), replace=False)
            yield [self._draw_paragraph(videos[i], rng) for i in drawn]

    def _draw_paragraph(self, groups: Sequence[Group], rng: np.random.Generator) -> list[Sample]:
        count = int(rng.integers(1, min(MAX_SENTENCES, len(groups)) + 1))
        chosen = [groups[i] for i in rng.permutation(len(groups))[:count]]
        if self.ordered:
            chosen = sorted_by_start(chosen)
        sentences = [group.relevant for group in chosen]
        if rng.random() < 0.5:
            sentences = contaminate(chosen, int(rng.integers(count)), rng) or sentences
        return sentences

    def loss(self, batch: list[Paragraph], bank: FeatureBank) -> Tensor:
        """The losses of presence, and of the segments and the attention of relevant sentences."""
        asked = paragraph_batch(batch, bank)
        samples = asked.batch
        spans, presence, attention = self.network(asked)
        loss = F.binary_cross_entropy_with_logits(presence, samples.relevant.float())
        true = (samples.spans / samples.steps.sum(1, keepdim=True))[samples.relevant]
        if not len(true):
            return loss
        found = spans[samples.relevant]
        loss = loss + 5 * F.l1_loss(found, true) + (1 - blocks.generalised_iou(found, true)).mean()
        return loss + attention_loss(attention[samples.relevant], blocks.foreground_of(samples)[samples.relevant])

    @torch.inference_mode()
    def answer_paragraphs(self, paragraphs: Sequence[Paragraph], bank: FeatureBank) -> list[list[Answer]]:
        """An answer to each sentence of each paragraph."""
        answers = []
        for part in in_batches(paragraphs):
            asked = paragraph_batch(part, bank)
            spans, presence, _ = self.network(asked)
            seconds = (asked.batch.steps.sum(1) * asked.batch.step_seconds)[:, None]
            pairs = zip((spans.clamp(0, 1) * seconds).tolist(), (-presence).sigmoid().tolist(), strict=True)
            rows = iter(Answer(Span(round(s, 2), round(e, 2)), refusal) for (s, e), refusal in pairs)
            answers += [[next(rows) for _ in paragraph] for paragraph in part]
        return answers

    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """Each query as a paragraph of its own."""
        return [answers[0] for answers in self.answer_paragraphs([[sample] for sample in samples], bank)]


def sorted_by_start(groups: Sequence[Group]) -> list[Group]:
    """Groups about one video, by the start of their relevant query's segment: the order of a paragraph."""
    return sorted(groups, key=lambda group: group.relevant.spans[0])


def paragraphs_of(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups about each video in order, at most `MAX_SENTENCES`, no two of them about the same segment; none for a
    video of which only one is left."""
    by_video: dict[Crop, dict[Span, Group]] = {}
    for group in groups:
        by_video.setdefault(group.crop, {}).setdefault(group.relevant.spans[0], group)
    return [sorted_by_start(list(found.values())[:MAX_SENTENCES]) for found in by_video.values() if len(found) > 1]


def contaminate(groups: Sequence[Group], wrong: int, rng: np.random.Generator) -> list[Sample] | None:
    """The paragraph of these groups' relevant queries, with an irrelevant one of group `wrong` in the place of its own;
    None if that group has none."""
    sentences, others = [group.relevant for group in groups], groups[wrong].irrelevant
    if not others:
        return None
    sentences[wrong] = others[int(rng.integers(len(others)))]
    return sentences


def attention_loss(
    attention: Float[Tensor, "sentences layers steps"], inside: Bool[Tensor, "sentences steps"]
) -> Scalar:
    """-log of the attention that a sentence pays to its segment as a whole, mean over sentences and layers.

    Each row of attention sums to 1. It does not matter how attention is spread within.
    """
    paid = (attention * inside[:, None]).sum(-1)
    return -paid.clamp(min=1e-6).log().mean()


def paragraph_batch(paragraphs: Sequence[Paragraph], bank: FeatureBank) -> ParagraphBatch:
    """Paragraphs, each about one video, as tensors."""
    batch = bank.batch([sample for paragraph in paragraphs for sample in paragraph])
    counts = torch.tensor([len(paragraph) for paragraph in paragraphs])
    firsts, places = counts.cumsum(0) - counts, torch.arange(int(counts.max()))
    rows = (firsts[:, None] + places).masked_fill(places >= counts[:, None], -1)
    return ParagraphBatch(batch, rows, firsts)
