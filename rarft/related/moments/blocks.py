"""What most systems are built of: a transformer over video and words, heads that read segments off each step, and the
losses of such heads.

The heads are UniVTG's (Lin et al., ICCV 2023, section 3): on every step a foreground logit and the distances to the
start and end of the segment that it lies in. DETR-like decoders need more data than these experiments have.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import LONGEST, Batch, FeatureBank, Scalar
from rarft.schema import Span

WIDTH, HEADS, LAYERS = 128, 4, 3
TEMPERATURE = 0.07  # of contrasts between vectors of length 1
Words = Float[Tensor, "batch words word_size"]
WordMask = Bool[Tensor, "batch words"]  # true where a word exists
Steps = Float[Tensor, "batch steps hidden"]
Queries = Float[Tensor, "batch hidden"]
Logits = Float[Tensor, "batch steps"]  # of each step: how likely it is part of the segment
Offsets = Float[Tensor, "batch steps 2"]  # of each step: how far the start and end of its segment are, in steps


def projection(size: int) -> nn.Sequential:
    """Vectors of some size to the width of the network."""
    return nn.Sequential(nn.LayerNorm(size), nn.Linear(size, WIDTH))


def two_layers(inputs: int, outputs: int, hidden: int = WIDTH) -> nn.Sequential:
    """Two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def transformer(layers: int) -> nn.TransformerEncoder:
    """An encoder of sequences, with the norm first."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)


def positions(count: int) -> nn.Parameter:
    """A learned vector for each place in a sequence."""
    return nn.Parameter(torch.randn(count, WIDTH) * 0.02)


class PooledQuery(nn.Module):
    """A vector of length 1 for the whole query: its words, weighted by how much each matters (UniVTG's attentive
    pooling)."""

    def __init__(self, word_size: int):
        super().__init__()
        self.project = projection(word_size)
        self.weight = nn.Linear(WIDTH, 1)

    def forward(self, words: Words, mask: WordMask) -> Queries:
        """The vector of each query."""
        vectors = self.project(words)
        weights = self.weight(vectors).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(1)
        return F.normalize(torch.einsum("bw,bwd->bd", weights, vectors), dim=-1)


class Content(nn.Module):
    """Regions of each step and of its neighbours in time, without a word of the query: what is seen, whatever was
    asked."""

    def __init__(self, video_size: int):
        super().__init__()
        self.project = nn.Sequential(*projection(video_size), nn.GELU())
        self.along = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)

    def forward(
        self, video: Float[Tensor, "batch steps regions video_size"], steps: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps regions hidden"]:
        """The content of each region. Steps beyond the end of a clip are zero, or its last step would depend on the
        longest clip of the batch."""
        seen = self.project(video) * steps[..., None, None]
        size, length, regions, _ = seen.shape
        near = self.along(seen.permute(0, 2, 3, 1).flatten(0, 1)).view(size, regions, WIDTH, length)
        return seen + near.permute(0, 3, 1, 2)


class Fusion(nn.Module):
    """One transformer over the steps of the video and the words of the query, in one sequence (UniVTG's multi-modal
    encoder). The regions of a step stand side by side in its vector, so that what is next to what is kept. Each step is
    also multiplied with the whole query first, or the encoder needs several times the steps to learn which words and
    pictures go together."""

    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.video = projection(bank.video_size * bank.grid)
        self.word = projection(bank.word_size)
        self.query = PooledQuery(bank.word_size)
        self.time = positions(LONGEST)
        self.place = positions(64)  # of a word in its query
        self.encoder = transformer(LAYERS)

    def forward(self, batch: Batch, words: Words, mask: WordMask) -> Steps:
        """Each step of the video, after it has read the words."""
        length = batch.steps.shape[1]
        seen = self.video(batch.video.flatten(2))
        seen = seen + seen * self.query(words, mask)[:, None] * WIDTH**0.5 + self.time[:length]
        tokens = self.word(words) + self.place[: words.shape[1]]
        missing = ~torch.cat([batch.steps, mask], 1)
        return self.encoder(torch.cat([seen, tokens], 1), src_key_padding_mask=missing)[:, :length]


class SegmentHeads(nn.Module):
    """Reads a segment off each step."""

    def __init__(self) -> None:
        super().__init__()
        self.foreground = two_layers(WIDTH, 1)
        self.offsets = nn.Sequential(*two_layers(WIDTH, 2), nn.Softplus())

    def forward(self, steps: Steps) -> tuple[Logits, Offsets]:
        """Logits, and offsets of at least 0."""
        return self.foreground(steps).squeeze(-1), self.offsets(steps)


def centres(length: int) -> Float[Tensor, " steps"]:
    """The middle of each step, in steps."""
    return torch.arange(length) + 0.5


def foreground_of(batch: Batch) -> Bool[Tensor, "batch steps"]:
    """Which steps lie in the true segment; none for an irrelevant query."""
    middle = centres(batch.steps.shape[1])
    start, end = batch.spans[:, :1], batch.spans[:, 1:]
    inside = (middle >= start) & (middle < end) & batch.steps
    # A segment shorter than a step may have no middle in it; then the step that holds it counts.
    nearest = F.one_hot(((start + end) / 2).long().squeeze(1).clamp(0, len(middle) - 1), len(middle)).bool()
    inside = torch.where(inside.any(1, keepdim=True), inside, nearest)
    return inside & batch.relevant[:, None]


def segments_of(offsets: Offsets) -> Float[Tensor, "batch steps 2"]:
    """The segment that each step proposes, in steps."""
    middle = centres(offsets.shape[1])[None]
    return torch.stack([middle - offsets[..., 0], middle + offsets[..., 1]], -1)


def generalised_iou(a: Float[Tensor, "*shape 2"], b: Float[Tensor, "*shape 2"]) -> Float[Tensor, "*shape"]:
    """Generalised IoU of segments, in (-1, 1]: the IoU, less the share of their hull that neither covers."""
    overlap = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def segment_loss(logits: Logits, offsets: Offsets, batch: Batch) -> Scalar:
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


def info_nce(vectors: Float[Tensor, "pairs hidden"], partners: Float[Tensor, "pairs hidden"]) -> Scalar:
    """Of all partners, each vector is nearest to its own; all have length 1."""
    return F.cross_entropy(vectors @ partners.T / TEMPERATURE, torch.arange(len(vectors)))


def best_segments(scores: Logits, offsets: Offsets, batch: Batch) -> list[Span]:
    """The segment that the step with the highest score proposes, in seconds and within the video."""
    best = scores.masked_fill(~batch.steps, -torch.inf).argmax(1)
    chosen = segments_of(offsets)[torch.arange(len(best)), best].tolist()
    spans = []
    for (start, end), length, seconds in zip(
        chosen, batch.steps.sum(1).tolist(), batch.step_seconds.tolist(), strict=True
    ):
        start, end = max(0.0, start), min(float(length), end)
        spans.append(Span(round(start * seconds, 2), round(end * seconds, 2)))
    return spans
