"""LoRA on the language model of a video model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from rarft.models.families import vision_modules, without_lora
from rarft.system.errors import InputError

ALL = "all-linear"
PLAIN_INITS = (True, False, "gaussian", "orthogonal")  # they leave the model's own weights unchanged


def add_lora(
    model: PreTrainedModel,
    *,
    rank: int = 16,
    alpha: int | None = None,
    dropout: float = 0.0,
    targets: str | Sequence[str] = ALL,
    **options: Any,
) -> PeftModel:
    """Wrap linear layers of the language model with LoRA; the vision tower and the embeddings stay unchanged.

    Args:
        alpha: twice the rank by default.
        targets: linear layers of the language model by the ends of their names, such as "q_proj", or one regular
            expression for whole names; all linear layers by default.
        options: further fields of `peft.LoraConfig`, such as use_rslora and modules_to_save.

    Raises InputError for an option that changes the weights of the base model; for a target that is not a linear layer
    of the language model; and for a module in `modules_to_save` that does not exist or is part of the vision tower,
    whose features are computed only once.
    """
    if options.get("init_lora_weights", True) not in PLAIN_INITS or options.get("trainable_token_indices"):
        raise InputError(
            "LoRA: init_lora_weights and trainable_token_indices that change the model's own weights are not "
            "supported: an adapter is saved alone, without them"
        )
    linear = _names(model, torch.nn.Linear, without="lm_head")
    chosen = [name for name in linear if _is_one_of(name, targets)]
    missing = [] if targets == ALL else [t for t in listed(targets) if not any(_is_one_of(n, t) for n in linear)]
    saved, outside = listed(options.get("modules_to_save") or []), set(_names(model))
    missing += [t for t in saved if not any(_is_one_of(n, t) for n in outside)]
    if missing:
        raise InputError(f"LoRA: the language model has no {', '.join(missing)}; it has {', '.join(_endings(linear))}")
    shared = [t for t in saved if any(_is_one_of(n, t) and n not in outside for n, _ in model.named_modules())]
    if shared:
        raise InputError(f"LoRA: {', '.join(shared)} is also part of the frozen vision tower; write a longer name")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        lora_dropout=dropout,
        target_modules=chosen,
        task_type="CAUSAL_LM",
        **options,
    )
    return get_peft_model(model, config)


def _names(model: PreTrainedModel, kind: type = torch.nn.Module, without: str | None = None) -> list[str]:
    """The names of a model's modules outside the vision tower."""
    vision = {id(module) for part in vision_modules(model) for module in part.modules()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kind) and id(module) not in vision and not (without and without in name)
    ]


def listed(targets: str | Sequence[str]) -> list[str]:
    """One name, or several, as a list."""
    return [targets] if isinstance(targets, str) else list(targets)


def _is_one_of(name: str, targets: str | Sequence[str]) -> bool:
    """Whether targets match a module's name, by peft's rules: a list holds ends of names, a string may be a regex."""
    if targets == ALL:
        return True
    ends = any(name == target or name.endswith(f".{target}") for target in listed(targets))
    return ends or (isinstance(targets, str) and re.fullmatch(targets, name) is not None)


def _endings(names: Sequence[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def check_same_adapter(config: LoraConfig, folder: str, wanted: Mapping[str, Any]) -> None:
    """Raises InputError if the wanted fields of an adapter, by peft's names, differ from the adapter in `folder`."""
    changed = [name for name, value in wanted.items() if not _is_same(name, getattr(config, name), value)]
    if changed:
        has = ", ".join(f"{name} {getattr(config, name)!r}"[:80] for name in changed)
        asked = ", ".join(f"{name} {wanted[name]!r}" for name in changed)
        raise InputError(
            f"{folder}: this adapter has {has}, and {asked} was asked for; leave these fields out to continue it, or "
            "merge it into its model first (peft: merge_and_unload) and train a new one from there"
        )


def _is_same(name: str, has: Any, wanted: Any) -> bool:
    """Whether a field has the wanted value. Targets are whole names, or ends of names where peft has shortened them."""
    if name == "target_modules":
        ends = wanted == ALL or all(any(_is_one_of(n, [target]) for n in has) for target in listed(wanted))
        return ends and all(_is_one_of(n, wanted) for n in has)
    if isinstance(has, list | set | tuple):
        return sorted(has) == sorted(listed(wanted))
    return has == wanted


# -- the weights below an adapter --------------------------------------------------------------------------------------

_ADAPTER = re.compile(r"\.(?:lora_\w+|modules_to_save)\.")
_WRAPPED = re.compile(r"\.(?:base_layer|original_module)(?=\.)")


INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def own_weights(model: PreTrainedModel | PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """A model's weights, under the names that they have without an adapter."""
    for name, tensor in without_lora(model).state_dict().items():
        if not _ADAPTER.search(name):
            yield _WRAPPED.sub("", name), tensor


def fingerprint(model: PreTrainedModel | PeftModel, *, adapters: bool = False) -> str:
    """A hash of the model's own weights, and with `adapters` of an adapter's, too.

    It covers about 64 values of each tensor and the sum of its bit patterns: integer sums do not depend on the order in
    which a device adds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items() if adapters else own_weights(model)):
        values = tensor.detach().contiguous().flatten()
        bits = values.view(INTEGERS[values.element_size()]).sum(dtype=torch.int64)
        digest.update(f"{name} {int(bits)}".encode())
        digest.update(values[:: max(1, len(values) // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()
