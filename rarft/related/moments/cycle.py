"""Cyclic consensus: ground, describe what was grounded, compare with the query (R²-VOS, Li et al., ICCV 2023, arXiv
2207.01203: referring video segmentation that is robust to expressions without a referent).

Mechanism: text → object → text. The query points at regions of the video; what they hold, *without the query*, is
described again in the space of queries; if the description does not come back to the query, the object was not there.

Kept: the reconstructed text, the consensus in embedding space, the loss on negative queries. Scaled down: segments
and regions for pixel masks; contrast within a batch for the relational losses. Ours: a classifier for each slot of
the world's queries on the same object vector, so that the comparison can be put in words.

Does it refuse? This is what it was made for. But the way back can only tell what the vector of the object holds: one
vector a step for the whole frame does not say what belongs to whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.bank import Bank, Batch
from rarft.related.long_video.slots import values_of_slots
from rarft.related.moments.blocks import (
    STEPS,
    WIDTH,
    Content,
    Fusion,
    Pooled,
    SegmentHeads,
    best_segments,
    in_batches,
    parameters_of,
    segment_loss,
    train,
)
from rarft.related.protocol import Answer, System
from rarft.schema import Group, Sample
from rarft.world.language import parse, refusal

TEMPERATURE = 0.07


class _Network(nn.Module):
    def __init__(self, video_size: int, regions: int, word_size: int, values: dict[str, list]):
        super().__init__()
        self.fusion = Fusion(video_size * regions, word_size)
        self.heads = SegmentHeads()
        self.pointer = nn.Linear(WIDTH, WIDTH)
        # The object's own content never meets the query: only the weights of its regions do.
        self.content = Content(video_size)
        self.describe = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.query = Pooled(word_size)
        self.slots = nn.ModuleDict({slot: nn.Linear(WIDTH, len(known)) for slot, known in values.items()})
        self.scale = nn.Parameter(torch.tensor([5.0, 0.0]))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, T), offsets (B, T, 2), the object (B, WIDTH), its description and the query, both of length 1."""
        fused = self.fusion(batch.video, batch.steps, batch.words, batch.word_mask)
        logits, offsets = self.heads(fused.steps)
        content = self.content(batch.video, batch.steps)
        weights = torch.einsum("btd,btrd->btr", self.pointer(fused.steps), content) / WIDTH**0.5
        weights = weights + F.logsigmoid(logits)[..., None]
        weights = weights.masked_fill(~batch.steps[..., None], -torch.inf).flatten(1).softmax(1)
        found = torch.einsum("bn,bnd->bd", weights, content.flatten(1, 2))
        return (
            logits,
            offsets,
            found,
            F.normalize(self.describe(found), dim=-1),
            self.query(batch.words, batch.word_mask),
        )


class Cycle(System):
    """Refuses where the description of what was found does not come back to the query."""

    def __init__(self, *, steps: int = STEPS, seed: int = 0):
        self.steps, self.seed = steps, seed

    def fit(self, groups: Sequence[Group], bank: Bank) -> None:
        torch.manual_seed(self.seed)
        self.values = values_of_slots([group.relevant.query for group in groups])
        sizes = bank.video_size, bank.grid, bank.word_size
        self.network = _Network(*sizes, self.values)
        self.parameters = parameters_of(self.network)
        self.losses = train(self.network, self._loss, groups, bank, steps=self.steps, seed=self.seed, desc="cycle")

    def _loss(self, batch: Batch, samples: list[Sample]) -> Tensor:
        logits, offsets, found, description, query = self.network(batch)
        loss = segment_loss(logits, offsets, batch)
        rows = batch.relevant.nonzero().squeeze(1)
        if not len(rows):
            return loss
        # The way back: of all queries of the batch, the description's own is the nearest.
        loss = loss + F.cross_entropy(description[rows] @ query[rows].T / TEMPERATURE, torch.arange(len(rows)))
        if not batch.relevant.all():  # the loss on negative queries: there must be no way back
            consensus = self.network.scale[0] * (description * query).sum(1) + self.network.scale[1]
            loss = loss + F.binary_cross_entropy_with_logits(consensus, batch.relevant.float())
        return loss + self._slot_loss(found[rows], [samples[i].query for i in rows.tolist()])

    def _slot_loss(self, found: Tensor, queries: list[str]) -> Tensor:
        """Cross-entropy of each slot that a relevant query mentions; nothing for a query that is not of the world."""
        parsed = [parse(query) for query in queries]
        losses = []
        for slot, known in self.values.items():
            named = [
                (i, known.index(getattr(q, slot))) for i, q in enumerate(parsed) if q and getattr(q, slot) in known
            ]
            if named:
                rows, wanted = zip(*named, strict=True)
                losses.append(F.cross_entropy(self.network.slots[slot](found[list(rows)]), torch.tensor(wanted)))
        return torch.stack(losses).mean() if losses else found.sum() * 0

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        answers = []
        for part in in_batches(samples):
            batch = bank.batch(part)
            logits, offsets, found, description, query = self.network(batch)
            doubt = (1 - (description * query).sum(1)) / 2
            spans = best_segments(logits, offsets, batch)
            said = [self._compare(vector, sample.query) for vector, sample in zip(found, part, strict=True)]
            answers += [Answer(s, d, *c) for s, d, c in zip(spans, doubt.tolist(), said, strict=True)]
        return answers

    def _compare(self, found: Tensor, sentence: str) -> tuple[str | None, str | None]:
        """Explanation and correction: the slots of the query that the object does not have. Where all agree, the one
        that is least sure to."""
        query = parse(sentence)
        if query is None:
            return None, None
        odds: dict[str, tuple[float, Any]] = {}  # slot → log odds of the likeliest other value, and that value
        for slot, known in self.values.items():
            asked = getattr(query, slot)
            if asked in known:
                scores = self.network.slots[slot](found).log_softmax(0)
                mine = scores[known.index(asked)]
                others = scores.clone()
                others[known.index(asked)] = -torch.inf
                odds[slot] = (float(others.max() - mine), known[int(others.argmax())])
        if not odds:
            return None, None
        wrong = [slot for slot, (value, _) in odds.items() if value > 0] or [max(odds, key=lambda slot: odds[slot][0])]
        shown = replace(query, **{slot: odds[slot][1] for slot in wrong})
        return refusal(query, shown, wrong), shown.sentence()
