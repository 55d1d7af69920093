"""Alignment of phrases: a query holds if each of its phrases does (after content-conditioned queries for grounding
and phrase-level alignment in moment retrieval).

Mechanism: the query is cut into phrases. Each reads the video, and is compared with every region of every step; where
all of them fit best, they meet. What is there, without a word of the query, is compared with each phrase again: the
query's presence is that of its *weakest* phrase, which is so named as the one that is wrong.

Kept: conditioning on content, alignment of phrase and moment, the minimum. Scaled down: phrases are cut by the world's
grammar, or else at function words; no parser. Ours: the phrase of the same slot that fits the place best becomes the
correction.

Does it refuse? The other phrases of the batch are contrast enough to learn what fits; negatives calibrate the
minimum. It is told only that a *sentence* is irrelevant; which phrase is wrong it has to find out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from rarft.related.bank import Bank, Batch
from rarft.related.long_video.slots import values_of_slots
from rarft.related.moments.blocks import (
    STEPS,
    WIDTH,
    Content,
    Fusion,
    SegmentHeads,
    best_segments,
    foreground_of,
    in_batches,
    parameters_of,
    segment_loss,
    train,
)
from rarft.related.protocol import Answer, System
from rarft.schema import Group, Sample
from rarft.world.language import Slots, parse, refusal

TEMPERATURE = 0.1
ABSENT = 2.0  # above every cosine: a phrase that is not there is never the weakest
SOFTNESS = 0.1  # of the minimum in training: all phrases of an irrelevant query get some gradient
_BORDERS = re.compile(r"\s+(?=(?:in|on|at|with|from|into|onto|by|near|before|after|while|then|and|as)\b)")


def phrases_of(query: str) -> list[str]:
    """The phrases of a query: one a slot for queries of the world, else the parts between function words.

    An order is none: "before it grows" is not true of a place, but of two. See `neighbour_of`.
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
    def __init__(self, video_size: int, regions: int, word_size: int):
        super().__init__()
        self.fusion = Fusion(video_size * regions, word_size)
        self.heads = SegmentHeads()
        self.cell = Content(video_size)
        self.phrase = nn.Sequential(nn.LayerNorm(word_size), nn.Linear(word_size, WIDTH), nn.GELU())
        self.read = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.key, self.ask = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.holds = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.scale = nn.Parameter(torch.tensor([5.0, 0.0]))

    def fit(self, cells: Tensor, exists: Tensor, phrases: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """cells (B, N, WIDTH), phrases (B, P, E) → how well each phrase fits each cell (B, P, N), and how well all of
        them fit it together (B, N)."""
        asked = self.phrase(phrases)
        asked = asked + self.read(asked, cells, cells, key_padding_mask=~exists, need_weights=False)[0]
        fit = self.ask(asked) @ self.key(cells).mT / WIDTH**0.5
        return fit, (fit * mask[..., None]).sum(1).masked_fill(~exists, -torch.inf)

    def when(self, batch: Batch, phrases: Tensor, mask: Tensor) -> Tensor:
        """The step at which all phrases of a query meet, as probabilities (B, T)."""
        cells = self.cell(batch.video, batch.steps).flatten(1, 2)
        together = self.fit(cells, batch.steps.repeat_interleave(batch.video.shape[2], 1), phrases, mask)[1]
        return together.softmax(1).view(*batch.video.shape[:3]).sum(2)

    def forward(self, batch: Batch, phrases: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """phrases (B, P, E) → step logits (B, T), offsets (B, T, 2), alignment of phrases and steps (B, P, T), and the
        vector of the place where all phrases meet (B, WIDTH), of length 1."""
        size, length, regions, _ = batch.video.shape
        cells = self.cell(batch.video, batch.steps).flatten(1, 2)
        exists = batch.steps.repeat_interleave(regions, 1)
        fit, together = self.fit(cells, exists, phrases, mask)
        meeting = torch.einsum("bn,bnd->bd", together.softmax(1), cells)
        per_step = together.view(size, length, regions).logsumexp(2).masked_fill(~batch.steps, 0)
        logits, offsets = self.heads(self.fusion(batch.video, batch.steps, phrases, mask).steps)
        alignment = fit.view(size, -1, length, regions).amax(3)
        return logits + per_step, offsets, alignment, F.normalize(self.holds(meeting), dim=-1)

    def presence(self, meeting: Tensor, phrases: Tensor) -> Tensor:
        """Cosine of places (B, WIDTH) with phrases (B, P, E), in [-1, 1]: (B, P)."""
        return torch.einsum("bd,bpd->bp", meeting, F.normalize(self.phrase(phrases), dim=-1))


class PhraseAlignment(System):
    """Refuses where the weakest phrase does not hold, names it, and says what would."""

    def __init__(self, *, steps: int = STEPS, seed: int = 0):
        self.steps, self.seed = steps, seed

    def fit(self, groups: Sequence[Group], bank: Bank) -> None:
        torch.manual_seed(self.seed)
        self.values = values_of_slots([group.relevant.query for group in groups])
        self.network = _Network(bank.video_size, bank.grid, bank.word_size)
        self.parameters = parameters_of(self.network)

        def loss(batch: Batch, samples: list[Sample]) -> Tensor:
            phrases, mask = _vectors([phrases_of(sample.query) for sample in samples], bank)
            logits, offsets, alignment, meeting = self.network(batch, phrases, mask)
            value = segment_loss(logits, offsets, batch) + _alignment_loss(alignment, mask, batch)
            value = value + self._contrast(meeting, phrases, mask, batch)
            if not batch.relevant.all():
                holds = self.network.scale[0] * self.network.presence(meeting, phrases) + self.network.scale[1]
                weakest = -SOFTNESS * (-holds / SOFTNESS).masked_fill(~mask, -torch.inf).logsumexp(1)
                value = value + F.binary_cross_entropy_with_logits(weakest, batch.relevant.float())
            return value

        self.losses = train(self.network, loss, groups, bank, steps=self.steps, seed=self.seed, desc="phrases")

    def _contrast(self, meeting: Tensor, phrases: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        """Of all different phrases of the batch, those of the query fit the place best (InfoNCE)."""
        chosen, flat = mask & batch.relevant[:, None], phrases[mask]
        if not chosen.any():
            return meeting.sum() * 0
        known, number = flat.unique(dim=0, return_inverse=True)
        similarity = self.network.presence(meeting, known.expand(len(meeting), -1, -1)) / TEMPERATURE
        index = torch.zeros(mask.shape, dtype=torch.long).masked_scatter(mask, number)
        mine = torch.zeros_like(similarity, dtype=torch.bool).scatter(1, index, mask)
        others = similarity.masked_fill(mine, -torch.inf).logsumexp(1, keepdim=True)
        own = similarity.gather(1, index)
        return (torch.logaddexp(own, others) - own)[chosen].mean()

    @torch.inference_mode()
    def ordered(self, samples: Sequence[Sample], bank: Bank) -> Tensor:
        """How well the order holds that each query asks for: (B,) in [-1, 1], `ABSENT` where it asks for none.

        An order is not true of a place: both events are looked for, and what is compared is when.
        """
        holds = torch.full((len(samples),), ABSENT)
        orders = {i: order for i, sample in enumerate(samples) if (order := neighbour_of(sample.query))}
        if not orders:
            return holds
        some = [samples[i] for i in orders]
        batch = bank.batch(some)
        first = self.network.when(batch, *_vectors([phrases_of(s.query) for s in some], bank))
        second = self.network.when(batch, *_vectors([other for _, other in orders.values()], bank))
        later = first.cumsum(1) - first  # at each step: the first event was before it
        earlier = 1 - first.cumsum(1)
        wanted = torch.stack(
            [later[k] if word == "before" else earlier[k] for k, (word, _) in enumerate(orders.values())]
        )
        holds[list(orders)] = 2 * (second * wanted).sum(1) - 1
        return holds

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        answers = []
        for part in in_batches(samples):
            batch = bank.batch(part)
            phrases, mask = _vectors([phrases_of(sample.query) for sample in part], bank)
            logits, offsets, _, meeting = self.network(batch, phrases, mask)
            holds = self.network.presence(meeting, phrases).masked_fill(~mask, ABSENT)
            weakest = torch.cat([holds, self.ordered(part, bank)[:, None]], 1).min(1)
            spans = best_segments(logits, offsets, batch)
            for i, sample in enumerate(part):
                said = self._named(sample.query, int(weakest.indices[i]), meeting[i], bank)
                answers.append(Answer(spans[i], (1 - float(weakest.values[i])) / 2, *said))
        return answers

    def _named(self, sentence: str, weakest: int, meeting: Tensor, bank: Bank) -> tuple[str, str | None]:
        """Explanation and correction: the weakest phrase gives way to the one of its slot that fits best. Outside of
        the world's language no slot is known, and the phrase is only denied."""
        query = parse(sentence)
        if query is None:
            return f"not {phrases_of(sentence)[weakest]}", None
        slot = dict(enumerate(name for name in query.filled if name != "order")).get(weakest, "order")
        asked = getattr(query, slot)
        known = [("after" if asked[0] == "before" else "before", asked[1])] if slot == "order" else self.values[slot]
        changes: list[dict[str, Any]] = [{slot: value} for value in known if value != asked]
        others = [replace(query, **change) for change in changes]
        vectors, _ = _vectors([[other.phrases()[slot] for other in others]], bank)
        best = others[int(self.network.presence(meeting[None], vectors)[0].argmax())]
        return refusal(query, best, [slot]), best.sentence()


def _vectors(cut: Sequence[Sequence[str]], bank: Bank) -> tuple[Tensor, Tensor]:
    """Phrases of several queries, each the mean of its words: (B, P, E), and which of them exist."""
    flat = iter(bank.encoder.words([phrase for phrases in cut for phrase in phrases]))
    rows = [torch.stack([torch.from_numpy(next(flat)).mean(0) for _ in phrases]) for phrases in cut]
    mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True), mask


def _alignment_loss(alignment: Tensor, mask: Tensor, batch: Batch) -> Tensor:
    """Each phrase of a relevant query is nearer to a step of the segment than to the steps outside."""
    inside = foreground_of(batch)
    scores = alignment.masked_fill(~batch.steps[:, None], -torch.inf)
    inner = scores.masked_fill(~inside[:, None], -torch.inf).logsumexp(2)
    chosen = mask & batch.relevant[:, None]
    return (scores.logsumexp(2) - inner)[chosen].mean() if chosen.any() else alignment.sum() * 0
