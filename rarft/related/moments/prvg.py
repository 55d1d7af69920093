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

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.bank import LONGEST, Bank, Batch
from rarft.related.moments.blocks import (
    HEADS,
    STEPS,
    WIDTH,
    Content,
    Pooled,
    foreground_of,
    generalised_iou,
    in_batches,
    optimise,
    parameters_of,
)
from rarft.related.protocol import Answer, System
from rarft.schema import Crop, Group, Sample, Span

MOST = 4  # sentences of a paragraph in training
Paragraph = Sequence[Sample]


class Paragraphs(NamedTuple):
    """P paragraphs of at most S sentences. batch: all their sentences as samples, in a row; places (P, S): the row of
    each sentence in it, -1 where there is none; firsts (P,): of the first sentence of each."""

    batch: Batch
    places: Tensor
    firsts: Tensor


class _Layer(nn.Module):
    """Sentences read each other, then the video."""

    def __init__(self) -> None:
        super().__init__()
        self.among = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.video = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.think = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, queries: Tensor, missing: Tensor, video: Tensor, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """queries (P, S, WIDTH), missing (P, S), video (P, N, WIDTH), beyond (P, N) → queries, attention (P, S, N)."""
        x = self.norms[0](queries)
        queries = queries + self.among(x, x, x, key_padding_mask=missing, need_weights=False)[0]
        read, attention = self.video(self.norms[1](queries), video, video, key_padding_mask=beyond)
        queries = queries + read
        return queries + self.think(self.norms[2](queries)), attention


class _Network(nn.Module):
    def __init__(self, video_size: int, word_size: int, *, layers: int = 3):
        super().__init__()
        self.content = Content(video_size)
        self.time = nn.Parameter(torch.randn(LONGEST, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.query = Pooled(word_size)
        self.place = nn.Parameter(torch.randn(16, WIDTH) * 0.02)  # of a sentence in its paragraph
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.segment = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 2))
        self.presence = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))

    def forward(self, asked: Paragraphs) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sentence of the batch (N): its segment as shares of the video (N, 2), presence logit (N,), attention
        to each step in each layer (N, layers, T)."""
        batch, places, firsts = asked
        steps = batch.steps[firsts]
        regions = batch.video.shape[2]
        seen = self.content(batch.video[firsts], steps) + self.time[: steps.shape[1], None]
        # Regions of all steps in one sequence: what is next to what stays known.
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


class PRVG(System):
    """Answers whole paragraphs (`answer_paragraphs`); under the protocol, each query is a paragraph of one sentence."""

    def __init__(self, *, ordered: bool = True, steps: int = STEPS, seed: int = 0):
        """ordered: sentences of a training paragraph come in the order of their segments; else in any order."""
        self.ordered, self.steps, self.seed = ordered, steps, seed

    def fit(self, groups: Sequence[Group], bank: Bank, batch_size: int = 12) -> None:
        """Paragraphs are made of the groups that are about the same video: their relevant queries; where they have
        irrelevant ones, half of the paragraphs have one of these in the place of a sentence."""
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        self.network = _Network(bank.video_size, bank.word_size)
        self.parameters = parameters_of(self.network)
        by_video: dict[Crop, list[Group]] = {}
        for group in groups:
            by_video.setdefault(group.crop, []).append(group)
        videos = list(by_video.values())

        def loss_of_batch() -> Tensor:
            drawn = rng.choice(len(videos), min(batch_size, len(videos)), replace=False)
            return self._loss(as_paragraphs([self._paragraph(videos[i], rng) for i in drawn], bank))

        self.losses = optimise(self.network, loss_of_batch, steps=self.steps, desc="PRVG")

    def _paragraph(self, groups: Sequence[Group], rng: np.random.Generator) -> list[Sample]:
        count = int(rng.integers(1, min(MOST, len(groups)) + 1))
        chosen = [groups[i] for i in rng.permutation(len(groups))[:count]]
        if self.ordered:
            chosen = in_order(chosen)
        sentences = [group.relevant for group in chosen]
        if rng.random() < 0.5:
            sentences = contaminated(chosen, int(rng.integers(count)), rng) or sentences
        return sentences

    def _loss(self, asked: Paragraphs) -> Tensor:
        batch = asked.batch
        spans, presence, attention = self.network(asked)
        loss = F.binary_cross_entropy_with_logits(presence, batch.relevant.float())
        true = (batch.spans / batch.steps.sum(1, keepdim=True))[batch.relevant]
        if not len(true):
            return loss
        found = spans[batch.relevant]
        loss = loss + 5 * F.l1_loss(found, true) + (1 - generalised_iou(found, true)).mean()
        return loss + attention_loss(attention[batch.relevant], foreground_of(batch)[batch.relevant])

    @torch.inference_mode()
    def answer_paragraphs(self, paragraphs: Sequence[Paragraph], bank: Bank) -> list[list[Answer]]:
        """An answer to each sentence of each paragraph."""
        answers = []
        for part in in_batches(paragraphs):
            asked = as_paragraphs(part, bank)
            spans, presence, _ = self.network(asked)
            seconds = (asked.batch.steps.sum(1) * asked.batch.step_seconds)[:, None]
            spans = (spans.clamp(0, 1) * seconds).tolist()
            doubts = (-presence).sigmoid().tolist()
            rows = iter(Answer(Span(round(s, 2), round(e, 2)), d) for (s, e), d in zip(spans, doubts, strict=True))
            answers += [[next(rows) for _ in paragraph] for paragraph in part]
        return answers

    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        return [answers[0] for answers in self.answer_paragraphs([[sample] for sample in samples], bank)]


def in_order(groups: Sequence[Group]) -> list[Group]:
    """Groups about one video, by the start of their relevant query's segment: the order in which a paragraph tells."""
    return sorted(groups, key=lambda group: group.relevant.spans[0])


def paragraphs_of(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups about each video in order, at most `MOST`, no two of them about the same segment; none for a video of
    which only one is left."""
    by_video: dict[Crop, dict[Span, Group]] = {}
    for group in groups:
        by_video.setdefault(group.crop, {}).setdefault(group.relevant.spans[0], group)
    return [in_order(list(found.values())[:MOST]) for found in by_video.values() if len(found) > 1]


def contaminated(groups: Sequence[Group], wrong: int, rng: np.random.Generator) -> list[Sample] | None:
    """The paragraph of these groups' relevant queries, with an irrelevant one of group `wrong` in the place of its own;
    None if that group has none."""
    sentences, others = [group.relevant for group in groups], groups[wrong].irrelevant
    if not others:
        return None
    sentences[wrong] = others[int(rng.integers(len(others)))]
    return sentences


def attention_loss(attention: Tensor, inside: Tensor) -> Tensor:
    """-log of the attention that a sentence pays to its segment as a whole, mean over sentences and layers.

    attention (N, layers, T), each row sums to 1; inside (N, T). It does not matter how attention is spread within.
    """
    paid = (attention * inside[:, None]).sum(-1)
    return -paid.clamp(min=1e-6).log().mean()


def as_paragraphs(paragraphs: Sequence[Paragraph], bank: Bank) -> Paragraphs:
    """Paragraphs, each about one video, as tensors."""
    batch = bank.batch([sample for paragraph in paragraphs for sample in paragraph])
    counts = torch.tensor([len(paragraph) for paragraph in paragraphs])
    firsts = counts.cumsum(0) - counts
    places = firsts[:, None] + torch.arange(int(counts.max()))
    return Paragraphs(batch, places.masked_fill(torch.arange(int(counts.max())) >= counts[:, None], -1), firsts)
