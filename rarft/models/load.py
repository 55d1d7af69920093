"""Load the weights and the processor of a video language model by path, preset or hub name. A model that cannot be
loaded raises an error of one line with its name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from rarft.models.families import family_of
from rarft.models.lora import fingerprint
from rarft.models.presets import preset_of, revision_of
from rarft.models.settings import Settings, read_settings
from rarft.system.errors import InputError, MissingFileError, RarftError, is_out_of_memory
from rarft.system.upstream.of_transformers import check_video_model, no_loading_bar, whole_weights

DTYPES = ("float32", "bfloat16", "float16")


def load_weights(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device,
    dtype: str | torch.dtype,
    **options: Any,
) -> tuple[PreTrainedModel | PeftModel, ProcessorMixin, str]:
    """Load a model. Returns it, its processor, and a fingerprint of its weights without an adapter.

    Arguments and errors: see `rarft.models.VideoModel.load`."""
    device = _device(device)
    if dtype == "auto" and device.type == "cpu":
        dtype = "float32"
    if isinstance(dtype, str) and dtype != "auto" and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: choose one of auto, {', '.join(DTYPES)}")
    preset = preset_of(str(name))
    if preset:
        name, revision = preset.repository, revision_of(preset, revision)
    folder = Path(name)
    if (folder.is_absolute() or str(name).startswith(".")) and not folder.exists():
        raise MissingFileError(f"{folder}: no such model folder; `rarft train base --out data/base` makes the base")
    if (folder / "adapter_config.json").exists():
        return _load_adapter(folder, dtype=dtype, device=device, **options)
    return _load_whole(str(name), revision, dtype=dtype, device=device, **options)


def _load_adapter(folder: Path, **options: Any) -> tuple[PeftModel, ProcessorMixin, str]:
    weights = folder / "adapter_model.safetensors"
    if not weights.exists():  # peft would load a pickle instead
        raise InputError(f"{folder}: has no {weights.name}; weights in other formats are not loaded")
    with _named(folder):
        adapter = LoraConfig.from_pretrained(str(folder))
    try:
        model, processor, loaded = load_weights(_base_of(folder, adapter), revision=adapter.revision, **options)
    except RarftError as error:
        raise InputError(f"{folder}: the base model of this adapter cannot be loaded: {error}") from error
    if isinstance(model, PeftModel):  # an adapter on an adapter
        model = model.merge_and_unload()
        loaded = fingerprint(model)
    with _named(folder), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")  # peft would leave them at zero
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True), processor, loaded


def _base_of(folder: Path, adapter: LoraConfig) -> str:
    """The base model of an adapter. If the base was saved with the adapter (`VideoModel.save_changed_base`), both may
    have been moved since; it is then looked for next to the adapter."""
    run = folder.parent if folder.name.startswith("checkpoint-") else folder
    named, beside = adapter.base_model_name_or_path, run / "base"
    return str(beside) if Path(named).name == "base" and (beside / "config.json").exists() else named


def _is_small(folder: Path) -> bool:
    """Whether the weights in a folder take under 500 MB, and so load in an instant."""
    return folder.is_dir() and sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 5e8


def _load_whole(
    name: str, revision: str | None, *, dtype: str | torch.dtype, device: torch.device, **options: Any
) -> tuple[PreTrainedModel, ProcessorMixin, str]:
    safe: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "output_loading_info": True}
    with _named(name):
        processor = AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=False)
        processor.tokenizer.padding_side = "left"
        with whole_weights(), no_loading_bar() if _is_small(Path(name)) else nullcontext():
            model, loading = AutoModelForImageTextToText.from_pretrained(
                name, revision=revision, dtype=dtype, **safe, **options
            )
    missing = sorted(loading["missing_keys"])
    if missing:  # transformers would initialise them at random and go on
        raise InputError(f"{name}: {len(missing)} weights are missing, such as {missing[0]}; download it again")
    check_video_model(model, processor, mrope=family_of(model).mrope)
    _check_video_token(name, model, processor)
    return model.to(device), processor, fingerprint(model)


@contextmanager
def _named(name: str | Path) -> Iterator[None]:
    """Turn what transformers, peft and safetensors raise for a broken model into an InputError with its name."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError, Warning) as error:
        if isinstance(error, RarftError) or is_out_of_memory(error):
            raise
        reason = "it needs code from its own repository (trust_remote_code), which is never run here"
        if "trust_remote_code" not in str(error):
            reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{name}: no model that can be loaded: {reason}") from error


def _check_video_token(name: str, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Raises InputError if the video token of the tokenizer is not the one that the model expects."""
    token = getattr(processor, "video_token", None)
    wanted = getattr(model.config, "video_token_id", getattr(model.config, "video_token_index", None))
    if token is None or wanted is None:
        return
    found = processor.tokenizer.convert_tokens_to_ids(token)
    if found != wanted:
        raise InputError(f"{name}: video token {token!r} has id {found} in the tokenizer, {wanted} in the model")


def _device(name: str | torch.device) -> torch.device:
    """A device by name. Raises InputError if this machine cannot use it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.ones(1, device=name).cpu().to(name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"device {str(name)!r} cannot be used: {str(error).splitlines()[0]}") from error


def settings_of(name: str | Path) -> Settings | None:
    """The settings saved with a model, of a preset, or of an adapter's base model; None if there are none."""
    preset = preset_of(str(name))
    if preset:
        return preset.settings
    own = read_settings(name)
    if own or not (Path(name) / "adapter_config.json").exists():
        return own
    return settings_of(_base_of(Path(name), LoraConfig.from_pretrained(str(name))))
