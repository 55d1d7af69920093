"""What most systems are built of: a transformer over video and words, heads that read segments off each step, the
losses of such heads, and the loop that trains a system.

The heads are UniVTG's (Lin et al., ICCV 2023, section 3): on every step a foreground logit and the distances to the
start and end of the segment that it lies in. DETR-like decoders need more data than these experiments have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from rarft.related.bank import LONGEST, Bank, Batch
from rarft.schema import Group, Sample, Span
from rarft.system.progress import progress

WIDTH, HEADS, LAYERS = 128, 4, 3
STEPS = 1500  # of training
T = TypeVar("T")


class Pooled(nn.Module):
    """A vector of length 1 for the whole query: its words, weighted by how much each matters (UniVTG's attentive
    pooling)."""

    def __init__(self, word_size: int):
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(word_size), nn.Linear(word_size, WIDTH))
        self.weight = nn.Linear(WIDTH, 1)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """words (B, W, E), mask (B, W) → (B, WIDTH)."""
        vectors = self.project(words)
        weights = self.weight(vectors).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(1)
        return F.normalize(torch.einsum("bw,bwd->bd", weights, vectors), dim=-1)


class Content(nn.Module):
    """Regions of each step and of its neighbours in time, without a word of the query: what is seen, whatever was
    asked."""

    def __init__(self, video_size: int):
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(video_size), nn.Linear(video_size, WIDTH), nn.GELU())
        self.along = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, video: Tensor, steps: Tensor) -> Tensor:
        """video (B, T, R, D), steps (B, T) → (B, T, R, WIDTH).

        Steps beyond the end of a clip are zero, or its last step would depend on the longest clip of the batch.
        """
        seen = self.project(video) * steps[..., None, None]
        size, length, regions, _ = seen.shape
        near = self.along(seen.permute(0, 2, 3, 1).flatten(0, 1)).view(size, regions, WIDTH, length)
        return seen + near.permute(0, 3, 1, 2)


class Fused(NamedTuple):
    """steps (B, T, WIDTH): each step of the video, having read the query. words (B, W, WIDTH): the query, having read
    the video."""

    steps: Tensor
    words: Tensor


class Fusion(nn.Module):
    """One transformer over the steps of the video and the words of the query, in one sequence (UniVTG's multi-modal
    encoder). Its output at words is what the query is *given this video*. The regions of a step stand side by side in
    its vector, so that it knows what is next to what. Each step is also multiplied with the whole query first, or the
    encoder needs several times the steps to learn which words and pictures go together."""

    def __init__(self, video_size: int, word_size: int, *, layers: int = LAYERS):
        super().__init__()
        self.video = nn.Sequential(nn.LayerNorm(video_size), nn.Linear(video_size, WIDTH))
        self.word = nn.Sequential(nn.LayerNorm(word_size), nn.Linear(word_size, WIDTH))
        self.query = Pooled(word_size)
        self.time = nn.Parameter(torch.randn(LONGEST, WIDTH) * 0.02)
        self.place = nn.Parameter(torch.randn(64, WIDTH) * 0.02)  # of a word in its query
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)

    def forward(self, video: Tensor, steps: Tensor, words: Tensor, word_mask: Tensor) -> Fused:
        """video (B, T, R, D), steps (B, T), words (B, W, E), word_mask (B, W)."""
        length = video.shape[1]
        seen = self.video(video.flatten(2))
        seen = seen + seen * self.query(words, word_mask)[:, None] * WIDTH**0.5 + self.time[:length]
        tokens = self.word(words) + self.place[: words.shape[1]]
        read = self.encoder(torch.cat([seen, tokens], 1), src_key_padding_mask=~torch.cat([steps, word_mask], 1))
        return Fused(read[:, :length], read[:, length:])


class SegmentHeads(nn.Module):
    """On each step: how likely it is part of the segment, and how far the start and end are (in steps, at least 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.foreground = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))
        self.offsets = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 2), nn.Softplus())

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """steps (B, T, WIDTH) → logits (B, T) and offsets (B, T, 2)."""
        return self.foreground(steps).squeeze(-1), self.offsets(steps)


def centres(length: int) -> Tensor:
    """The middle of each step, in steps: (T,)."""
    return torch.arange(length) + 0.5


