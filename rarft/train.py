"""The RA-RFT recipe: GRPO with the four rewards on relevant and hard-irrelevant queries, from a base that grounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import rarft._torchvision  # noqa: F401

from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import GRPOConfig

from rarft.data import refusal_dataset
from rarft.grpo import VideoGRPOTrainer
from rarft.models import freeze_vision, prompt_style
from rarft.rewards import make_rewards
from rarft.schema import Sample
from rarft.vision_cache import VisionCache


def grpo_config(output: str | Path, **changes) -> GRPOConfig:
    """The settings of the course's live run; `changes` override any of `trl.GRPOConfig`.

    Paper: 8 generations, temperature 1.0, vision tower frozen. Rates and batch are for the tiny base on a CPU, and so is
    the share of tokens that learn: a timeline's tokens are all but certain, and the few that are sampled wrong would be
    pushed up or down by what the answer earned (Wang et al., Beyond the 80/20 Rule, 2025).
    """
    settings = {
        "output_dir": str(output),
        "num_generations": 8,
        "per_device_train_batch_size": 64,
        "temperature": 1.0,
        "max_completion_length": 352,
        "learning_rate": 2e-4,
        "top_entropy_quantile": 0.1,
        "lr_scheduler_type": "linear",
        "warmup_steps": 5,
        "max_steps": 50,
        "beta": 0.0,
        "loss_type": "dapo",
        "scale_rewards": "group",
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "remove_unused_columns": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,  # rows are a few numbers and a path
        "bf16": False,
        "seed": 0,
    }
    return GRPOConfig(**{**settings, **changes})


def build_trainer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    groups: Sequence[Sequence[Sample]],
    config: GRPOConfig,
    *,
    rewards: Sequence[Callable[..., list[float]]] | None = None,
    relevant_only: bool = False,
    vision_cache: VisionCache | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> VideoGRPOTrainer:
    """A trainer for `model`, whose vision tower is frozen here.

    Args:
        groups: per video, the relevant sample first, then its irrelevant ones.
        rewards: as TRL's `reward_funcs`; all four, robust, by default.
        relevant_only: leave the irrelevant queries out (GRPO on ordinary grounding data).
    """
    freeze_vision(model)
    prompts = config.generation_batch_size // config.num_generations
    kinds = 1 if relevant_only else 2
    passes = -(-config.max_steps * prompts // (kinds * len(groups))) if config.max_steps > 0 else 1
    dataset = refusal_dataset(groups, prompt_style(model), passes=passes, seed=config.seed, relevant_only=relevant_only)
    return VideoGRPOTrainer(
        model=model,
        reward_funcs=list(rewards or make_rewards("robust")),
        args=config,
        train_dataset=dataset,
        processing_class=processor,
        callbacks=list(callbacks),
        vision_cache=vision_cache or VisionCache(model, processor),
    )


def train_rarft(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    groups: Sequence[Sequence[Sample]],
    config: GRPOConfig,
    *,
    resume: bool = False,
    **options,
) -> VideoGRPOTrainer:
    """Train `model` in place and return the trainer, whose `state.log_history` holds the curves.

    Args:
        resume: continue from the last whole checkpoint in `config.output_dir`; start anew where there is none.
        options: see `build_trainer`.
    """
    trainer = build_trainer(model, processor, groups, config, **options)
    checkpoint = last_whole_checkpoint(config.output_dir) if resume else None
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.eval()
    return trainer


def last_whole_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint that was written to its end; a kill may leave a later one that was not.

    `transformers` writes trainer_state.json last.
    """

    def step(path: Path) -> int:
        return int(path.name.removeprefix("checkpoint-"))

    def whole(path: Path) -> bool:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return True

    return max(filter(whole, Path(folder).glob("checkpoint-*")), key=step, default=None)
