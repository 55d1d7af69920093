"""Names of TRL outside its documented interface: what each is for, and what to do when it moves.

- `FusedCausalLMOutput` is what the training pass returns after unpacking. Instead: the output of
  `model(..., fused_lm_head=True)`.
- `split_tensor_dict` splits a generation batch into its steps. Instead: what `_prepare_inputs` splits with.
- `unwrap_model_for_generation` gathers weights that ZeRO-3 or FSDP shards. Instead: what `_generate_single_turn`
  enters.
- `grpo_trainer.create_model_from_path` loads the reference model; a copy takes its place. Instead: what makes
  `ref_model`.
- The methods and attributes below belong to overrides in `rarft.training.grpo.VideoGRPOTrainer`. Instead: change the
  override of that name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer import grpo_trainer
from trl.trainer.utils import FusedCausalLMOutput, split_tensor_dict

from rarft.system.upstream.contract import Method, check, check_attributes

__all__ = [
    "FusedCausalLMOutput",
    "check_grpo_trainer",
    "check_grpo_trainer_class",
    "reference_copy",
    "split_tensor_dict",
    "unwrap_model_for_generation",
]

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
    """Have a trainer that is built in this block measure KL against `model` as it is now.

    TRL loads the checkpoint again by the model's name, and that is another model after a change in memory. A model with
    an adapter needs no copy: TRL keeps a frozen copy of the adapter.
    """
    load = grpo_trainer.create_model_from_path
    grpo_trainer.create_model_from_path = lambda *_, **__: copy.deepcopy(model).requires_grad_(False).eval()
    try:
        yield
    finally:
        grpo_trainer.create_model_from_path = load


def check_grpo_trainer_class() -> None:
    """Check the methods that `VideoGRPOTrainer` overrides. Raises UpstreamChangedError."""
    override = "rarft.training.grpo.VideoGRPOTrainer"
    methods = [
        Method("trl", GRPOTrainer, name, parameters, f"{override}.{name}") for name, parameters in OVERRIDDEN.items()
    ]
    check([*methods, Method("trl", grpo_trainer, "create_model_from_path", (), f"{override}.__init__")])


def check_grpo_trainer(trainer: GRPOTrainer) -> None:
    """Check the attributes that `VideoGRPOTrainer` uses, once TRL has built it. Raises UpstreamChangedError."""
    override = "rarft.training.grpo.VideoGRPOTrainer"
    check_attributes("trl", trainer, ATTRIBUTES, override)
    check_attributes("trl", trainer._dist, ("is_zero3", "is_fsdp", "summon_full_params"), f"{override}._whole_model")
    check_attributes("trl", trainer.args, ("ds3_gather_for_generation", "steps_per_generation"), override)
