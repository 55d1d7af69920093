"""UniVTG: one head for moments, highlights and summaries (Lin et al., ICCV 2023, arXiv 2307.16715).

Mechanism: every step of the video gets a foreground logit f, the distances d to the borders of the segment that it
lies in, and a saliency s, the cosine of the step with the whole query. f and d are trained as a detector is (BCE;
smooth L1 and generalised IoU), s by contrast: a step of the segment against other steps of the same video (within),
and against the queries of other videos (across). A moment is the segment of the step with the highest f; highlights
are the steps with the highest f + s; a summary is the steps with the highest s.

Kept: the three outputs and all five losses. Scaled down: three layers of width 128 for four of 1,024; no pretraining;
no saliency scores from annotators, so that steps outside the segment are the ones to be less salient.

Does it refuse? It always has a step with the highest score. Two numbers can be read as doubt: 1 - max f, which
nothing has ever trained on an irrelevant query unless there are negatives; and the saliency, which saw other queries
by contrast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.bank import Bank, Batch
from rarft.related.moments.blocks import (
    STEPS,
    WIDTH,
    Fusion,
    Pooled,
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

TEMPERATURE = 0.07  # of the contrast


class _Network(nn.Module):
    def __init__(self, video_size: int, word_size: int):
        super().__init__()
        self.fusion = Fusion(video_size, word_size)
        self.heads = SegmentHeads()
        # Saliency compares video and query before either has read the other: afterwards a cosine says nothing.
        self.step = nn.Sequential(nn.LayerNorm(video_size), nn.Linear(video_size, WIDTH))
        self.query = Pooled(word_size)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, T), offsets (B, T, 2), unit vectors of steps (B, T, WIDTH) and of queries (B, WIDTH)."""
        fused = self.fusion(batch.video, batch.steps, batch.words, batch.word_mask)
        steps = F.normalize(self.step(batch.video.flatten(2)), dim=-1)
        return *self.heads(fused.steps), steps, self.query(batch.words, batch.word_mask)


def saliency_loss(steps: Tensor, queries: Tensor, batch: Batch) -> Tensor:
    """InfoNCE within videos (a step of the segment against the steps outside) and across (against other queries).

    steps (B, T, d) and queries (B, d) have length 1. Irrelevant samples have no segment, and take no part.
    """
    inside, outside = foreground_of(batch), batch.steps & ~foreground_of(batch)
    rows = torch.arange(len(queries))[inside.any(1)]
    if not len(rows):
        return steps.sum() * 0
    similarity = torch.einsum("btd,bd->bt", steps, queries) / TEMPERATURE
    # Every step of the segment takes a turn as the positive: its logit, and the log-sum of those outside.
    others = similarity.masked_fill(~outside, -torch.inf).logsumexp(1, keepdim=True)
    within = (torch.logaddexp(similarity, others) - similarity)[inside].mean()
    moment = F.normalize((steps * inside[..., None]).sum(1)[rows], dim=-1)
    across = F.cross_entropy(moment @ queries[rows].T / TEMPERATURE, torch.arange(len(rows)))
    return within + across


class UniVTG(System):
    """Heads on every step; `refuse_by` chooses the number that is read as doubt: "foreground" or "saliency"."""

    def __init__(self, *, refuse_by: str = "foreground", steps: int = STEPS, seed: int = 0):
        self.refuse_by, self.steps, self.seed = refuse_by, steps, seed

    def fit(self, groups: Sequence[Group], bank: Bank) -> None:
        torch.manual_seed(self.seed)
        self.network = _Network(bank.video_size * bank.grid, bank.word_size)
        self.parameters = parameters_of(self.network)

        def loss(batch: Batch, _: list[Sample]) -> Tensor:
            logits, offsets, steps, queries = self.network(batch)
            return segment_loss(logits, offsets, batch) + saliency_loss(steps, queries, batch)

        self.losses = train(self.network, loss, groups, bank, steps=self.steps, seed=self.seed, desc="UniVTG")

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        answers: list[Answer] = []
        for part in in_batches(samples):
            batch = bank.batch(part)
            logits, offsets, steps, queries = self.network(batch)
            foreground = logits.sigmoid().masked_fill(~batch.steps, 0)
            saliency = torch.einsum("btd,bd->bt", steps, queries).masked_fill(~batch.steps, -1)
            doubt = 1 - foreground.amax(1) if self.refuse_by == "foreground" else (1 - saliency.amax(1)) / 2
            answers += map(Answer, best_segments(foreground, offsets, batch), doubt.tolist())
        return answers

    @torch.inference_mode()
    def highlights(self, sample: Sample, bank: Bank) -> tuple[list[float], list[float]]:
        """Of each step: its highlight score f + s, and its saliency s, by which a summary is chosen."""
        batch = bank.batch([sample])
        logits, _, steps, queries = self.network(batch)
        saliency = torch.einsum("btd,bd->bt", steps, queries)[0]
        return (logits[0].sigmoid() + saliency).tolist(), saliency.tolist()
