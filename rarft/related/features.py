"""What all systems read: vectors of a video's seconds from a frozen vision tower, and of a query's words.

A system of the field has its own encoders (CLIP, SlowFast, CG-DETR's features); here all share one pair, so that what
is compared is the mechanism. `regions=False` gives one vector a step, as published features of those systems have;
`regions=True` keeps a grid of them, and so keeps what is next to what.

Dimensions of tensors: `batch`, the samples; `steps` of time; `regions` of a frame (1 without a grid); `words` of a
query; `video_size`, `word_size`, of a vector; `hidden`, of a vector in a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.utils.rnn import pad_sequence

from rarft.models import VideoModel, VisionFeatures
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Crop, Sample
from rarft.system.errors import InputError

GRID = 2  # regions on each side of a frame
LONGEST = 512  # steps that a video may have: systems have a position for each
Scalar = Float[Tensor, ""]
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Samples as tensors."""

    video: Float[Tensor, "batch steps regions video_size"]
    steps: Bool[Tensor, "batch steps"]  # true where a step exists
    words: Float[Tensor, "batch words word_size"]
    word_mask: Bool[Tensor, "batch words"]
    step_seconds: Float[Tensor, " batch"]  # the length of a step
    spans: Float[Tensor, "batch 2"]  # the first true segment in steps, zeros for an irrelevant query
    relevant: Bool[Tensor, " batch"]


class FeatureBank:
    """Vectors of videos and texts, each computed once."""

    def __init__(self, video_model: VideoModel, *, regions: bool = True, encoder: SentenceEncoder | None = None):
        """video_model: one whose features have a grid (the Qwen-VL families)."""
        self.video_model, self.regions = video_model, regions
        self.encoder = encoder or default_encoder()
        self._videos: dict[Crop, torch.Tensor] = {}

    @property
    def video_size(self) -> int:
        """Dimensions of a vector of the video."""
        return int(self.video_model.model.get_input_embeddings().weight.shape[1])

    @property
    def grid(self) -> int:
        """Regions of a step."""
        return GRID**2 if self.regions else 1

    @property
    def word_size(self) -> int:
        """Dimensions of the vector of a word."""
        return self.encoder.word_size

    def videos(self, samples: Sequence[Sample]) -> list[Float[Tensor, "_ regions video_size"]]:
        """The video of each sample, with as many steps as it has."""
        missing = list(dict.fromkeys(s.crop for s in samples if s.crop not in self._videos))
        self.video_model.cache.fill(missing)
        for crop, features in zip(missing, self.video_model.features(missing), strict=True):
            self._videos[crop] = self._pooled(features)
        return [self._videos[s.crop] for s in samples]

    def _pooled(self, features: VisionFeatures) -> torch.Tensor:
        merge = self.video_model.model.config.vision_config.spatial_merge_size
        t, h, w = (int(n) for n in features.extras["video_grid_thw"])
        grid = features.embeds.float().view(t, h // merge, w // merge, -1).permute(0, 3, 1, 2)
        side = GRID if self.regions else 1
        return adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2).contiguous()

    def words(self, texts: Sequence[str]) -> list[Float[Tensor, "_ word_size"]]:
        """The vectors of each text's words."""
        return [torch.from_numpy(vectors) for vectors in self.encoder.words(list(texts))]

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Samples as padded tensors. Raises InputError for a sample without a duration, or with too many steps."""
        videos = self.videos(samples)
        for sample, vectors in zip(samples, videos, strict=True):
            if not sample.duration:
                raise InputError(f"{sample.video}: its duration is not known, and steps are counted in seconds of it")
            if len(vectors) > LONGEST:
                raise InputError(f"{sample.video}: more than {LONGEST} steps of time; read fewer frames a second (fps)")
        video, steps = pad(videos)
        words, word_mask = pad(self.words([sample.query for sample in samples]))
        seconds = torch.tensor([float(sample.duration or 0) for sample in samples]) / steps.sum(1)
        spans = torch.tensor([sample.spans[0] if sample.relevant else (0.0, 0.0) for sample in samples])
        relevant = torch.tensor([sample.relevant for sample in samples])
        return Batch(video, steps, words, word_mask, seconds, spans / seconds[:, None], relevant)


def pad(rows: Sequence[Tensor]) -> tuple[Float[Tensor, "batch longest *rest"], Bool[Tensor, "batch longest"]]:
    """Rows of different length as one tensor with zeros at the end, and true where it has a value of a row."""
    lengths = torch.tensor([len(row) for row in rows])
    return pad_sequence(list(rows), batch_first=True), torch.arange(int(lengths.max())) < lengths[:, None]


def in_batches(items: Sequence[T], size: int = 64) -> list[list[T]]:
    """Items in lists of at most `size`."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
