"""UniVTG: one head for moments, highlights and summaries (Lin et al., ICCV 2023, arXiv 2307.16715).

Mechanism: every step of the video gets a foreground logit f, the distances d to the borders of the segment that it
lies in, and a saliency s, the cosine of the step with the whole query. f and d are trained as a detector is (BCE;
smooth L1 and generalised IoU), s by contrast: a step of the segment against other steps of the same video (within),
and against the queries of other videos (across). A moment is the segment of the step with the highest f; highlights
are the steps with the highest f + s; a summary is the steps with the highest s.

Kept: the three outputs and all five losses. Scaled down: three layers of width 128 for four of 1,024; no pretraining;
no saliency scores from annotators, so that steps outside the segment are the ones to be less salient.

Does it refuse? It always has a step with the highest score. Two numbers can be read as a refusal score: 1 - max f,
which nothing has ever trained on an irrelevant query unless there are negatives; and the saliency, which saw other
queries by contrast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import Batch, FeatureBank, Scalar
from rarft.related.moments import blocks
from rarft.related.moments.training import SampleLearner
from rarft.related.protocol import Answer
from rarft.schema import Group, Sample


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.fusion = blocks.Fusion(bank)
        self.heads = blocks.SegmentHeads()
        # Saliency compares video and query before either has read the other: afterwards a cosine says nothing.
        self.step = blocks.projection(bank.video_size * bank.grid)
        self.query = blocks.PooledQuery(bank.word_size)

    def forward(self, batch: Batch) -> tuple[blocks.Logits, blocks.Offsets, blocks.Steps, blocks.Queries]:
        """Logits and offsets of steps, and vectors of length 1 of steps and of queries."""
        fused = self.fusion(batch, batch.words, batch.word_mask)
        steps = F.normalize(self.step(batch.video.flatten(2)), dim=-1)
        return *self.heads(fused), steps, self.query(batch.words, batch.word_mask)


def saliency_of(steps: blocks.Steps, queries: blocks.Queries) -> Float[Tensor, "batch steps"]:
    """The cosine of each step with the query, of vectors of length 1."""
    return torch.einsum("btd,bd->bt", steps, queries)


def saliency_loss(steps: blocks.Steps, queries: blocks.Queries, batch: Batch) -> Scalar:
    """InfoNCE within videos (a step of the segment against the steps outside) and across (against other queries).

    Irrelevant samples have no segment, and take no part.
    """
    inside, outside = blocks.foreground_of(batch), batch.steps & ~blocks.foreground_of(batch)
    rows = inside.any(1)
    if not rows.any():
        return steps.sum() * 0
    similarity = saliency_of(steps, queries) / blocks.TEMPERATURE
    # Every step of the segment takes a turn as the positive: its logit, and the log-sum of those outside.
    others = similarity.masked_fill(~outside, -torch.inf).logsumexp(1, keepdim=True)
    within = (torch.logaddexp(similarity, others) - similarity)[inside].mean()
    moments = F.normalize((steps * inside[..., None]).sum(1)[rows], dim=-1)
    return within + blocks.info_nce(moments, queries[rows])


class UniVTG(SampleLearner):
    """Heads on every step; `refuse_by` chooses the number that is the refusal score: "foreground" or "saliency"."""

    def __init__(self, *, refuse_by: str = "foreground", **training: int):
        """training: steps and seed, see `Learner`."""
        super().__init__(**training)
        self.refuse_by = refuse_by

    def build(self, examples: Sequence[Group], bank: FeatureBank) -> nn.Module:
        """A transformer over video and query, with its heads."""
        return _Network(bank)

    def batch_loss(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> Tensor:
        """The losses of segments and of saliency."""
        logits, offsets, steps, queries = self.network(batch)
        return blocks.segment_loss(logits, offsets, batch) + saliency_loss(steps, queries, batch)

    def batch_answers(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The segment of the step with the highest foreground."""
        logits, offsets, steps, queries = self.network(batch)
        foreground = logits.sigmoid().masked_fill(~batch.steps, 0)
        saliency = saliency_of(steps, queries).masked_fill(~batch.steps, -1)
        refusal = 1 - foreground.amax(1) if self.refuse_by == "foreground" else (1 - saliency.amax(1)) / 2
        return list(map(Answer, blocks.best_segments(foreground, offsets, batch), refusal.tolist()))

    @torch.inference_mode()
    def highlights(self, sample: Sample, bank: FeatureBank) -> tuple[list[float], list[float]]:
        """Of each step: its highlight score f + s, and its saliency s, by which a summary is chosen."""
        logits, _, steps, queries = self.network(bank.batch([sample]))
        saliency = saliency_of(steps, queries)[0]
        return (logits[0].sigmoid() + saliency).tolist(), saliency.tolist()
