"""Video language models: loading them, their features of videos, and their answers."""

from rarft.models.confidence import refusal_probabilities
from rarft.models.decoding.generation import chat_texts, generate
from rarft.models.families import FAMILIES, Family, encode_clips, freeze_vision, vision_tower, without_lora
from rarft.models.features import VisionFeatures, tokenize_with_features, video_kwargs
from rarft.models.load import OpenModel, load_model, open_model
from rarft.models.lora import add_lora
from rarft.models.presets import PRESETS, keep_frame_sizes
from rarft.models.shapes import SHAPES, count, empty_model
from rarft.models.vision_cache import VisionCache

__all__ = [
    "FAMILIES",
    "PRESETS",
    "SHAPES",
    "Family",
    "OpenModel",
    "VisionCache",
    "VisionFeatures",
    "add_lora",
    "chat_texts",
    "count",
    "empty_model",
    "encode_clips",
    "freeze_vision",
    "generate",
    "keep_frame_sizes",
    "load_model",
    "open_model",
    "refusal_probabilities",
    "tokenize_with_features",
    "video_kwargs",
    "vision_tower",
    "without_lora",
]
