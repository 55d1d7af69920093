"""A run of RA-RFT: GRPO with the four rewards on relevant and hard-irrelevant queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig

from rarft.models import VideoModel
from rarft.models.families import is_whole, plan_of
from rarft.rewards import make_rewards
from rarft.schema import Group
from rarft.system.cores import threads
from rarft.system.files import write_json
from rarft.training.checkpoints import resume_training
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer, draw_seed


def build_trainer(
    video_model: VideoModel,
    groups: Sequence[Group],
    config: GRPOConfig,
    *,
    rewards: Sequence[Callable[..., list[float]]] | None = None,
    irrelevant_share: float = 0.5,
    eval_dataset: Dataset | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> VideoGRPOTrainer:
    """Build a trainer for a model.

    Args:
        groups: one per video. Each epoch uses the relevant query of each group and one of its irrelevant queries, drawn
            anew.
        rewards: as TRL's `reward_funcs`; the four rewards of the variant "robust" by default.
        irrelevant_share: see `rarft.training.dataset.refusal_dataset`.
        eval_dataset: the rows for evaluations during training (`config.eval_strategy`), such as a `refusal_dataset`.
    """
    epochs = epochs_of(config, 2 * len(groups))
    dataset = refusal_dataset(
        groups, video_model.style, epochs=epochs, seed=draw_seed(config), irrelevant_share=irrelevant_share
    )
    return VideoGRPOTrainer(
        video_model,
        reward_funcs=list(make_rewards("robust") if rewards is None else rewards),
        args=config,
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        callbacks=list(callbacks),
        epoch_rows=2 * len(groups),
    )


def epochs_of(config: GRPOConfig, rows: int) -> int:
    """The number of epochs of `rows` rows that a run starts, from its `max_steps` or `num_train_epochs`."""
    if config.max_steps <= 0:
        return math.ceil(config.num_train_epochs)
    passes = config.max_steps * config.gradient_accumulation_steps
    batches = math.ceil(passes / (config.steps_per_generation * config.num_iterations))
    prompts = config.generation_batch_size // config.num_generations
    return math.ceil(batches / math.ceil(rows / prompts))


def train_rarft(
    video_model: VideoModel,
    groups: Sequence[Group],
    config: GRPOConfig,
    *,
    resume: bool = False,
    **options: Any,
) -> VideoGRPOTrainer:
    """Train a model in place and return the trainer, whose `state.log_history` has the curves.

    If the model has an adapter and its base has changed since it was loaded, the base is first saved into the subfolder
    base/ of `config.output_dir`, because the checkpoints refer to it.

    Args:
        resume: continue from the last whole checkpoint in `config.output_dir`; start from the beginning if there is
            none.
        options: see `build_trainer`.
    """
    trainer = build_trainer(video_model, groups, config, **options)
    _save_changed_base(trainer)
    with threads(plan_of(video_model).threads):
        if resume:
            resume_training(trainer)
        else:
            trainer.train()
    video_model.model.eval()
    return trainer


def _save_changed_base(trainer: VideoGRPOTrainer) -> None:
    video_model = trainer.video_model
    if is_whole(video_model.model) and trainer.is_world_process_zero():
        video_model.save_changed_base(Path(trainer.args.output_dir) / "base")


def save_run(trainer: VideoGRPOTrainer) -> None:
    """Save the trained model (or its adapter), processor, settings and log.json into the trainer's output_dir."""
    folder = trainer.args.output_dir
    _save_changed_base(trainer)
    trainer.save_model(folder)
    if trainer.is_world_process_zero():
        trainer.video_model.processor.save_pretrained(folder)
        write_json(Path(folder) / "log.json", trainer.state.log_history)


def train_and_save(
    video_model: VideoModel, groups: Sequence[Group], config: GRPOConfig, **options: Any
) -> VideoGRPOTrainer:
    """`train_rarft`, then `save_run`. The settings are written before the first step, so a killed run has them, too."""
    if config.process_index == 0:
        video_model.write_settings(config.output_dir)
    trainer = train_rarft(video_model, groups, config, **options)
    save_run(trainer)
    return trainer
