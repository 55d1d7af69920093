"""Cyclic consensus: ground, describe what was grounded, compare with the query (R²-VOS, Li et al., ICCV 2023, arXiv
2207.01203: referring video segmentation that is robust to expressions without a referent).

Mechanism: text → object → text. The query points at regions of the video; what they hold, *without the query*, is
described again in the space of queries; if the description does not come back to the query, the object was not there.

Kept: the reconstructed text, the consensus in embedding space, the loss on negative queries. Scaled down: segments
and regions for pixel masks; contrast within a batch for the relational losses. Ours: a classifier for each slot of
the world's queries on the same object vector, so that the comparison can be put in words.

Does it refuse? This is what it was made for. But the way back can only tell what the vector of the object holds: one
vector a step for the whole frame does not say what belongs to what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import Batch, FeatureBank, Scalar
from rarft.related.moments import blocks
from rarft.related.moments.blocks import WIDTH
from rarft.related.moments.data import slot_values
from rarft.related.moments.training import SampleLearner
from rarft.related.protocol import Answer
from rarft.schema import Group, Sample
from rarft.world.language import parse
from rarft.world.refusals import refusal


class RoundTrip(NamedTuple):
    """Logits and offsets of steps; the object that the query points at; its description and the query, of length 1."""

    logits: blocks.Logits
    offsets: blocks.Offsets
    objects: Float[Tensor, "batch hidden"]
    descriptions: Float[Tensor, "batch hidden"]
    queries: blocks.Queries

    @property
    def consensus(self) -> Float[Tensor, " batch"]:
        """The cosine of each description with its query."""
        return (self.descriptions * self.queries).sum(1)


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank, values: dict[str, list]):
        super().__init__()
        self.fusion = blocks.Fusion(bank)
        self.heads = blocks.SegmentHeads()
        self.pointer = nn.Linear(WIDTH, WIDTH)
        # The object's own content never meets the query: only the weights of its regions do.
        self.content = blocks.Content(bank.video_size)
        self.describe = blocks.two_layers(WIDTH, WIDTH, hidden=2 * WIDTH)
        self.query = blocks.PooledQuery(bank.word_size)
        self.slots = nn.ModuleDict({slot: nn.Linear(WIDTH, len(known)) for slot, known in values.items()})
        self.scale = nn.Parameter(torch.tensor([5.0, 0.0]))

    def forward(self, batch: Batch) -> RoundTrip:
        """From the query to the object that it points at, and back."""
        fused = self.fusion(batch, batch.words, batch.word_mask)
        logits, offsets = self.heads(fused)
        content = self.content(batch.video, batch.steps)
        weights = torch.einsum("btd,btrd->btr", self.pointer(fused), content) / WIDTH**0.5
        weights = weights + F.logsigmoid(logits)[..., None]
        weights = weights.masked_fill(~batch.steps[..., None], -torch.inf).flatten(1).softmax(1)
        objects = torch.einsum("bn,bnd->bd", weights, content.flatten(1, 2))
        descriptions = F.normalize(self.describe(objects), dim=-1)
        return RoundTrip(logits, offsets, objects, descriptions, self.query(batch.words, batch.word_mask))


class Cycle(SampleLearner):
    """Refuses where the description of what was found does not come back to the query."""

    def build(self, examples: Sequence[Group], bank: FeatureBank) -> nn.Module:
        """The way to the object and the way back, with a classifier for each slot of the relevant queries."""
        self.values = slot_values([group.relevant.query for group in examples])
        return _Network(bank, self.values)

    def batch_loss(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> Tensor:
        """The losses of segments, of the way back, of negative queries and of slots."""
        found = self.network(batch)
        loss = blocks.segment_loss(found.logits, found.offsets, batch)
        if not batch.relevant.any():
            return loss
        loss = loss + blocks.info_nce(found.descriptions[batch.relevant], found.queries[batch.relevant])
        if not batch.relevant.all():  # the loss on negative queries: there must be no way back
            consensus = self.network.scale[0] * found.consensus + self.network.scale[1]
            loss = loss + F.binary_cross_entropy_with_logits(consensus, batch.relevant.float())
        return loss + self._slot_loss(found.objects[batch.relevant], [s.query for s in samples if s.relevant])

    def _slot_loss(self, objects: Float[Tensor, "relevant hidden"], queries: list[str]) -> Scalar:
        """Cross-entropy of each slot that a relevant query mentions; nothing for a query that is not of the world."""
        parsed = [parse(query) for query in queries]
        losses = []
        for slot, known in self.values.items():
            rows = [i for i, query in enumerate(parsed) if query and getattr(query, slot) in known]
            if rows:
                wanted = torch.tensor([known.index(getattr(parsed[i], slot)) for i in rows])
                losses.append(F.cross_entropy(self.network.slots[slot](objects[rows]), wanted))
        return torch.stack(losses).mean() if losses else objects.sum() * 0

    def batch_answers(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The segment of the best step; refused by the consensus, explained by the slots."""
        found = self.network(batch)
        spans = blocks.best_segments(found.logits, found.offsets, batch)
        refusals = ((1 - found.consensus) / 2).tolist()
        texts = [self._compare(vector, sample.query) for vector, sample in zip(found.objects, samples, strict=True)]
        return [Answer(s, r, *both) for s, r, both in zip(spans, refusals, texts, strict=True)]

    def _compare(self, found: Float[Tensor, " hidden"], sentence: str) -> tuple[str | None, str | None]:
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
