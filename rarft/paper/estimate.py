"""A rough estimate of an experiment's tokens, disk, memory and hours, before it starts.

Tokens are counted from the videos that were found. Hours come from one measurement on one GPU with random weights of
the same shapes (benchmarks/step_at_size.py), scaled by steps and tokens; other machines differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rarft.models.families import freeze_vision
from rarft.models.settings import Settings
from rarft.models.shapes import ARCHITECTURES, count, empty_model
from rarft.paper.inventory import FoundVideo
from rarft.video import frame_size

BYTES_A_NUMBER = 2  # bfloat16
PROMPT_TOKENS = 400  # text tokens of a prompt, roughly


def video_tokens(video: FoundVideo, settings: Settings) -> int:
    """The number of tokens of a video: a pair of frames has one for each `factor` × `factor` pixels."""
    factor = settings.factor or 28
    frames = max(2, math.floor(video.seconds * settings.fps) // 2 * 2)
    budget = {"max_pixels": settings.max_pixels, "min_frame_pixels": settings.min_frame_pixels}
    height, width = frame_size(video.height, video.width, frames, factor, **budget)
    return frames // 2 * (height // factor) * (width // factor)


def shape_of(base: str) -> str:
    """The key in `ARCHITECTURES` with the shapes of a base; bases that are not listed are Qwen2.5-VL-7B, fine-tuned."""
    return base if base in ARCHITECTURES else "qwen2.5-vl-7b"


def estimate(
    base: str,
    settings: Settings,
    videos: Iterable[FoundVideo],
    *,
    steps: int,
    prompts: int = 8,
    gpus: int = 1,
    lora_rank: int | None = None,
    measured: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Estimate an experiment.

    Args:
        videos: of training and test together.
        steps, prompts: training steps, and prompts per step on all GPUs together.
        lora_rank: of the adapter; None trains all weights except those of the vision tower.
        measured: the contents of data/results/step_at_size.json, for the hours.

    Returns videos, tokens_a_video, features_gb, steps, state_gb_a_gpu and, if measured, training_hours.
    """
    shape = shape_of(base)
    tokens = [video_tokens(video, settings) for video in videos]
    hidden = ARCHITECTURES[shape]["text_config"]["hidden_size"]
    figures = {
        "videos": len(tokens),
        "tokens_a_video": sum(tokens) / max(1, len(tokens)),
        "features_gb": sum(tokens) * hidden * BYTES_A_NUMBER / 1e9,
        "steps": steps,
        "state_gb_a_gpu": _state_gb(shape, lora_rank) / max(1, gpus),
    }
    if measured and shape in measured:
        hours = (
            _seconds_a_step(measured[shape], figures["tokens_a_video"]) * steps * prompts / measured[shape]["prompts"]
        )
        figures["training_hours"] = hours / 3600 / max(1, gpus)
    return figures


def _state_gb(shape: str, lora_rank: int | None) -> float:
    """GB for weights (2 bytes), and for gradients (2) and AdamW's moments (8) of trained weights (chapter 12)."""
    model = empty_model(shape)
    freeze_vision(model)
    if lora_rank:
        from rarft.models.lora import add_lora

        model = add_lora(model, rank=lora_rank)
    return (2 * count(model) + 10 * count(model, trained=True)) / 1e9


def _seconds_a_step(row: Mapping[str, Any], tokens: float) -> float:
    """Seconds per step: sampling as measured, plus a training pass with checkpointing, scaled by its tokens."""
    parts = row["parts"]
    sampling = min(min(parts[name]["seconds"]) for name in ("sampling", "sampling, graph") if name in parts)
    training = min(parts["training, checkpoints"]["seconds"])
    answers = 8 * row["tokens"]
    return sampling + training * (tokens + PROMPT_TOKENS + answers) / (row["prompt_tokens"] + answers)


def in_words(figures: Mapping[str, float]) -> str:
    """The estimate as a few lines."""
    lines = [
        f"{figures['videos']:,.0f} videos of {figures['tokens_a_video']:,.0f} tokens each on average",
        f"features on disk: {figures['features_gb']:.1f} GB",
        f"weights, gradients and optimiser: {figures['state_gb_a_gpu']:.1f} GB per GPU, sharded evenly (ZeRO-3); "
        "activations come on top",
        f"training: {figures['steps']:,.0f} steps",
    ]
    if "training_hours" in figures:
        lines[-1] += (
            f", about {figures['training_hours']:.1f} hours at the speed that chapter 12 shows, if GPUs share the work "
            "without loss"
        )
    return "\n".join(lines)
