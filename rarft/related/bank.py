"""What all systems read: vectors of a video's seconds from a frozen vision tower, and of a query's words.

A system of the field has its own encoders (CLIP, SlowFast, CG-DETR's features); here all share one pair, so that what
is compared is the mechanism. `regions=False` gives one vector a step, as published features of those systems have;
`regions=True` keeps a grid of them, and with it the knowledge of what is next to what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.utils.rnn import pad_sequence

from rarft.models import VideoModel, VisionFeatures
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Crop, Sample
from rarft.system.errors import InputError

GRID = 2  # regions on each side of a frame
LONGEST = 512  # steps that a video may have: systems have a position for each


@dataclass(frozen=True)
class Batch:
    """Samples as tensors. B samples, T steps of time, R regions (1 without), W words, D and E dimensions.

    video (B, T, R, D); steps (B, T), true where a step exists; words (B, W, E); word_mask (B, W); step_seconds (B,),
    the length of a step; spans (B, 2), the first true segment in steps, zeros for an irrelevant query; relevant (B,).
    """

    video: torch.Tensor
    steps: torch.Tensor
    words: torch.Tensor
    word_mask: torch.Tensor
    step_seconds: torch.Tensor
    spans: torch.Tensor
    relevant: torch.Tensor


class Bank:
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

    def videos(self, samples: Sequence[Sample]) -> list[torch.Tensor]:
        """The video of each sample: (T, R, D)."""
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

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Samples as padded tensors. Raises InputError for a sample without a duration, or with too many steps."""
        lacking = next((s for s in samples if not s.duration), None)
        if lacking is not None:
            raise InputError(f"{lacking.video}: its duration is not known, and steps are counted in seconds of it")
        videos = self.videos(samples)
        long = next((s for s, v in zip(samples, videos, strict=True) if len(v) > LONGEST), None)
        if long is not None:
            raise InputError(f"{long.video}: more than {LONGEST} steps of time; read fewer frames a second (fps)")
        words = [torch.from_numpy(w) for w in self.encoder.words([s.query for s in samples])]
        lengths = torch.tensor([len(v) for v in videos])
        seconds = torch.tensor([float(s.duration or 0) for s in samples]) / lengths
        spans = torch.tensor([s.spans[0] if s.relevant else (0.0, 0.0) for s in samples])
        return Batch(
            video=pad_sequence(videos, batch_first=True),
            steps=torch.arange(int(lengths.max()))[None] < lengths[:, None],
            words=pad_sequence(words, batch_first=True),
            word_mask=pad_sequence([torch.ones(len(w), dtype=torch.bool) for w in words], batch_first=True),
            step_seconds=seconds,
            spans=spans / seconds[:, None],
            relevant=torch.tensor([s.relevant for s in samples]),
        )
