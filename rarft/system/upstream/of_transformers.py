"""Names of transformers outside its documented interface: what each is for, and what to do when it moves.

- `BaseModelOutputWithDeepstackFeatures` passes precomputed vision features to `forward`. Instead: any ModelOutput with
  `pooler_output` and `deepstack_features`.
- `VideoMetadata` says that frames are sampled already. Instead: the processor's own metadata class.
- `DynamicLayer` is the base of `SharedPrefixLayer`. Instead: the cache layer that `DynamicCache` is made of.
- `sdpa_attention_forward` and `sdpa_mask` are what attention over shared prefixes falls back to. Instead: the functions
  that are registered as "sdpa".
- `_attn_implementation` names the attention of a model. Instead: the property that `set_attn_implementation` writes.
- `INTEGRATION_TO_CALLBACK` and `get_available_reporting_integrations` say which loggers `report_to` may name. Instead:
  what the Trainer looks its names up in.
- `_hf_deepspeed_config_weak_ref` has weights loaded whole under ZeRO-3. Instead: what `is_deepspeed_zero3_enabled`
  reads.
- `trainer.DEFAULT_PROGRESS_CALLBACK` draws a table of losses under a notebook's cell. Instead: what draws it.
- `Trainer._get_train_sampler` makes batches of like length in `training.sft`. Instead: what makes the training sampler.
- `Trainer._load_from_checkpoint` loads the weights of a run that is at its end. Instead: what `train` calls when it
  resumes.
- `get_rope_index`, `mm_encoder_outputs` and `replace_video_token`: positions, features and placeholders of videos, in
  `models.generation`, `models.features` and `models.families`. Instead: what `forward` computes positions with, its
  argument for features, and what the processor expands a video token with.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin, Trainer, TrainerCallback, trainer
from transformers.cache_utils import DynamicLayer
from transformers.integrations import INTEGRATION_TO_CALLBACK, deepspeed, get_available_reporting_integrations
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.utils import logging
from transformers.video_utils import VideoMetadata

from rarft.system.upstream.contract import Method, check

__all__ = [
    "BaseModelOutputWithDeepstackFeatures",
    "DynamicLayer",
    "VideoMetadata",
    "attention_of",
    "cache_argument",
    "check_trainer",
    "check_video_model",
    "load_without_training",
    "loggers",
    "no_loading_bar",
    "no_loss_tables",
    "sdpa_attention_forward",
    "sdpa_mask",
    "whole_weights",
]


def attention_of(config: PreTrainedConfig) -> str:
    """The name of the attention function that a model of this configuration uses."""
    return config._attn_implementation


def no_loss_tables() -> None:
    """Trainers that are made from now on draw no table of losses; their log has them all the same."""
    trainer.DEFAULT_PROGRESS_CALLBACK = TrainerCallback


def loggers() -> tuple[set[str], set[str]]:
    """The names that `report_to` takes, and those of them whose package is installed."""
    return set(INTEGRATION_TO_CALLBACK), set(get_available_reporting_integrations())


@contextmanager
def whole_weights() -> Iterator[None]:
    """Load weights whole where DeepSpeed ZeRO-3 is on, which it is as soon as a training configuration is read.

    transformers would give each process its share only, which nothing can compute with before the trainer has taken the
    model over: neither the vision tower, which encodes the videos first, nor the rewards' sentence encoder.
    """
    sharing = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = sharing


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Load a small model without a progress bar, which would be gone before it could be read."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def cache_argument(model: PreTrainedModel) -> str:
    """What `forward` and `generate` of a model call their key-value cache: "cache" from transformers 5.24 on."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def load_without_training(trainer: Trainer, checkpoint: Path) -> None:
    """The weights of a checkpoint into a trainer's model, or its adapter."""
    trainer._load_from_checkpoint(str(checkpoint))


def check_trainer() -> None:
    """Check what `rarft.training.sft.VideoSFTTrainer` overrides. Raises UpstreamChangedError."""
    override, resuming = "rarft.training.sft.VideoSFTTrainer", "rarft.training.checkpoints.resume_training"
    check(
        [
            Method("transformers", Trainer, "_get_train_sampler", ("train_dataset",), override),
            Method(
                "transformers",
                Trainer,
                "_load_from_checkpoint",
                ("resume_from_checkpoint",),
                resuming,
            ),
            Method("transformers", Trainer, "compute_loss", ("model", "inputs", "num_items_in_batch"), override),
        ]
    )


def check_video_model(model: PreTrainedModel, processor: ProcessorMixin, *, mrope: bool) -> None:
    """Check what a video model has to offer for precomputed features. Raises UpstreamChangedError.

    mrope: its positions depend on the videos, and generation has to compute them as `forward` does.
    """
    methods = [
        Method("transformers", type(model), "forward", ("mm_encoder_outputs",), "rarft.models.features.video_inputs"),
        Method("transformers", type(model.model), "get_video_features", (), "rarft.models.families"),
        Method("transformers", type(processor), "replace_video_token", ("video_idx",), "rarft.models.families"),
    ]
    if mrope:
        names = ("input_ids", "mm_token_type_ids", "video_grid_thw", "attention_mask")
        override = "rarft.models.decoding.generation.prompt_positions"
        methods.append(Method("transformers", type(model.model), "get_rope_index", names, override))
    check(methods)
