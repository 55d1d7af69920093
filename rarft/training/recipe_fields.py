"""The fields that a recipe may set. A field that cannot be used is an error with its name, before a model is loaded.

Most fields of `trl.GRPOConfig` go to TRL and transformers unchanged. `REFUSED` has those that would have no effect,
because `VideoGRPOTrainer` does that part itself or a recipe does not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import torch
from peft import LoraConfig
from transformers import GenerationConfig, Trainer, get_scheduler
from trl import GRPOConfig, ModelConfig

from rarft.models.lora import check_same_adapter
from rarft.schema import is_finite_number
from rarft.system.errors import InputError
from rarft.system.upstream.of_transformers import loggers

if TYPE_CHECKING:
    from rarft.training.recipe import RunArguments

_VLLM = "completions are sampled in the trainer, which reads each prompt's video once; vLLM is not used"
_EVALUATION = "a recipe only trains; measure the result with `rarft evaluate`"


def _by_field(groups: Mapping[Any, str]) -> dict[str, Any]:
    """Invert a mapping from keys to space-separated names: name → key."""
    return {name: key for key, names in groups.items() for name in names.split()}


REFUSED: dict[str, str] = _by_field(
    {
        _VLLM: """use_transformers_continuous_batching transformers_continuous_batching_config
            use_transformers_paged""",
        _EVALUATION: """num_generations_eval eval_strategy eval_steps eval_delay eval_on_start eval_do_concat_batches
            eval_use_gather_object eval_accumulation_steps per_device_eval_batch_size prediction_loss_only
            include_for_metrics batch_eval_metrics load_best_model_at_end metric_for_best_model greater_is_better
            bf16_full_eval fp16_full_eval label_names do_eval do_predict""",
        "weights are not quantised here; save memory with LoRA, bfloat16 and gradient_checkpointing": """
            load_in_8bit load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage""",
        "an epoch asks each video's relevant query and one irrelevant one; rarft.training.epochs draws the order": """
            dataloader_drop_last train_sampling_strategy length_column_name""",
        "completions that share a prompt change the shapes of every step": """
            torch_compile torch_compile_backend torch_compile_mode""",
        "a resumed run would lose the changed reference; KL is measured against the starting model": """
            sync_ref_model ref_model_mixup_alpha ref_model_sync_steps""",
        "start the recipe with accelerate launch --config_file recipes/accelerate/fsdp.yaml": """
            fsdp fsdp_config parallelism_config""",
        "the log-probabilities are computed by TRL's fused head": "use_liger_kernel liger_kernel_config",
        "use dtype, attn_implementation and model_revision instead": "model_init_kwargs",
        "the models here have no parameters outside of modules; use lora_target_modules": "lora_target_parameters",
        "a recipe trains a causal language model": "lora_task_type",
        "the answers to a prompt share one cache of a special kind": "cache_implementation",
        "prompt_style writes the prompts, the same in training and in inference": "chat_template_kwargs",
        "the task has no tools": "max_tool_calling_iterations",
        "`rarft train` trains": "do_train",
        "the rewards read the columns": "remove_unused_columns",
        "a resumed run would repeat the rows at the beginning of the epoch": "ignore_data_skip",
        "use `rarft train … --resume` instead": "resume_from_checkpoint",
        "GRPO's loss has no labels": "label_smoothing_factor",
        "TRL's loss counts the tokens of all processes itself": "average_tokens_across_devices",
        "the log already has num_tokens": "include_num_input_tokens_seen",
        "no code of a model repository is run": "trust_remote_code",
        "the models here are not mixtures of experts": "router_aux_loss_coef",
        "a training pass keeps no cache": "use_cache",
        "the trainer logs texts only": "log_multimodal",
        "TRL does not find the embeddings of these models": "cast_lm_head_to_fp32",
        "GaLore, APOLLO and LOMO are not supported": "optim_target_modules",
        "rows are made by a function, which only forked workers inherit": "dataloader_multiprocessing_context",
    }
)

# TRL and transformers check these values only where they use them, some not before the first step.
_LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
CHOICES: dict[str, tuple[str, ...]] = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "log_level": _LOG_LEVELS,
    "log_level_replica": _LOG_LEVELS,
}

# Bounds, both included. Other values would fail at the first step, or have no effect.
_TINY, _MOST = 1e-6, 2.0**31
RANGES: dict[str, tuple[float, float]] = _by_field(
    {
        (0, _MOST): """top_k beta epsilon epsilon_high adam_epsilon weight_decay warmup_steps neftune_noise_alpha
            learning_rate max_grad_norm""",
        (_TINY, _MOST): """temperature repetition_penalty delta sapo_temperature_neg sapo_temperature_pos logging_steps
            save_steps lora_alpha decode_seconds fps""",
        (1, _MOST): """max_completion_length num_iterations steps_per_generation gradient_accumulation_steps
            per_device_train_batch_size generation_batch_size save_total_limit lora_r limit features_in_memory
            encode_together max_pixels""",
        (2, _MOST): "num_generations",
        (0, 1): "min_p adam_beta1 adam_beta2 lora_dropout",
        (_TINY, 1): "top_p top_entropy_quantile",
        (_TINY, 10_000): "num_train_epochs",
        (0, 2**32 - 1): "seed data_seed",
        (0, 1000): "dataloader_num_workers",
    }
)

# Fields of transformers' GenerationConfig that a recipe sets by its own fields, or that the sampling loop fixes.
OWN_SAMPLING = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens", "max_length"}
OWN_SAMPLING |= {"do_sample", "num_beams", "num_return_sequences", "cache_implementation"}

# Fields of a recipe → the names in peft.
LORA = {"lora_r": "r", "lora_target_modules": "target_modules", "lora_modules_to_save": "modules_to_save"}
LORA |= {name: name for name in ("lora_alpha", "lora_dropout", "use_rslora", "use_dora")}


def refusal_of(name: str) -> str | None:
    """Why a recipe must not set a field; None if it may."""
    return _VLLM if name.startswith(("vllm_", "use_vllm")) else REFUSED.get(name)


def check_fields(given: Collection[str], run: RunArguments, model_config: ModelConfig, config: GRPOConfig) -> None:
    """Raises InputError, which names the field, for a field that would have no effect or cannot work.

    `given`: the names that the recipe and the command line set.
    """
    for settings in (model_config, config):
        for field in fields(settings):
            default = field.default_factory() if callable(field.default_factory) else field.default
            reason = refusal_of(field.name)
            if reason and field.name in given and getattr(settings, field.name) != default:
                raise InputError(f"{field.name}: {reason}")
    check_values({**vars(run), **vars(model_config), **vars(config)})
    if config.max_steps != -1 and not 0 < config.max_steps <= _MOST:
        raise InputError(f"max_steps is {config.max_steps}; set a number of steps, or num_train_epochs instead")
    if config.save_strategy == "best":
        raise InputError(f"save_strategy: {_EVALUATION}")
    if config.reward_weights is not None and len(config.reward_weights) != len(run.rewards):
        raise InputError(f"reward_weights has {len(config.reward_weights)} numbers for {len(run.rewards)} rewards")
    _check_generation(set(config.generation_kwargs or {}))
    _check_optimizer(config)
    _check_loggers(config)
    _check_adapter(given, model_config)


def check_types(values: Mapping[str, Any], classes: Collection[type]) -> None:
    """Check the types of the fields in a recipe's file, because the parser checks only strings, while YAML has other
    types. Raises InputError, which names the field."""
    hints = {name: hint for kind in classes for name, hint in get_type_hints(kind).items()}
    for name, value in values.items():
        kinds = _kinds(hints.get(name, Any))  # the parser names an unknown field
        if Any in kinds or isinstance(value, str) or type(value) in kinds or (float in kinds and type(value) is int):
            continue
        names = " or ".join(sorted(kind.__name__ for kind in kinds - {NoneType}))
        quoted = "; YAML reads no, off, yes and on as truth values: put them in quotes" if type(value) is bool else ""
        raise InputError(f"{name} is {value!r}; {names} was expected{quoted}")
    check_values({name: value for name, value in values.items() if not isinstance(value, str)})


def _kinds(hint: Any) -> set[Any]:
    """The types that a type hint allows, without the element types of lists and dictionaries."""
    if get_origin(hint) in (list, dict):
        return {get_origin(hint)}
    if get_origin(hint) is Literal:
        return {type(choice) for choice in get_args(hint)}
    return set().union(*map(_kinds, get_args(hint))) if get_args(hint) else {hint}


def check_values(values: Mapping[str, Any]) -> None:
    """Raises InputError for a value of a field that is outside of `CHOICES` or `RANGES`, or not a finite number."""
    for name, value in values.items():
        if value not in CHOICES.get(name, (value,)):
            raise InputError(f"{name} is {value!r}; choose one of {', '.join(CHOICES[name])}")
        if name.endswith("_kwargs") and not isinstance(value, dict | None):
            raise InputError(f"{name} is {value!r}; a mapping of names to values was expected")
        if name == "reward_weights" and not all(map(is_finite_number, value or [])):
            raise InputError(f"{name} is {value}; a finite number for each reward was expected")
        least, most = RANGES.get(name, (-_MOST, _MOST))
        if type(value) in (int, float) and not least <= value <= most:
            bounds = f"from {least:g} to {most:g}" if most < _MOST else f"of at least {least:g}"
            raise InputError(f"{name} is {value}; a number {bounds} was expected")


def _check_generation(names: set[str]) -> None:
    own = sorted(OWN_SAMPLING & names)
    if own:
        raise InputError(f"generation_kwargs: {', '.join(own)} cannot be changed here; use the fields of a recipe")
    unknown = sorted(names - set(vars(GenerationConfig())))
    if unknown:
        raise InputError(f"generation_kwargs: transformers' GenerationConfig has no {', '.join(unknown)}")


def _check_optimizer(config: GRPOConfig) -> None:
    """Build the optimizer and its schedule for a dummy weight, so that a missing package or a wrong argument is an
    error before a model is loaded."""
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(config)
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **options)
        special = {"scheduler_specific_kwargs": config.lr_scheduler_kwargs} if config.lr_scheduler_kwargs else {}
        get_scheduler(config.lr_scheduler_type, optimizer, num_warmup_steps=1, num_training_steps=2, **special)
    except (ImportError, ValueError, TypeError, RuntimeError) as error:
        optim, schedule = (getattr(name, "value", name) for name in (config.optim, config.lr_scheduler_type))
        raise InputError(f"optim {optim}, lr_scheduler_type {schedule}: {error}") from error


def _check_loggers(config: GRPOConfig) -> None:
    known, installed = loggers()
    for name in config.report_to:
        if name not in known:
            raise InputError(f"report_to: {name!r} is not known; choose from {', '.join(sorted(known))}, or none")
        if name not in installed:
            raise InputError(f"report_to: {name} is not installed; `pip install {name}`, or name another logger")


def _check_adapter(given: Collection[str], config: ModelConfig) -> None:
    """Raises InputError for LoRA fields without use_peft, or unlike the adapter that training continues."""
    folder = Path(config.model_name_or_path or "")
    chosen = {name: getattr(config, name) for name in LORA if name in given}
    if chosen and not config.use_peft:
        raise InputError(f"{', '.join(chosen)}: without use_peft: true there is no adapter; set it, or omit these")
    if config.use_peft and (folder / "adapter_config.json").exists():
        wanted = {LORA[name]: value for name, value in chosen.items()}
        check_same_adapter(LoraConfig.from_pretrained(str(folder)), str(folder), wanted)
