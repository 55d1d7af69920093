"""Clips and chat messages become the tensors of a forward pass, with or without running the vision tower.

Prompt and completion are padded on the left as one, so that the tokens of all completions end together.
"""

from __future__ import annotations

from dataclasses import dataclass

import rarft._torchvision  # noqa: F401

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.video_utils import VideoMetadata

from rarft.video import Clip


def video_kwargs(clips: list[Clip]) -> dict:
    """What a `transformers` processor has to be told of clips that are decoded and sampled already."""
    return {
        "videos": [torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(0, 3, 1, 2) for clip in clips],
        "video_metadata": [
            VideoMetadata(
                total_num_frames=len(clip.frames),
                fps=clip.fps,
                duration=clip.duration,
                frames_indices=list(range(len(clip.frames))),
            )
            for clip in clips
        ],
        "do_sample_frames": False,
    }


@dataclass(frozen=True)
class VisionFeatures:
    """What the language model needs of one clip. embeds: (tokens, hidden); grid: (3,) t, h, w in patches;
    placeholder: the text, time stamps included, that stands for the video in the prompt."""

    embeds: torch.Tensor
    grid: torch.Tensor
    placeholder: str


@torch.no_grad()
def encode_clips(model: PreTrainedModel, processor: ProcessorMixin, clips: list[Clip]) -> list[VisionFeatures]:
    """Run the vision tower and its merger once over each clip."""
    batch = processor.video_processor(**video_kwargs(clips), return_tensors="pt", return_metadata=True)
    output = model.get_video_features(
        batch["pixel_values_videos"].to(model.device), batch["video_grid_thw"].to(model.device)
    )
    return [
        VisionFeatures(embeds.cpu(), batch["video_grid_thw"][i], processor.replace_video_token(batch, i))
        for i, embeds in enumerate(output.pooler_output)
    ]


def tokenize_with_features(
    processor: ProcessorMixin, texts: list[str], features: list[VisionFeatures]
) -> dict[str, torch.Tensor | dict]:
    """The inputs of a forward pass over texts with one video each, its features already computed.

    Args:
        texts: chat-templated text, each with one video token.
        features: one for each text.
    """
    expanded = [
        text.replace(processor.video_token, feature.placeholder, 1)
        for text, feature in zip(texts, features, strict=True)
    ]
    batch = processor.tokenizer(expanded, return_tensors="pt", padding=True, padding_side="left")
    ids = batch["input_ids"]
    return {
        "input_ids": ids,
        "attention_mask": batch["attention_mask"],
        "mm_token_type_ids": 2 * (ids == processor.video_token_id).int(),
        "video_grid_thw": torch.stack([f.grid for f in features]),
        "mm_encoder_outputs": {"video": vision_output([f.embeds for f in features])},
    }


def vision_output(embeds: list[torch.Tensor]) -> BaseModelOutputWithDeepstackFeatures:
    """Features of several clips in the form in which the model's own vision tower returns them."""
    return BaseModelOutputWithDeepstackFeatures(pooler_output=tuple(embeds), deepstack_features=[])
