"""Undocumented names of transformers. "Instead" in a comment or docstring says what to use if a name moves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin, Trainer, TrainerCallback, trainer

# The base of `SharedPrefixLayer`. Instead: the cache layer that `DynamicCache` is made of.
from transformers.cache_utils import DynamicLayer as DynamicLayer

# A field of a dataclass with its help text. Instead: dataclasses.field(metadata={"help": …}).
from transformers.hf_argparser import HfArg as HfArg
from transformers.integrations import INTEGRATION_TO_CALLBACK, deepspeed, get_available_reporting_integrations

# The fallback of attention over shared prefixes. Instead: the functions that are registered as "sdpa".
from transformers.integrations.sdpa_attention import sdpa_attention_forward as sdpa_attention_forward
from transformers.masking_utils import sdpa_mask as sdpa_mask

# Passes precomputed features to `forward`. Instead: any ModelOutput with `pooler_output` and `deepstack_features`.
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    BaseModelOutputWithDeepstackFeatures as BaseModelOutputWithDeepstackFeatures,
)
from transformers.utils import logging

# Describes frames that are already sampled. Instead: the processor's own metadata class.
from transformers.video_utils import VideoMetadata as VideoMetadata

from rarft.system.upstream import check_upstream


def attention_of(config: PreTrainedConfig) -> str:
    """The name of the attention function that a model of this configuration uses.

    Instead: the property that `set_attn_implementation` writes."""
    return config._attn_implementation


def no_loss_tables() -> None:
    """Stop trainers that are built later from drawing a table of losses in notebooks. The losses stay in their log.

    Instead: what draws the table."""
    trainer.DEFAULT_PROGRESS_CALLBACK = TrainerCallback


def loggers() -> tuple[set[str], set[str]]:
    """The names that `report_to` accepts, and those whose package is installed.

    Instead: the tables in which the Trainer looks names up."""
    return set(INTEGRATION_TO_CALLBACK), set(get_available_reporting_integrations())


@contextmanager
def whole_weights() -> Iterator[None]:
    """Load whole weights under DeepSpeed ZeRO-3, which is on as soon as a training configuration is read.

    transformers would load only a shard into each process. The vision tower and the rewards' sentence encoder could
    then not run before the trainer takes over the model. Instead: what `is_deepspeed_zero3_enabled` reads.
    """
    sharing = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = sharing


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Load a small model without a progress bar, which would only flash up."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def cache_argument(model: PreTrainedModel) -> str:
    """The name of the key-value cache argument of `forward` and `generate`: "cache" from transformers 5.24 on."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def load_without_training(trainer: Trainer, checkpoint: Path) -> None:
    """Load a checkpoint's weights into a trainer's model or adapter. Instead: what `train` calls when it resumes."""
    trainer._load_from_checkpoint(str(checkpoint))


def check_trainer() -> None:
    """Check what `VideoSFTTrainer` overrides and what resuming calls. Raises UpstreamChangedError.

    Instead of `_get_train_sampler`: what makes the training sampler."""
    overridden = {"_get_train_sampler": ("train_dataset",), "compute_loss": ("model", "inputs", "num_items_in_batch")}
    check_upstream("transformers", Trainer, overridden, "rarft.training.sft.VideoSFTTrainer")
    called = {"_load_from_checkpoint": ("resume_from_checkpoint",)}
    check_upstream("transformers", Trainer, called, "rarft.training.checkpoints.resume_training")


def check_video_model(model: PreTrainedModel, processor: ProcessorMixin, *, mrope: bool) -> None:
    """Check that a video model supports precomputed features. Raises UpstreamChangedError.

    Instead: the argument of `forward` for features, what the processor expands a video token with, and what `forward`
    computes positions with. With `mrope`, positions depend on the videos; generation computes them as `forward` does.
    """
    package, inner, override = "transformers", type(model.model), "rarft.models.families"
    check_upstream(package, type(model), {"forward": ("mm_encoder_outputs",)}, "rarft.models.features.video_inputs")
    check_upstream(package, inner, {"get_video_features": ()}, override)
    check_upstream(package, type(processor), {"replace_video_token": ("video_idx",)}, override)
    if mrope:
        names = ("input_ids", "mm_token_type_ids", "video_grid_thw", "attention_mask")
        override = "rarft.models.decoding.generation.prompt_positions"
        check_upstream(package, inner, {"get_rope_index": names}, override)
