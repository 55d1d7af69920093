"""What an experiment will cost, before anything is started: tokens, disk, memory and hours, to the first digit.

Tokens are counted from the videos that were found. Hours come from one measurement on one GPU with random weights of
the same shapes (benchmarks/step_at_size.py), which is scaled by steps and tokens; another machine takes other times.
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
PROMPT_TOKENS = 400  # of text in a prompt, roughly


def video_tokens(video: FoundVideo, settings: Settings) -> int:
    """Tokens that a model reads of a video: a pair of frames has one for each `factor` × `factor` pixels."""
    factor = settings.factor or 28
    frames = max(2, math.floor(video.seconds * settings.fps) // 2 * 2)
    budget = {"max_pixels": settings.max_pixels, "min_frame_pixels": settings.min_frame_pixels}
    height, width = frame_size(video.height, video.width, frames, factor, **budget)
    return frames // 2 * (height // factor) * (width // factor)


def shape_of(base: str) -> str:
    """The class whose shapes a base has: all but one of the paper's are fine-tuned from Qwen2.5-VL-7B."""
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
    """videos, tokens_a_video, features_gb, steps, state_gb_a_gpu and training_hours; the last needs `measured`, the
    contents of data/results/step_at_size.json, and is left out without it.

    Args:
        videos: those of training and test.
        steps, prompts: of the training; prompts of each step on all GPUs together.
        lora_rank: of the adapter; all weights but the tower's are trained without one.
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
    """Weights, and gradients and AdamW's moments of those that are trained: 2 + 2 + 8 bytes (chapter 12)."""
    model = empty_model(shape)
    freeze_vision(model)
    if lora_rank:
        from rarft.models.lora import add_lora

        model = add_lora(model, rank=lora_rank)
    return (2 * count(model) + 10 * count(model, trained=True)) / 1e9


def _seconds_a_step(row: Mapping[str, Any], tokens: float) -> float:
    """Sampling as measured, and a training pass with checkpoints in proportion to its tokens."""
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
        f"weights, gradients and optimiser: {figures['state_gb_a_gpu']:.1f} GB a GPU, shared out evenly (ZeRO-3); "
        "activations come on top",
        f"training: {figures['steps']:,.0f} steps",
    ]
    if "training_hours" in figures:
        lines[-1] += (
            f", about {figures['training_hours']:.1f} hours at the speed that chapter 12 shows, if GPUs share the work "
            "without loss"
        )
    return "\n".join(lines)
