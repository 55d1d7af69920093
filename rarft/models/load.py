"""Load a video language model and its processor, by path or hub name: the tiny base and a 7B by the same call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from rarft.models.families import family_of, freeze_vision, without_lora
from rarft.models.lora import fingerprint
from rarft.models.presets import keep_frame_sizes, preset_of, revision_of
from rarft.models.settings import FILE, Settings, read_settings
from rarft.system.errors import InputError, MissingFileError, RarftError, is_out_of_memory
from rarft.system.files import BASE
from rarft.system.upstream.of_transformers import check_video_model, no_loading_bar, whole_weights

log = logging.getLogger(__name__)


def load_model(
    name: str | Path = BASE,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
    **options,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a model for inference or training, in evaluation mode, with its processor. No code of a repository is run.

    A folder without settings is read as if there were no budget, which a warning says.

    Args:
        name: a folder in the Hugging Face layout, a short name of `rarft.models.presets`, a hub name, or a folder with
            a LoRA adapter, which training then continues.
        revision: a commit of the hub repository; a preset brings its own.
        dtype: "auto" keeps the checkpoint's; CPUs without bf16 units want "float32".
        options: for transformers' `from_pretrained`, such as `attn_implementation`.

    Raises MissingFileError for a path that is not there; InputError for an unknown hub name, a model of another family,
    weights that are damaged, missing, of another shape or in a pickle, and a model that brings code of its own."""
    settings, preset = settings_of(name), preset_of(str(name))
    if preset:
        name, revision = preset.repository, revision_of(preset, revision)
    folder = Path(name)
    if (folder.is_absolute() or str(name).startswith(".")) and not folder.exists():
        raise MissingFileError(f"{folder}: no such model folder; `rarft train base --out data/base` makes the base")
    if (folder / "adapter_config.json").exists():
        model, processor = _load_adapter(folder, dtype=dtype, device=device, **options)
    else:
        model, processor = _load_weights(str(name), revision, dtype=dtype, device=device, **options)
    if settings:
        apply_settings(settings, model, processor)
    elif folder.is_dir():
        log.warning(
            "%s: no %s beside the weights, so videos are read at %g frames a second and in full size. If the model was "
            "trained otherwise, copy the file of the model that it was trained from",
            folder,
            FILE,
            Settings.fps,
        )
    return model.eval(), processor


def _load_adapter(folder: Path, **options) -> tuple[PeftModel, ProcessorMixin]:
    weights = folder / "adapter_model.safetensors"
    if not weights.exists():  # peft would take a pickle in its place
        raise InputError(f"{folder}: no {weights.name} in it; other files of weights are not opened")
    with _named(folder):
        adapter = LoraConfig.from_pretrained(str(folder))
    try:
        model, processor = load_model(_base_of(folder, adapter), revision=adapter.revision, **options)
    except RarftError as error:
        raise InputError(f"{folder}: the model that this adapter belongs to cannot be loaded: {error}") from error
    if isinstance(model, PeftModel):  # an adapter on an adapter
        model = model.merge_and_unload()
        model.loaded_fingerprint = fingerprint(model)
    with _named(folder), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")  # peft would leave them at zero
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True), processor


def _base_of(folder: Path, adapter: LoraConfig) -> str:
    """The model that an adapter belongs to; one that was saved with it (`rarft.models.lora.keep_changed_base`) may have
    been moved together with it."""
    run = folder.parent if folder.name.startswith("checkpoint-") else folder
    named, beside = adapter.base_model_name_or_path, run / "base"
    return str(beside) if Path(named).name == "base" and (beside / "config.json").exists() else named


def _is_small(folder: Path) -> bool:
    """Whether a folder has weights that load in an instant: under 500 MB."""
    return folder.is_dir() and sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 5e8


