"""The RA-RFT recipe: GRPO with the four rewards on relevant and hard-irrelevant queries, from a base that grounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import GRPOConfig

from rarft.files import RECIPES, read_text, write_json
from rarft.models.families import freeze_vision
from rarft.models.load import prompt_style
from rarft.models.vision_cache import VisionCache
from rarft.rewards import make_rewards
from rarft.schema import Sample
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer


def grpo_config(output: str | Path, **changes: Any) -> GRPOConfig:
    """The settings of the course's live run, recipes/tiny.yaml, without checkpoints; `changes` override any of
    `trl.GRPOConfig`."""
    recipe = yaml.safe_load(read_text(RECIPES / "tiny.yaml"))
    known = {field.name for field in fields(GRPOConfig)}
    settings = {name: value for name, value in recipe.items() if name in known}
    return GRPOConfig(**{**settings, "save_strategy": "no", "seed": 0, **changes, "output_dir": str(output)})


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
    epochs = -(-config.max_steps * prompts // (kinds * len(groups))) if config.max_steps > 0 else 1
    dataset = refusal_dataset(groups, prompt_style(model), epochs=epochs, seed=config.seed, relevant_only=relevant_only)
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

    Args: resume: continue from the last whole checkpoint in `config.output_dir`; start from the beginning where there
        is none. options: see `build_trainer`.
    """
    trainer = build_trainer(model, processor, groups, config, **options)
    checkpoint = last_whole_checkpoint(config.output_dir) if resume else None
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.eval()
    return trainer


def save_run(trainer: VideoGRPOTrainer, processor: ProcessorMixin) -> None:
    """Save what was trained (a model, or its adapter), the processor and log.json into the trainer's output_dir."""
    trainer.save_model(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        processor.save_pretrained(trainer.args.output_dir)
        write_json(Path(trainer.args.output_dir) / "log.json", trainer.state.log_history)


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
