"""Alignment of phrases: a query holds if each of its phrases does (after content-conditioned queries for grounding
and phrase-level alignment in moment retrieval).

Mechanism: the query is cut into phrases. Each reads the video, and is compared with every region of every step; where
all of them fit best, they meet. What is there, without a word of the query, is compared with each phrase again: the
query's presence is that of its *weakest* phrase, which is so named as the one that is wrong.

Kept: conditioning on content, alignment of phrase and moment, the minimum. Scaled down: phrases are cut by the world's
grammar, or else at function words; no parser. Ours: the phrase of the same slot that fits the place best becomes the
correction.

Does it refuse? The other phrases of the batch are contrast enough to learn what fits; negatives calibrate the
minimum. Training says only that a *sentence* is irrelevant; which phrase is wrong the network has to find out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import Batch, FeatureBank, Scalar, pad
from rarft.related.moments import blocks
from rarft.related.moments.blocks import WIDTH
from rarft.related.moments.data import slot_values
from rarft.related.moments.training import SampleLearner
from rarft.related.protocol import Answer
from rarft.schema import Group, Sample
from rarft.world.edits import reversed_order
from rarft.world.language import Slots, parse
from rarft.world.refusals import refusal

TEMPERATURE = 0.1
ABSENT = 2.0  # above every cosine: a phrase that is not there is never the weakest
SOFTNESS = 0.1  # of the minimum in training: all phrases of an irrelevant query get some gradient
_BORDERS = re.compile(r"\s+(?=(?:in|on|at|with|from|into|onto|by|near|before|after|while|then|and|as)\b)")
Phrases = Float[Tensor, "batch phrases word_size"]
PhraseMask = Bool[Tensor, "batch phrases"]  # which of them exist


def phrases_of(query: str) -> list[str]:
    """The phrases of a query: one a slot for queries of the world, else the parts between function words.

    An order is no phrase: "before it grows" is not true of a place, but of two. See `neighbour_of`.
    """
    slots = parse(query)
    if slots is None:
        return _BORDERS.split(query.strip())
    return [phrase for slot, phrase in slots.phrases().items() if slot != "order"]


def neighbour_of(query: str) -> tuple[str, list[str]] | None:
    """The order that a query of the world asks for, as ("before" or "after", the phrases of the other event)."""
    slots = parse(query)
    if slots is None or slots.order is None:
        return None
    word, action = slots.order
    other = Slots(slots.colour, slots.shape, action, form=slots.form)
    return word, list(other.phrases().values())


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.fusion = blocks.Fusion(bank)
        self.heads = blocks.SegmentHeads()
        self.cell = blocks.Content(bank.video_size)
        self.phrase = nn.Sequential(*blocks.projection(bank.word_size), nn.GELU())
        self.read = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.key, self.ask = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.holds = blocks.two_layers(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.tensor([5.0, 0.0]))

    def fit(
        self, batch: Batch, phrases: Phrases, mask: PhraseMask
    ) -> tuple[Float[Tensor, "batch cells hidden"], Float[Tensor, "batch phrases cells"], Float[Tensor, "batch cells"]]:
        """The cells of a video (all regions of all steps), how well each phrase fits each cell, and how well all
        phrases fit it together."""
        cells = self.cell(batch.video, batch.steps).flatten(1, 2)
        exists = batch.steps.repeat_interleave(batch.video.shape[2], 1)
        asked = self.phrase(phrases)
        asked = asked + self.read(asked, cells, cells, key_padding_mask=~exists, need_weights=False)[0]
        fit = self.ask(asked) @ self.key(cells).mT / WIDTH**0.5
        return cells, fit, (fit * mask[..., None]).sum(1).masked_fill(~exists, -torch.inf)

    def when(self, batch: Batch, phrases: Phrases, mask: PhraseMask) -> Float[Tensor, "batch steps"]:
        """The step at which all phrases of a query meet, as probabilities."""
        _, _, together = self.fit(batch, phrases, mask)
        return together.softmax(1).view(*batch.video.shape[:3]).sum(2)

    def forward(
        self, batch: Batch, phrases: Phrases, mask: PhraseMask
    ) -> tuple[blocks.Logits, blocks.Offsets, Float[Tensor, "batch phrases steps"], Float[Tensor, "batch hidden"]]:
        """Logits and offsets of steps, the alignment of phrases and steps, and the vector, of length 1, of the place
        where all phrases meet."""
        size, length, regions, _ = batch.video.shape
        cells, fit, together = self.fit(batch, phrases, mask)
        meeting = torch.einsum("bn,bnd->bd", together.softmax(1), cells)
        per_step = together.view(size, length, regions).logsumexp(2).masked_fill(~batch.steps, 0)
        logits, offsets = self.heads(self.fusion(batch, phrases, mask))
        alignment = fit.view(size, -1, length, regions).amax(3)
        return logits + per_step, offsets, alignment, F.normalize(self.holds(meeting), dim=-1)

    def presence(self, meeting: Float[Tensor, "batch hidden"], phrases: Phrases) -> Float[Tensor, "batch phrases"]:
        """Cosine of places with phrases, in [-1, 1]."""
        return torch.einsum("bd,bpd->bp", meeting, F.normalize(self.phrase(phrases), dim=-1))


class PhraseAlignment(SampleLearner):
    """Refuses where the weakest phrase does not hold, names it, and says what would."""

    def build(self, examples: Sequence[Group], bank: FeatureBank) -> nn.Module:
        """A transformer over video and phrases, and what compares phrases with regions."""
        self.values = slot_values([group.relevant.query for group in examples])
        return _Network(bank)

    def batch_loss(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> Tensor:
        """The losses of segments, of alignment, of contrast and of the weakest phrase."""
        phrases, mask = phrase_vectors([phrases_of(sample.query) for sample in samples], bank)
        logits, offsets, alignment, meeting = self.network(batch, phrases, mask)
        loss = blocks.segment_loss(logits, offsets, batch) + alignment_loss(alignment, mask, batch)
        loss = loss + self._contrast(meeting, phrases, mask & batch.relevant[:, None], mask)
        if not batch.relevant.all():
            holds = self.network.scale[0] * self.network.presence(meeting, phrases) + self.network.scale[1]
            weakest = -SOFTNESS * (-holds / SOFTNESS).masked_fill(~mask, -torch.inf).logsumexp(1)
            loss = loss + F.binary_cross_entropy_with_logits(weakest, batch.relevant.float())
        return loss

    def _contrast(
        self, meeting: Float[Tensor, "batch hidden"], phrases: Phrases, chosen: PhraseMask, mask: PhraseMask
    ) -> Scalar:
        """Of all different phrases of the batch, those of a relevant query (`chosen`) fit the place best (InfoNCE)."""
        if not chosen.any():
            return meeting.sum() * 0
        known, number = phrases[mask].unique(dim=0, return_inverse=True)
        similarity = self.network.presence(meeting, known.expand(len(meeting), -1, -1)) / TEMPERATURE
        index = torch.zeros(mask.shape, dtype=torch.long).masked_scatter(mask, number)
        mine = torch.zeros_like(similarity, dtype=torch.bool).scatter(1, index, mask)
        others = similarity.masked_fill(mine, -torch.inf).logsumexp(1, keepdim=True)
        own = similarity.gather(1, index)
        return (torch.logaddexp(own, others) - own)[chosen].mean()

    @torch.inference_mode()
    def order_presence(self, samples: Sequence[Sample], bank: FeatureBank) -> Float[Tensor, " batch"]:
        """How well the order holds that each query asks for, in [-1, 1]; `ABSENT` where it asks for none.

        An order is not true of a place: both events are looked for, and what is compared is when.
        """
        holds = torch.full((len(samples),), ABSENT)
        orders = {i: order for i, sample in enumerate(samples) if (order := neighbour_of(sample.query))}
        if not orders:
            return holds
        some = [samples[i] for i in orders]
        batch = bank.batch(some)
        first = self.network.when(batch, *phrase_vectors([phrases_of(s.query) for s in some], bank))
        second = self.network.when(batch, *phrase_vectors([other for _, other in orders.values()], bank))
        before = torch.tensor([word == "before" for word, _ in orders.values()])[:, None]
        # At each step: whether the first event was before it, or comes after it.
        wanted = torch.where(before, first.cumsum(1) - first, 1 - first.cumsum(1))
        holds[list(orders)] = 2 * (second * wanted).sum(1) - 1
        return holds

    def batch_answers(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The segment of the best step; refused and explained by the weakest phrase."""
        phrases, mask = phrase_vectors([phrases_of(sample.query) for sample in samples], bank)
        logits, offsets, _, meeting = self.network(batch, phrases, mask)
        holds = self.network.presence(meeting, phrases).masked_fill(~mask, ABSENT)
        weakest = torch.cat([holds, self.order_presence(samples, bank)[:, None]], 1).min(1)
        answers = []
        for i, (span, sample) in enumerate(zip(blocks.best_segments(logits, offsets, batch), samples, strict=True)):
            texts = self._explain(sample.query, int(weakest.indices[i]), meeting[i], bank)
            answers.append(Answer(span, (1 - float(weakest.values[i])) / 2, *texts))
        return answers

    def _explain(
        self, sentence: str, weakest: int, meeting: Float[Tensor, " hidden"], bank: FeatureBank
    ) -> tuple[str, str | None]:
        """Explanation and correction: the weakest phrase gives way to the one of its slot that fits best. Outside of
        the world's language no slot is known, and the phrase is only denied."""
        query = parse(sentence)
        if query is None:
            return f"not {phrases_of(sentence)[weakest]}", None
        slot = dict(enumerate(name for name in query.filled if name != "order")).get(weakest, "order")
        asked = getattr(query, slot)
        known: list[Any] = [reversed_order(asked)] if slot == "order" else self.values[slot]
        others = [replace(query, **{slot: value}) for value in known if value != asked]
        vectors, _ = phrase_vectors([[other.phrases()[slot] for other in others]], bank)
        best = others[int(self.network.presence(meeting[None], vectors)[0].argmax())]
        return refusal(query, best, [slot]), best.sentence()


def phrase_vectors(queries: Sequence[Sequence[str]], bank: FeatureBank) -> tuple[Phrases, PhraseMask]:
    """The phrases of several queries, each the mean of its words."""
    flat = iter(bank.words([phrase for phrases in queries for phrase in phrases]))
    return pad([torch.stack([next(flat).mean(0) for _ in phrases]) for phrases in queries])


def alignment_loss(alignment: Float[Tensor, "batch phrases steps"], mask: PhraseMask, batch: Batch) -> Scalar:
    """Each phrase of a relevant query is nearer to a step of the segment than to the steps outside."""
    inside = blocks.foreground_of(batch)
    scores = alignment.masked_fill(~batch.steps[:, None], -torch.inf)
    inner = scores.masked_fill(~inside[:, None], -torch.inf).logsumexp(2)
    chosen = mask & batch.relevant[:, None]
    return (scores.logsumexp(2) - inner)[chosen].mean() if chosen.any() else alignment.sum() * 0
