"""Load a video language model and its processor, by path or hub name: the tiny base and a 7B by the same call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import rarft._torchvision  # noqa: F401

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.integrations import deepspeed

from rarft.files import BASE
from rarft.presets import keep_frame_sizes, preset_of, revision_of
from rarft.settings import Settings, read_settings


def load_model(
    name: str | Path = BASE,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
    **options,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a model for inference or training, in evaluation mode, with its processor. No code of a repository is run.

    Args:
        name: a folder in the Hugging Face layout, a short name of `rarft.presets`, a hub name, or a folder with a
            LoRA adapter.
        revision: a commit of the hub repository; a preset brings its own.
        dtype: "auto" keeps the checkpoint's; CPUs without bf16 units want "float32".
        options: for transformers' `from_pretrained`, such as `attn_implementation`.

    Raises FileNotFoundError for a path that is not there; OSError (transformers) for an unknown hub name.
    """
    settings, preset = settings_of(name), preset_of(str(name))
    if preset:
        name, revision = preset.repository, revision_of(preset, revision)
    folder = Path(name)
    if (folder.is_absolute() or str(name).startswith(".")) and not folder.exists():
        raise FileNotFoundError(f"{folder}: no such model folder; `python -m rarft train base --out data/base` makes the base")
    if (folder / "adapter_config.json").exists():
        adapter = LoraConfig.from_pretrained(str(folder))
        base = adapter.base_model_name_or_path
        model, processor = load_model(base, revision=adapter.revision, dtype=dtype, device=device, **options)
        model = PeftModel.from_pretrained(model, str(folder))
    else:
        processor = AutoProcessor.from_pretrained(str(name), revision=revision, trust_remote_code=False)
        processor.tokenizer.padding_side = "left"
        with whole_weights():
            model = AutoModelForImageTextToText.from_pretrained(
                str(name), revision=revision, dtype=dtype, trust_remote_code=False, **options
            ).to(device)
    if settings:
        apply_settings(settings, model, processor)
    return model.eval(), processor


class OpenModel(NamedTuple):
    """A model that is ready to be asked, its vision tower frozen."""

    model: PreTrainedModel
    processor: ProcessorMixin
    settings: Settings


def open_model(
    name: str | Path = BASE,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    changes: Mapping[str, Any] | None = None,
    **options,
) -> OpenModel:
    """Load a model and how it is asked: one way for `infer`, `evaluate` and recipes.

    Args:
        name, options: see `load_model`.
        device: "auto" takes a GPU where there is one.
        dtype: "auto" is the checkpoint's on a GPU, and float32 on a CPU, which may have no units for bf16.
        changes: fields of `rarft.settings.Settings` that replace the model's own; None replaces nothing.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto" and torch.device(device).type == "cpu":
        dtype = "float32"
    model, processor = load_model(name, device=device, dtype=dtype, **options)
    freeze_vision(model)
    settings = settings_of(name) or Settings(max_new_tokens=max_new_tokens(model))
    settings = settings.changed(**(changes or {}))
    apply_settings(settings, model, processor)
    return OpenModel(model, processor, replace(settings, style=prompt_style(model)))


def settings_of(name: str | Path) -> Settings | None:
    """The settings saved beside a model, a preset's, or those of the base that an adapter belongs to; None if nobody says."""
    preset = preset_of(str(name))
    if preset:
        return preset.settings
    own = read_settings(name)
    if own or not (Path(name) / "adapter_config.json").exists():
        return own
    return settings_of(LoraConfig.from_pretrained(str(name)).base_model_name_or_path)


def apply_settings(settings: Settings, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Have a model and its processor ask as the settings say; the video options go to `VisionCache`."""
    if settings.factor:
        keep_frame_sizes(processor, settings.factor)
    if settings.style:
        model.config.rarft_prompt_style = settings.style
    model.generation_config.max_new_tokens = settings.max_new_tokens


def max_new_tokens(model: PreTrainedModel) -> int:
    """How long an answer of this model may be, in tokens."""
    return getattr(model.generation_config, "max_new_tokens", None) or Settings.max_new_tokens


@contextmanager
def whole_weights() -> Iterator[None]:
    """Load weights whole where DeepSpeed ZeRO-3 is on, as it is from the moment in which a training configuration is read.

    transformers would hand each process its share only, which nothing can compute with before the trainer has taken the
    model over: not the vision tower, which encodes the videos first, and never the rewards' sentence encoder.
    """
    sharing = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = sharing


def prompt_style(model: PreTrainedModel) -> str:
    """The prompt style that the checkpoint was trained with; "instruct" where it names none."""
    return getattr(model.config, "rarft_prompt_style", "instruct")


def without_lora(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model itself, looked for inside of a LoRA wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def vision_tower(model: PreTrainedModel) -> torch.nn.Module:
    """The module that encodes frames, the merger included; a LoRA wrapper is looked through."""
    model = without_lora(model)
    for holder in (model, getattr(model, "model", None)):
        for attribute in ("visual", "vision_tower", "vision_model"):
            if hasattr(holder, attribute):
                return getattr(holder, attribute)
    raise ValueError(f"{type(model).__name__}: no vision tower found under model.visual, .vision_tower or .vision_model")


def vision_modules(model: PreTrainedModel) -> list[torch.nn.Module]:
    """All that a clip goes through before the language model: the vision tower, and the projector where it stands apart."""
    projectors = (getattr(without_lora(model).model, name, None) for name in ("multi_modal_projector", "projector"))
    return [vision_tower(model), *(module for module in projectors if module is not None)]


def freeze_vision(model: PreTrainedModel) -> None:
    """Stop training the vision tower and its merger, so that its features can be computed once."""
    for module in vision_modules(model):
        module.requires_grad_(False)


def add_lora(model: PreTrainedModel, *, rank: int = 16, alpha: int | None = None, dropout: float = 0.0) -> PeftModel:
    """Wrap the language model's linear layers with LoRA; the vision tower and the embeddings stay as they are."""
    tower = {id(module) for part in vision_modules(model) for module in part.modules()}
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in tower and "lm_head" not in name
    ]
    config = LoraConfig(
        r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)
