"""Undocumented names of TRL. "Instead" in a comment or docstring says what to use if a name moves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from trl import GRPOTrainer

# Gathers weights that ZeRO-3 or FSDP shards. Instead: what `_generate_single_turn` enters.
from trl.models import unwrap_model_for_generation as unwrap_model_for_generation
from trl.trainer import grpo_trainer

# What the training pass returns after unpacking. Instead: the output of `model(..., fused_lm_head=True)`.
from trl.trainer.utils import FusedCausalLMOutput as FusedCausalLMOutput

# The head that computes log-probabilities and entropies. Instead: what `__init__` adds to the model.
from trl.trainer.utils import add_fused_lm_head as add_fused_lm_head

# Splits a generation batch into its steps. Instead: what `_prepare_inputs` splits with.
from trl.trainer.utils import split_tensor_dict as split_tensor_dict

from rarft.system.upstream import check_upstream

TRAINER = "rarft.training.grpo.VideoGRPOTrainer"
# Methods that the trainer overrides or calls, with the parameters that it uses, and attributes that it reads.
OVERRIDDEN = {
    "_tokenize_prompts": ("prompts",),
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"),
    "_get_train_sampler": ("dataset",),
    "_prepare_inputs": ("generation_batch",),
    "_generate_and_score_completions": ("inputs",),
    "_compute_loss": ("model", "inputs"),
    "_save": ("output_dir", "state_dict"),
    "evaluate": ("eval_dataset",),
    "_get_per_token_logps_and_entropies": ("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"),
}
ATTRIBUTES = (
    "_buffered_inputs",
    "_step",
    "_dist",
    "eos_token_ids",
    "generation_config",
    "model_wrapped",
    "num_iterations",
    "shuffle_dataset",
)


@contextmanager
def reference_copy(model: PreTrainedModel) -> Iterator[None]:
    """Make a trainer that is built in this block measure KL against a copy of `model` as it is now.

    TRL would load the reference again by the model's name and so miss changes in memory. A model with an adapter needs
    no copy: TRL keeps a frozen copy of the adapter. Instead: what makes `ref_model`.
    """
    load = grpo_trainer.create_model_from_path
    grpo_trainer.create_model_from_path = lambda *_, **__: copy.deepcopy(model).requires_grad_(False).eval()
    try:
        yield
    finally:
        grpo_trainer.create_model_from_path = load


def check_grpo_trainer_class() -> None:
    """Check the methods that `VideoGRPOTrainer` overrides. Raises UpstreamChangedError."""
    for name, parameters in OVERRIDDEN.items():
        check_upstream("trl", GRPOTrainer, {name: parameters}, f"{TRAINER}.{name}")
    check_upstream("trl", grpo_trainer, {"create_model_from_path": ()}, f"{TRAINER}.__init__")


def check_grpo_trainer(trainer: GRPOTrainer) -> None:
    """Check the attributes that `VideoGRPOTrainer` uses, once TRL has built it. Raises UpstreamChangedError."""
    check_upstream("trl", trainer, dict.fromkeys(ATTRIBUTES), TRAINER)
    sharded = ("is_zero3", "is_fsdp", "summon_full_params")
    check_upstream("trl", trainer._dist, dict.fromkeys(sharded), f"{TRAINER}._whole_model")
    arguments = ("ds3_gather_for_generation", "steps_per_generation")
    check_upstream("trl", trainer.args, dict.fromkeys(arguments), TRAINER)
