"""The families of video models, as a table: where their vision tower is, and how a clip becomes features.

To add one, write an `Encode` if none of the three fits, and put a `Family` into `FAMILIES` under the `model_type` of
its config.json, here or from your own code. tests/models/test_families.py says what has to hold."""

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
from rarft.system.errors import InputError
from rarft.video import Clip

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

Encode = Callable[["VideoModel", Sequence[Clip]], list[VisionFeatures]]


@dataclass(frozen=True)
class Family:
    """vision_tower: path of the module that encodes frames, below the model.
    encode: clips → features, by one pass of the vision tower and its merger or projector.
    projector: path of the module between tower and language model, where it stands apart from the tower.
    mrope: positions depend on the videos (M-RoPE); the model has `get_rope_index`.
    """

    vision_tower: str
    encode: Encode
    projector: str | None = None
    mrope: bool = False


def _video_batch(processor: ProcessorMixin, clips: Sequence[Clip]) -> dict:
    return processor.video_processor(**video_kwargs(clips), return_tensors="pt", return_metadata=True)


def encode_patches(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """Qwen3-VL: all clips in one pass; deepstack features for the first layers of the language model."""
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
    """Qwen2.5-VL: as `encode_patches`; time is in the positions, which need the seconds between two steps of
    the grid."""
    step = video_model.processor.video_processor.temporal_patch_size
    features = encode_patches(video_model, clips)
    for feature, clip in zip(features, clips, strict=True):
        feature.extras["second_per_grid_ts"] = torch.tensor(step / clip.fps)
    return features


def encode_frames(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """The LLaVA family: frames of one size, stacked, so one clip at a time."""
    model, processor = video_model.model, video_model.processor
    features = []
    for clip in clips:
        batch = _video_batch(processor, [clip])
        output = model.get_video_features(batch["pixel_values_videos"].to(model.device))
        embeds = output.pooler_output[0].cpu()
        features.append(VisionFeatures(embeds, processor.replace_video_token(batch, 0), stacked=True))
    return features


def encode_compressed(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """VideoLLaMA3 drops tokens that repeat the frame before: only those that are left are kept."""
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
    """The model itself, looked for inside a LoRA wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_whole(model: PreTrainedModel | PeftModel) -> bool:
    """Whether this process has all weights. Under FSDP and ZeRO-3 it has a share, and gathers the rest in each forward
    pass, of which all processes must then run equally many."""
    shared_out = any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())
    return not shared_out and not any(isinstance(module, FullyShardedDataParallel) for module in model.modules())


def family_of(model: PreTrainedModel | PeftModel) -> Family:
    """The family of a model. Raises InputError for one that is not in the table."""
    kind = without_lora(model).config.model_type
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InputError(
            f"model_type {kind!r} is not known; known are {known}. To add it, see rarft/models/families.py"
        )
    return FAMILIES[kind]


@torch.no_grad()
def encode_clips(video_model: VideoModel, clips: Sequence[Clip]) -> list[VisionFeatures]:
    """Run the vision tower, and its merger or projector, once over each clip."""
    return family_of(video_model.model).encode(video_model, clips)


def vision_tower(model: PreTrainedModel | PeftModel) -> torch.nn.Module:
    """The module that encodes frames, a merger included; a LoRA wrapper is looked through."""
    return without_lora(model).get_submodule(family_of(model).vision_tower)


def vision_modules(model: PreTrainedModel | PeftModel) -> list[torch.nn.Module]:
    """All that a clip goes through before the language model: the vision tower, and a projector that stands apart."""
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
