"""Which fields a recipe may set. Each is used, or is an error here that names it, before a model is loaded.

Most fields of `trl.GRPOConfig` go to TRL and transformers as they are. Those that would have no effect
are in `REFUSED`: `VideoGRPOTrainer` does that part itself, or a recipe does not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from peft import LoraConfig
from transformers import GenerationConfig, Trainer, get_scheduler
from trl import GRPOConfig, ModelConfig

from rarft.models.lora import check_same_adapter
from rarft.schema import is_finite_number
from rarft.system.errors import InputError
from rarft.system.upstream.of_transformers import loggers

_VLLM = "completions are sampled in the trainer, which reads each prompt's video once; vLLM is not used"
_EVALUATION = "a recipe only trains; measure the result with `rarft evaluate`"
_QUANTIZED = "weights are not quantised here; save memory with LoRA, bfloat16 and gradient_checkpointing"
_LOADING = "use dtype, attn_implementation and model_revision instead"
_ROWS = "an epoch asks each video's relevant query and one irrelevant one; rarft.training.epochs draws the order"
_LAUNCH = "start the recipe with accelerate launch --config_file recipes/accelerate/fsdp.yaml"
_REFERENCE = "a resumed run would lose the changed reference; KL is measured against the starting model"

REFUSED: dict[str, str] = {
    # ModelConfig
    "lora_target_parameters": "the models here have no parameters outside of modules; use lora_target_modules",
    "lora_task_type": "a recipe trains a causal language model",
    "load_in_8bit": _QUANTIZED,
    "load_in_4bit": _QUANTIZED,
    "bnb_4bit_quant_type": _QUANTIZED,
    "use_bnb_nested_quant": _QUANTIZED,
    "bnb_4bit_quant_storage": _QUANTIZED,
    # GRPOConfig: how completions are sampled
    "use_transformers_continuous_batching": _VLLM,
    "transformers_continuous_batching_config": _VLLM,
    "use_transformers_paged": _VLLM,
    "cache_implementation": "the answers to a prompt share one cache of a special kind",
    "chat_template_kwargs": "prompt_style writes the prompts, the same in training and in inference",
    "max_tool_calling_iterations": "the task has no tools",
    "num_generations_eval": _EVALUATION,
    # evaluation during training
    "eval_strategy": _EVALUATION,
    "eval_steps": _EVALUATION,
    "eval_delay": _EVALUATION,
    "eval_on_start": _EVALUATION,
    "eval_do_concat_batches": _EVALUATION,
    "eval_use_gather_object": _EVALUATION,
    "eval_accumulation_steps": _EVALUATION,
    "per_device_eval_batch_size": _EVALUATION,
    "prediction_loss_only": _EVALUATION,
    "include_for_metrics": _EVALUATION,
    "batch_eval_metrics": _EVALUATION,
    "load_best_model_at_end": _EVALUATION,
    "metric_for_best_model": _EVALUATION,
    "greater_is_better": _EVALUATION,
    "bf16_full_eval": _EVALUATION,
    "fp16_full_eval": _EVALUATION,
    "label_names": _EVALUATION,
    "do_train": "`rarft train` trains",
    "do_eval": _EVALUATION,
    "do_predict": _EVALUATION,
    # which rows are asked
    "dataloader_drop_last": _ROWS,
    "train_sampling_strategy": _ROWS,
    "length_column_name": _ROWS,
    "remove_unused_columns": "the rewards read the columns",
    "ignore_data_skip": "a resumed run would ask the rows of the epoch's beginning again",
    "resume_from_checkpoint": "use `rarft train … --resume` instead",
    # what the loss and the model do
    "label_smoothing_factor": "GRPO's loss has no labels",
    "average_tokens_across_devices": "TRL's loss counts the tokens of all processes itself",
    "include_num_input_tokens_seen": "the log has num_tokens",
    "model_init_kwargs": _LOADING,
    "trust_remote_code": "no code of a model repository is run",
    "router_aux_loss_coef": "the models here are not mixtures of experts",
    "use_cache": "a training pass keeps no cache",
    "use_liger_kernel": "the log-probabilities are computed by TRL's fused head",
    "liger_kernel_config": "the log-probabilities are computed by TRL's fused head",
    "torch_compile": "completions that share a prompt change the shapes of every step",
    "torch_compile_backend": "completions that share a prompt change the shapes of every step",
    "torch_compile_mode": "completions that share a prompt change the shapes of every step",
    "sync_ref_model": _REFERENCE,
    "ref_model_mixup_alpha": _REFERENCE,
    "ref_model_sync_steps": _REFERENCE,
    "log_multimodal": "the trainer logs texts only",
    "cast_lm_head_to_fp32": "TRL looks for the embeddings in another place than these models have them",
    "optim_target_modules": "GaLore, APOLLO and LOMO are not supported",
    "fsdp": _LAUNCH,
    "fsdp_config": _LAUNCH,
    "parallelism_config": _LAUNCH,
    "dataloader_multiprocessing_context": "rows are made by a function, which only a forked worker has",
}


def refusal_of(name: str) -> str | None:
    """Why a recipe must not set a field; None if it may."""
    return _VLLM if name.startswith(("vllm_", "use_vllm")) else REFUSED.get(name)


_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
CHOICES: dict[str, tuple[str, ...]] = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "log_level": _LEVELS,
    "log_level_replica": _LEVELS,
}
# Bounds, both included. Other values would fail at the first step, or have no effect.
_TINY, _MOST = 1e-6, 2.0**31
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (_TINY, _MOST),
    "top_p": (_TINY, 1),
    "top_k": (0, _MOST),
    "min_p": (0, 1),
    "repetition_penalty": (_TINY, _MOST),
    "max_completion_length": (1, _MOST),
    "top_entropy_quantile": (_TINY, 1),
    "beta": (0, _MOST),
    "epsilon": (0, _MOST),
    "epsilon_high": (0, _MOST),
    "delta": (_TINY, _MOST),
    "num_iterations": (1, _MOST),
    "steps_per_generation": (1, _MOST),
    "gradient_accumulation_steps": (1, _MOST),
    "per_device_train_batch_size": (1, _MOST),
    "num_generations": (2, _MOST),
    "generation_batch_size": (1, _MOST),
    "num_train_epochs": (_TINY, 10_000),
    "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1),
    "adam_beta1": (0, 1),
    "adam_beta2": (0, 1),
    "adam_epsilon": (0, _MOST),
    "weight_decay": (0, _MOST),
    "warmup_steps": (0, _MOST),
    "neftune_noise_alpha": (0, _MOST),
    "dataloader_num_workers": (0, 1000),
    "sapo_temperature_neg": (_TINY, _MOST),
    "sapo_temperature_pos": (_TINY, _MOST),
    "learning_rate": (0, _MOST),
    "max_grad_norm": (0, _MOST),
    "logging_steps": (_TINY, _MOST),
    "save_steps": (_TINY, _MOST),
    "save_total_limit": (1, _MOST),
    "lora_r": (1, _MOST),
    "lora_alpha": (_TINY, _MOST),
    "lora_dropout": (0, 1),
}


def check_fields(given: Collection[str], rewards: int, model_config: ModelConfig, config: GRPOConfig) -> None:
    """Raises InputError, which names the field, for one that would have no effect and for one that cannot work.

    given: the names that the recipe and the command line set. rewards: how many there are.
    """
    for settings in (model_config, config):
        for field in fields(settings):
            default = field.default_factory() if callable(field.default_factory) else field.default
            reason = refusal_of(field.name)
            if reason and field.name in given and getattr(settings, field.name) != default:
                raise InputError(f"{field.name}: {reason}")
    _check_values({**vars(model_config), **vars(config)})
    if config.max_steps != -1 and not 0 < config.max_steps <= _MOST:
        raise InputError(f"max_steps is {config.max_steps}; give the number of steps, or leave it to num_train_epochs")
    if config.save_strategy == "best":
        raise InputError(f"save_strategy: {_EVALUATION}")
    if config.reward_weights is not None and len(config.reward_weights) != rewards:
        raise InputError(f"reward_weights has {len(config.reward_weights)} numbers for {rewards} rewards")
    own = sorted(OWN_SAMPLING.intersection(config.generation_kwargs or {}))
    if own:
        raise InputError(f"generation_kwargs: {', '.join(own)} cannot be changed here; use the fields of a recipe")
    unknown = set(config.generation_kwargs or {}) - set(vars(GenerationConfig()))
    if unknown:
        raise InputError(f"generation_kwargs: transformers' GenerationConfig has no {', '.join(sorted(unknown))}")
    _check_optimizer(config)
    _check_loggers(config)
    _check_adapter(given, model_config)


def check_yaml(values: Mapping[str, Any], classes: Collection[type]) -> None:
    """Check the fields of a recipe's file before the parser sees them: it converts texts only, while YAML has types of
    its own. Raises InputError, which names the field."""
    hints = {name: hint for kind in classes for name, hint in get_type_hints(kind).items()}
    for name, value in values.items():
        if name not in hints:
            continue  # the parser names it
        kinds = _kinds(hints[name])
        if isinstance(value, str) or type(value) in kinds or (float in kinds and type(value) is int):
            continue
        names = " or ".join(sorted(kind.__name__ for kind in kinds - {NoneType}))
        quoted = "; YAML reads no, off, yes and on as truth values: put them in quotes" if type(value) is bool else ""
        raise InputError(f"{name} is {value!r}; {names} was expected{quoted}")
    _check_values({name: value for name, value in values.items() if not isinstance(value, str)})


def _kinds(hint: Any) -> set[type]:
    """The types that a type hint allows, without what lists and dictionaries hold."""
    if get_origin(hint) in (list, dict):
        return {get_origin(hint)}
    if get_origin(hint) is Literal:
        return {type(choice) for choice in get_args(hint)}
    return set().union(*map(_kinds, get_args(hint))) if get_args(hint) else {hint}


def _check_values(values: Mapping[str, Any]) -> None:
    for name, choices in CHOICES.items():
        if values.get(name, choices[0]) not in choices:
            raise InputError(f"{name} is {values[name]!r}; choose one of {', '.join(choices)}")
    for name, value in values.items():
        if name.endswith("_kwargs") and not isinstance(value, dict | None):
            raise InputError(f"{name} is {value!r}; names with values were expected")
        if name == "reward_weights" and not all(map(is_finite_number, value or [])):
            raise InputError(f"{name} is {value}; a finite number for each reward was expected")
        if type(value) in (int, float):
            least, most = RANGES.get(name, (-_MOST, _MOST))
            if not least <= value <= most:
                bounds = f"from {least:g} to {most:g}" if most < _MOST else f"of at least {least:g}"
                raise InputError(f"{name} is {value}; a number {bounds} was expected")


def _check_optimizer(config: GRPOConfig) -> None:
    """Make the optimizer and its schedule once for a dummy weight. A missing package or a wrong argument is an error
    here, before a model is loaded."""
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(config)
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **options)
        special = {"scheduler_specific_kwargs": config.lr_scheduler_kwargs} if config.lr_scheduler_kwargs else {}
        get_scheduler(config.lr_scheduler_type, optimizer, num_warmup_steps=1, num_training_steps=2, **special)
    except (ImportError, ValueError, TypeError, RuntimeError) as error:
        asked = f"optim {_text(config.optim)}, lr_scheduler_type {_text(config.lr_scheduler_type)}"
        raise InputError(f"{asked}: {error}") from error


def _text(choice: Any) -> str:
    return getattr(choice, "value", choice)


def _check_loggers(config: GRPOConfig) -> None:
    known, installed = loggers()
    for name in config.report_to:
        if name not in known:
            raise InputError(f"report_to: {name!r} is not known; choose from {', '.join(sorted(known))}, or none")
        if name not in installed:
            raise InputError(f"report_to: {name} is not installed; `pip install {name}`, or name another logger")


# Of transformers' GenerationConfig: what fields of a recipe say, and what the sampling loop of a group fixes.
OWN_SAMPLING = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens", "max_length"}
OWN_SAMPLING |= {"do_sample", "num_beams", "num_return_sequences", "cache_implementation"}

LORA = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "lora_modules_to_save": "modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}  # what peft calls these fields


def _check_adapter(given: Collection[str], config: ModelConfig) -> None:
    """LoRA fields need a new adapter, or have to be those of the adapter that training continues."""
    folder = Path(config.model_name_or_path or "")
    chosen = {name: getattr(config, name) for name in LORA if name in given}
    if chosen and not config.use_peft:
        raise InputError(f"{', '.join(chosen)}: without use_peft: true no adapter is made; set it, or leave these out")
    if config.use_peft and (folder / "adapter_config.json").exists():
        wanted = {LORA[name]: value for name, value in chosen.items()}
        check_same_adapter(LoraConfig.from_pretrained(str(folder)), str(folder), wanted)
