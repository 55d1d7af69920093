"""The RA-RFT recipe: a short supervised cold start, then GRPO with the four rewards on relevant and hard-irrelevant
queries, from a base that grounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig

from rarft.models import VideoModel
from rarft.models.families import is_whole
from rarft.rewards import make_rewards
from rarft.schema import Group, Sample
from rarft.system.files import RECIPES, read_text, write_json
from rarft.training.checkpoints import resume_training
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer, draw_seed
from rarft.training.sft import sft_arguments, train_sft

# Clips whose queries are demonstrated, and how long the base trains on them. After fewer it knows when to refuse, but
# most of its reasons are copied wrongly out of its own comparison: the short cold start of benchmarks/experiment.py.
COLD_START_CLIPS = 160
COLD_START = {"steps": 300, "batch": 16, "rate": 1e-3}


def cold_start(
    video_model: VideoModel,
    demonstrations: Sequence[tuple[Sample, str]],
    output: str | Path,
    *,
    seed: int = 0,
    steps: int | None = None,
) -> list[dict]:
    """Fine-tune a model in place on a few demonstrations before reinforcement learning. Returns the log.

    Reinforcement can only strengthen what is sampled, and a grounder samples no explanation. Source: the cold start of
    DeepSeek-R1 (arXiv 2501.12948, section 2.3.1); the paper of RA-RFT needs none, for a 7B model follows the prompt.

    Args:
        demonstrations: samples and the completions that they should get.
        output: folder for the trainer's files.
        steps: COLD_START's own number by default.
    """
    settings = {**COLD_START, **({} if steps is None else {"steps": steps})}
    arguments = sft_arguments(output, **settings, seed=seed)
    return train_sft(video_model, demonstrations, arguments)


def grpo_config(output: str | Path, **changes: Any) -> GRPOConfig:
    """The settings of the course's live run, recipes/tiny.yaml, without checkpoints; `changes` override any of
    `trl.GRPOConfig`."""
    recipe = yaml.safe_load(read_text(RECIPES / "tiny.yaml"))
    known = {field.name for field in fields(GRPOConfig)}
    settings = {name: value for name, value in recipe.items() if name in known}
    return GRPOConfig(**{**settings, "save_strategy": "no", "seed": 0, **changes, "output_dir": str(output)})


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
    """A trainer for a model.

    Args:
        groups: one per video. An epoch asks the relevant query of each, and one of its irrelevant queries, drawn anew
            for every epoch.
        rewards: as TRL's `reward_funcs`; all four, robust, by default.
        irrelevant_share: of the prompts; see `rarft.training.dataset.refusal_dataset`.
        eval_dataset: the rows of evaluations during training (`config.eval_strategy`), such as a `refusal_dataset`.
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
    """How many epochs of `rows` rows a run begins, by its `max_steps` or its `num_train_epochs`."""
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
    **options,
) -> VideoGRPOTrainer:
    """Train a model in place and return the trainer, whose `state.log_history` holds the curves.

    Where it is an adapter on a model that was changed after it was loaded, that model is saved into the folder
    base/ of `config.output_dir` first.

    Args: resume: continue from the last whole checkpoint in `config.output_dir`; start from the beginning where there
        is none. options: see `build_trainer`.
    """
    trainer = build_trainer(video_model, groups, config, **options)
    _keep_base(trainer)  # now: checkpoints name it, too
    if resume:
        resume_training(trainer)
    else:
        trainer.train()
    video_model.model.eval()
    return trainer


def _keep_base(trainer: VideoGRPOTrainer) -> None:
    video_model = trainer.video_model
    if is_whole(video_model.model) and trainer.is_world_process_zero():
        video_model.save_changed_base(Path(trainer.args.output_dir) / "base")


def save_run(trainer: VideoGRPOTrainer) -> None:
    """Save what was trained (a model, or its adapter), processor, settings and log.json into the trainer's
    output_dir."""
    _keep_base(trainer)
    trainer.save_model(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        trainer.video_model.processor.save_pretrained(trainer.args.output_dir)
        write_json(Path(trainer.args.output_dir) / "log.json", trainer.state.log_history)