def _load_weights(
    name: str, revision: str | None, *, dtype: str | torch.dtype, device: str | torch.device, **options
) -> tuple[PreTrainedModel, ProcessorMixin]:
    safe: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "output_loading_info": True}
    with _named(name):
        processor = AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=False)
        processor.tokenizer.padding_side = "left"
        with whole_weights(), no_loading_bar() if _is_small(Path(name)) else nullcontext():
            model, loading = AutoModelForImageTextToText.from_pretrained(
                name, revision=revision, dtype=dtype, **safe, **options
            )
    missing = sorted(loading["missing_keys"])
    if missing:  # transformers would draw them at random and go on
        raise InputError(f"{name}: {len(missing)} weights are missing, such as {missing[0]}; download it again")
    check_video_model(model, processor, mrope=family_of(model).mrope)
    _check_video_token(name, model, processor)
    model.loaded_fingerprint = fingerprint(model)  # see rarft.models.lora.keep_changed_base
    return model.to(device), processor


@contextmanager
def _named(name: str | Path) -> Iterator[None]:
    """What transformers, peft and safetensors raise for a model that they cannot load, as InputError with its name."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError, Warning) as error:
        if isinstance(error, RarftError) or is_out_of_memory(error):
            raise
        reason = "it asks for code of its own to be run, which is never done here"
        if "trust_remote_code" not in str(error):
            reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{name}: no model that can be loaded: {reason}") from error


def _check_video_token(name: str, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Raises InputError if the tokenizer does not write the token that the model takes for a video."""
    token = getattr(processor, "video_token", None)
    wanted = getattr(model.config, "video_token_id", getattr(model.config, "video_token_index", None))
    if token is None or wanted is None:
        return
    found = processor.tokenizer.convert_tokens_to_ids(token)
    if found != wanted:
        raise InputError(f"{name}: the tokenizer has {found} for the video token {token!r}, and the model {wanted}")


DTYPES = ("float32", "bfloat16", "float16")


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
        changes: fields of `rarft.models.settings.Settings` that replace the model's own; None replaces nothing.

    Raises InputError for what cannot be loaded, and for a device that this machine does not have.
    """
    device = _device(device)
    if dtype == "auto" and device.type == "cpu":
        dtype = "float32"
    if isinstance(dtype, str) and dtype != "auto" and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: choose one of auto, {', '.join(DTYPES)}")
    model, processor = load_model(name, device=device, dtype=dtype, **options)
    freeze_vision(model)
    settings = settings_of(name) or Settings(max_new_tokens=max_new_tokens(model))
    settings = settings.changed(**(changes or {}))
    apply_settings(settings, model, processor)
    return OpenModel(model, processor, replace(settings, style=prompt_style(model)))


def _device(name: str | torch.device) -> torch.device:
    """A device of this machine. Raises InputError for any other."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.ones(1, device=name).cpu().to(name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"device {str(name)!r} cannot be used: {str(error).splitlines()[0]}") from error


def settings_of(name: str | Path) -> Settings | None:
    """The settings saved beside a model, a preset's, or those of the base that an adapter belongs to; None if nobody
    says."""
    preset = preset_of(str(name))
    if preset:
        return preset.settings
    own = read_settings(name)
    if own or not (Path(name) / "adapter_config.json").exists():
        return own
    return settings_of(_base_of(Path(name), LoraConfig.from_pretrained(str(name))))


def apply_settings(settings: Settings, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Have a model and its processor ask as the settings say; `VisionCache` takes its video options from them."""
    if settings.factor:
        keep_frame_sizes(processor, settings.factor)
    if settings.style:
        model.config.rarft_prompt_style = settings.style
    model.generation_config.max_new_tokens = settings.max_new_tokens
    without_lora(model).config.rarft_settings = asdict(settings)  # so `save_pretrained` writes them into config.json


def settings_in_use(model: PreTrainedModel) -> Settings:
    """The settings that `apply_settings` gave a model; the defaults if it was built without any."""
    return Settings(**getattr(without_lora(model).config, "rarft_settings", {}))


def max_new_tokens(model: PreTrainedModel) -> int:
    """How long an answer of this model may be, in tokens."""
    return getattr(model.generation_config, "max_new_tokens", None) or Settings.max_new_tokens


def prompt_style(model: PreTrainedModel) -> str:
    """The prompt style that the checkpoint was trained with; "instruct" where it names none."""
    return getattr(model.config, "rarft_prompt_style", "instruct")