def foreground_of(batch: Batch) -> Tensor:
    """Which steps lie in the true segment: (B, T), none for an irrelevant query."""
    middle = centres(batch.steps.shape[1])
    start, end = batch.spans[:, :1], batch.spans[:, 1:]
    inside = (middle >= start) & (middle < end) & batch.steps
    # A segment shorter than a step may have no middle in it; then the step that holds it counts.
    nearest = F.one_hot(((start + end) / 2).long().squeeze(1).clamp(0, len(middle) - 1), len(middle)).bool()
    inside = torch.where(inside.any(1, keepdim=True), inside, nearest)
    return inside & batch.relevant[:, None]


def segments_of(offsets: Tensor) -> Tensor:
    """Offsets (B, T, 2) → the segment that each step proposes, in steps: (B, T, 2)."""
    middle = centres(offsets.shape[1])[None]
    return torch.stack([middle - offsets[..., 0], middle + offsets[..., 1]], -1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of segments (..., 2), in (-1, 1]: the IoU, less the share of their hull that neither covers."""
    overlap = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def segment_loss(logits: Tensor, offsets: Tensor, batch: Batch) -> Tensor:
    """Foreground BCE over all steps; smooth L1 on offsets and generalised IoU on segments over foreground steps."""
    inside = foreground_of(batch)
    loss = F.binary_cross_entropy_with_logits(logits[batch.steps], inside[batch.steps].float())
    if not inside.any():
        return loss
    true = batch.spans[:, None].expand_as(offsets)[inside]
    middle = centres(logits.shape[1]).expand_as(logits)[inside]
    wanted = torch.stack([middle - true[:, 0], true[:, 1] - middle], -1).clamp(min=0)
    loss = loss + F.smooth_l1_loss(offsets[inside], wanted)
    return loss + (1 - generalised_iou(segments_of(offsets)[inside], true)).mean()


def best_segments(scores: Tensor, offsets: Tensor, batch: Batch) -> list[Span]:
    """The segment that the step with the highest score proposes, in seconds and within the video."""
    best = scores.masked_fill(~batch.steps, -torch.inf).argmax(1)
    rows = torch.arange(len(best))
    chosen, lengths = segments_of(offsets)[rows, best], batch.steps.sum(1)
    spans = []
    for (start, end), length, seconds in zip(
        chosen.tolist(), lengths.tolist(), batch.step_seconds.tolist(), strict=True
    ):
        start, end = max(0.0, start), min(float(length), end)
        spans.append(Span(round(start * seconds, 2), round(end * seconds, 2)))
    return spans


def train(
    module: nn.Module,
    loss: Callable[[Batch, list[Sample]], Tensor],
    groups: Sequence[Group],
    bank: Bank,
    *,
    steps: int,
    seed: int,
    batch_size: int = 32,
    rate: float = 1e-3,
    desc: str = "",
) -> list[float]:
    """Train a module on groups of samples; see `optimise`. Returns the loss of each step.

    A group gives its relevant sample and, if it has any, one irrelevant one, drawn anew; a batch has `batch_size`
    samples. Groups come in random order, each once before any comes again.
    """
    rng = np.random.default_rng(seed)
    waiting: list[int] = []

    def loss_of_batch() -> Tensor:
        nonlocal waiting
        samples: list[Sample] = []
        while len(samples) < batch_size:
            waiting = waiting or rng.permutation(len(groups)).tolist()
            group = groups[waiting.pop()]
            samples.append(group.relevant)
            if group.irrelevant:
                samples.append(group.irrelevant[int(rng.integers(len(group.irrelevant)))])
        return loss(bank.batch(samples), samples)

    return optimise(module, loss_of_batch, steps=steps, rate=rate, desc=desc)


def optimise(
    module: nn.Module, loss_of_batch: Callable[[], Tensor], *, steps: int, rate: float = 1e-3, desc: str = ""
) -> list[float]:
    """Train a module by AdamW, one cycle of the rate, gradients clipped at 1. Returns the loss of each step."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    schedule = OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=max(0.1, 2 / steps))
    module.train()
    losses = []
    for _ in progress(range(steps), total=steps, desc=desc):
        value = loss_of_batch()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(value.item())
    module.eval()
    return losses


def parameters_of(module: nn.Module) -> int:
    """Trained parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def in_batches(items: Sequence[T], size: int = 64) -> list[list[T]]:
    """Samples or crops in lists of at most `size`."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
