"""A table of video model families: where the vision tower is, and how a clip becomes features.

To add a family, add a `Family` to `FAMILIES` under the `model_type` of its config.json, here or in your own code. Write
a new `Encode` if none of the four here fits. tests/models/test_families.py tests what a family has to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from peft import PeftModel
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, ProcessorMixin

from rarft.models.features import VisionFeatures, video_kwargs
from rarft.system.cores import Plan, plan_for, threads
from rarft.system.errors import InputError
from rarft.video import Clip

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

Encode = Callable[["VideoModel", Sequence[Clip]], list[VisionFeatures]]


@dataclass(frozen=True)
class Family:
    """vision_tower: path of the module that encodes frames, below the model.
    encode: clips → features, by one pass of the vision tower and its merger or projector.
    projector: path of the module between tower and language model; None if it is part of the tower.
    mrope: whether positions depend on the videos (M-RoPE). Such a model has `get_rope_index`.
    """

    vision_tower: str
    encode: Encode
    projector: str | None = None
    mrope: bool = False


def _video_batch(processor: ProcessorMixin, clips: Sequence[Clip]) -> dict:
    return processor.video_processor(**video_kwargs(clips), return_tensors="pt", return_metadata=True)


def encode_patches(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """Qwen3-VL: all clips in one pass, with deepstack features for the first layers of the language model."""
    model, processor = video_model.model, video_model.processor
    batch = _video_batch(processor, clips)
    grids = batch["video_grid_thw"]
    output = model.get_video_features(batch["pixel_values_videos"].to(model.device), grids.to(model.device))
    deepstack = getattr(output, "deepstack_features", None) or []
    return [
        VisionFeatures(
            embeds.cpu(),
            processor.replace_video_token(batch, i),
            {"video_grid_thw": grids[i]},
            tuple(layer[i].cpu() for layer in deepstack),
        )
        for i, embeds in enumerate(output.pooler_output)
    ]


def encode_timed_patches(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """Qwen2.5-VL: as `encode_patches`. Positions encode time, so they need the seconds between two steps of the
    grid."""
    step = video_model.processor.video_processor.temporal_patch_size
    features = encode_patches(video_model, clips)
    for feature, clip in zip(features, clips, strict=True):
        feature.extras["second_per_grid_ts"] = torch.tensor(step / clip.fps)
    return features


def encode_frames(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """The LLaVA family: the frames of a pass are stacked and need one size, so clips are encoded one by one."""
    model, processor = video_model.model, video_model.processor
    features = []
    for clip in clips:
        batch = _video_batch(processor, [clip])
        output = model.get_video_features(batch["pixel_values_videos"].to(model.device))
        embeds = output.pooler_output[0].cpu()
        features.append(VisionFeatures(embeds, processor.replace_video_token(batch, 0), stacked=True))
    return features


def encode_compressed(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """VideoLLaMA3 drops tokens that repeat the previous frame; only the remaining tokens become features."""
    model, processor = video_model.model, video_model.processor
    batch = _video_batch(processor, clips)
    sizes = (batch["video_grid_thw"].to(model.device), batch["video_merge_sizes"].to(model.device))
    pixels = batch["pixel_values_videos"].to(model.device)
    embeds = without_lora(model).model.get_video_features(pixels, *sizes).pooler_output
    masks = batch["video_compression_mask"].split([len(e) for e in embeds])
    return [
        VisionFeatures(e.cpu()[mask.bool()], processor.replace_video_token(batch, i))
        for i, (e, mask) in enumerate(zip(embeds, masks, strict=True))
    ]


FAMILIES: dict[str, Family] = {
    "qwen2_5_vl": Family("model.visual", encode_timed_patches, mrope=True),
    "qwen3_vl": Family("model.visual", encode_patches, mrope=True),
    "llava_onevision": Family("model.vision_tower", encode_frames, "model.multi_modal_projector"),
    "llava_next_video": Family("model.vision_tower", encode_frames, "model.multi_modal_projector"),
    "video_llama_3": Family("model.vision_model", encode_compressed, "model.projector"),
}


def without_lora(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model itself, without a LoRA wrapper if it has one."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_whole(model: PreTrainedModel | PeftModel) -> bool:
    """Whether this process has all weights. Under FSDP and ZeRO-3 it has a shard, and forward passes gather the rest;
    all processes must then run the same number of them."""
    shared_out = any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())
    return not shared_out and not any(isinstance(module, FullyShardedDataParallel) for module in model.modules())


def family_of(model: PreTrainedModel | PeftModel) -> Family:
    """The family of a model. Raises InputError for one that is not in the table."""
    kind = without_lora(model).config.model_type
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InputError(
            f"model_type {kind!r} is not known; choose one of {known}. To add it, see rarft/models/families.py"
        )
    return FAMILIES[kind]


@torch.no_grad()
def encode_clips(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """Run the vision tower, and its merger or projector, once over each clip."""
    with threads(plan_of(video_model).threads):
        return family_of(video_model.model).encode(video_model, clips)


def plan_of(video_model: VideoModel) -> Plan:
    """How a model uses the cores, see `rarft.system.cores.plan_for`."""
    parameters = sum(p.numel() for p in video_model.model.parameters())
    return plan_for(parameters, video_model.model.device.type, processes=video_model.processes)


def vision_tower(model: PreTrainedModel | PeftModel) -> torch.nn.Module:
    """The module that encodes frames, including a merger; the model may have a LoRA wrapper."""
    return without_lora(model).get_submodule(family_of(model).vision_tower)


def vision_modules(model: PreTrainedModel | PeftModel) -> list[torch.nn.Module]:
    """The modules that a clip passes before the language model: the vision tower, and a separate projector."""
    family, inner = family_of(model), without_lora(model)
    return [inner.get_submodule(path) for path in (family.vision_tower, family.projector) if path]


def freeze_vision(model: PreTrainedModel | PeftModel) -> None:
    """Stop training the vision tower and its merger or projector, so that features can be computed once."""
    for module in vision_modules(model):
        module.requires_grad_(False)


def check_trainable(model: PreTrainedModel | PeftModel) -> None:
    """Raises InputError if training would change nothing: no weight of the model takes a gradient."""
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError(
            "no weight of this model is trainable; load an adapter with rarft.models.VideoModel.load or with "
            "PeftModel.from_pretrained(…, is_trainable=True)"
        )
