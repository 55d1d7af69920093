"""Video language models: loading and saving them, the features of their videos, and their answers."""

from rarft.models.families import FAMILIES, Family, freeze_vision, vision_tower, without_lora
from rarft.models.features import VisionFeatures, tokenize_with_features, video_kwargs
from rarft.models.presets import PRESETS, keep_frame_sizes
from rarft.models.settings import Settings
from rarft.models.shapes import ARCHITECTURES, count, empty_model
from rarft.models.video_model import VideoModel
from rarft.models.vision_cache import VisionCache

__all__ = [
    "FAMILIES",
    "PRESETS",
    "ARCHITECTURES",
    "Family",
    "Settings",
    "VideoModel",
    "VisionCache",
    "VisionFeatures",
    "count",
    "empty_model",
    "freeze_vision",
    "keep_frame_sizes",
    "tokenize_with_features",
    "video_kwargs",
    "vision_tower",
    "without_lora",
]
