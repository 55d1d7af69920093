"""Clips and chat messages become the tensors of a forward pass, with or without running the vision tower.

Prompt and completion are padded on the left as one, so that the tokens of all completions end together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import rarft._torchvision  # noqa: F401

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.video_utils import VideoMetadata

from rarft.models import without_lora
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
    """What the language model needs of one clip.

    embeds: (tokens, hidden). placeholder: the text, time stamps included, that stands for the video in the prompt.
    extras: what a forward pass is told of the clip by name: `video_grid_thw` (3,), t, h, w in patches, and for Qwen2.5-VL
    `second_per_grid_ts` (), the seconds between two steps of t; empty for models without a grid, such as LLaVA-OneVision.
    deepstack: further (tokens, hidden) for the first layers of the language model (Qwen3-VL); mostly empty.
    stacked: the model takes the features of all clips as one tensor (the LLaVA family), not one by one.
    """

    embeds: torch.Tensor
    placeholder: str
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    deepstack: tuple[torch.Tensor, ...] = ()
    stacked: bool = False


@torch.no_grad()
def encode_clips(model: PreTrainedModel, processor: ProcessorMixin, clips: list[Clip]) -> list[VisionFeatures]:
    """Run the vision tower and its merger once over each clip."""
    if not hasattr(processor.video_processor, "temporal_patch_size"):  # frames are stacked: one clip at a time
        return [_encode_frames(model, processor, clip) for clip in clips]
    batch = processor.video_processor(**video_kwargs(clips), return_tensors="pt", return_metadata=True)
    pixels = batch["pixel_values_videos"].to(model.device)
    if "video_compression_mask" in batch:
        return _encode_compressed(model, processor, batch, pixels)
    output = model.get_video_features(pixels, batch["video_grid_thw"].to(model.device))
    deepstack = getattr(output, "deepstack_features", None) or []
    found = []
    for i, (clip, embeds) in enumerate(zip(clips, output.pooler_output, strict=True)):
        extras = {"video_grid_thw": batch["video_grid_thw"][i]}
        if getattr(model.config.vision_config, "tokens_per_second", None):  # Qwen2.5-VL: time lies in the positions
            extras["second_per_grid_ts"] = torch.tensor(processor.video_processor.temporal_patch_size / clip.fps)
        deeper = tuple(layer[i].cpu() for layer in deepstack)
        found.append(VisionFeatures(embeds.cpu(), processor.replace_video_token(batch, i), extras, deeper))
    return found


def _encode_frames(model: PreTrainedModel, processor: ProcessorMixin, clip: Clip) -> VisionFeatures:
    batch = processor.video_processor(**video_kwargs([clip]), return_tensors="pt", return_metadata=True)
    output = model.get_video_features(batch["pixel_values_videos"].to(model.device))
    return VisionFeatures(output.pooler_output[0].cpu(), processor.replace_video_token(batch, 0), stacked=True)


def _encode_compressed(model: PreTrainedModel, processor: ProcessorMixin, batch: dict, pixels: torch.Tensor) -> list[VisionFeatures]:
    """VideoLLaMA3 drops tokens that repeat the frame before: only those that are left are kept."""
    sizes = (batch["video_grid_thw"].to(model.device), batch["video_merge_sizes"].to(model.device))
    embeds = without_lora(model).model.get_video_features(pixels, *sizes).pooler_output
    masks = batch["video_compression_mask"].split([len(e) for e in embeds])
    return [
        VisionFeatures(e.cpu()[mask.bool()], processor.replace_video_token(batch, i))
        for i, (e, mask) in enumerate(zip(embeds, masks, strict=True))
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
        **video_inputs(ids, features, processor.video_token_id),
    }


def video_inputs(input_ids: torch.Tensor, features: Sequence[VisionFeatures], video_token: int) -> dict:
    """What a forward pass needs beside token ids (B, L): the videos' features, and, for models whose positions depend
    on them, which tokens are video and the grids."""
    extras = {name: torch.stack([f.extras[name] for f in features]) for name in features[0].extras}
    if extras:
        extras["mm_token_type_ids"] = 2 * (input_ids == video_token).int()
    return {**extras, "mm_encoder_outputs": {"video": vision_output(features)}}


def vision_output(features: Sequence[VisionFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    """Features of several clips in the form in which the model's own vision tower returns them."""
    embeds = tuple(f.embeds for f in features)
    if features[0].stacked:
        return BaseModelOutputWithDeepstackFeatures(pooler_output=torch.cat(embeds)[None], deepstack_features=[])
    deepstack = list(zip(*(f.deepstack for f in features), strict=True))
    return BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=deepstack)
