"""Features of clips, and how features and texts become the tensors of a forward pass.

Prompt and completion form one sequence, padded on the left, so that all completions of a batch end at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import ProcessorMixin

from rarft.models.prompt_text import tokenize_texts
from rarft.system.upstream.of_transformers import BaseModelOutputWithDeepstackFeatures, VideoMetadata
from rarft.video import Clip


def video_kwargs(clips: Sequence[Clip]) -> dict:
    """The arguments of a `transformers` processor for clips that are already decoded and sampled."""
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
    """What the language model needs from one clip.

    embeds: (tokens, hidden).
    placeholder: the text, timestamps included, that stands for the video in the prompt.
    extras: further arguments of a forward pass: `video_grid_thw` (3,), which is t, h, w in patches, and for Qwen2.5-VL
    `second_per_grid_ts` (), the seconds between two steps of t. Empty for models without a grid (LLaVA-OneVision).
    deepstack: (tokens, hidden) for each of the first layers of the language model (Qwen3-VL); empty for other models.
    stacked: whether the model takes the features of all clips as one tensor (the LLaVA family).
    """

    embeds: torch.Tensor
    placeholder: str
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    deepstack: tuple[torch.Tensor, ...] = ()
    stacked: bool = False


def tokenize_with_features(
    processor: ProcessorMixin, texts: Sequence[str], features: Sequence[VisionFeatures]
) -> dict[str, torch.Tensor | dict]:
    """The inputs of a forward pass over texts with one video each, whose features are already computed.

    Args:
        texts: made by `rarft.models.prompt_text`, each with one video token.
        features: one for each text.
    """
    batch = pad_texts(processor, texts, features)
    return {**batch, **video_inputs(batch["input_ids"], features, processor.video_token_id)}


def pad_texts(
    processor: ProcessorMixin, texts: Sequence[str], features: Sequence[VisionFeatures]
) -> dict[str, torch.Tensor]:
    """Token ids and attention mask (B, L) of texts with one video each, padded on the left."""
    expanded = [
        text.replace(processor.video_token, feature.placeholder, 1)
        for text, feature in zip(texts, features, strict=True)
    ]
    batch = tokenize_texts(processor.tokenizer, expanded)
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def tokenize_prompts(
    processor: ProcessorMixin, texts: Sequence[str], features: Sequence[VisionFeatures]
) -> list[list[int]]:
    """The tokens of texts with one video each, without padding."""
    batch = pad_texts(processor, texts, features)
    masks = batch["attention_mask"].bool()
    return [ids[mask].tolist() for ids, mask in zip(batch["input_ids"], masks, strict=True)]


def video_inputs(input_ids: torch.Tensor, features: Sequence[VisionFeatures], video_token: int) -> dict:
    """What a forward pass needs besides token ids (B, L): the features of the videos. Models whose positions depend on
    the videos also get the grids, and which tokens are video."""
    extras = {name: torch.stack([f.extras[name] for f in features]) for name in features[0].extras}
    if extras:
        extras["mm_token_type_ids"] = 2 * (input_ids == video_token).int()
    return {**extras, "mm_encoder_outputs": {"video": vision_output(features)}}


def vision_output(features: Sequence[VisionFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    """Features of several clips, in the form that the model's own vision tower returns."""
    embeds = tuple(f.embeds for f in features)
    if features[0].stacked:
        return BaseModelOutputWithDeepstackFeatures(pooler_output=torch.cat(embeds)[None], deepstack_features=[])
    deepstack = list(zip(*(f.deepstack for f in features), strict=True))
    return BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=deepstack)


def to_device(inputs: dict, device: torch.device) -> dict:
    """Move tensors, and the vision features inside `mm_encoder_outputs`."""
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    if "mm_encoder_outputs" in inputs:
        video = inputs["mm_encoder_outputs"]["video"]
        pooled = video.pooler_output
        if isinstance(pooled, torch.Tensor):
            video.pooler_output = pooled.to(device)
        else:
            video.pooler_output = tuple(embeds.to(device) for embeds in pooled)
        video.deepstack_features = [tuple(e.to(device) for e in layer) for layer in video.deepstack_features]
    return moved
