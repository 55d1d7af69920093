"""The RA-RFT recipe: a short supervised cold start, then GRPO with the four rewards on relevant and hard-irrelevant
queries, from a base that grounds."""

from __future__ import annotations

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
from rarft.training.checkpoints import resume_training
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.sft import sft_arguments, train_sft

# Clips whose queries are demonstrated, and how long the base trains on them. After fewer it knows when to refuse, but
# most of its reasons are copied wrongly out of its own comparison: the short cold start of benchmarks/experiment.py.
COLD_START_CLIPS = 160
COLD_START = {"steps": 300, "batch": 16, "rate": 1e-3}


def cold_start(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    demonstrations: Sequence[tuple[Sample, str]],
    output: str | Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    vision_cache: VisionCache | None = None,
) -> list[dict]:
    """Fine-tune `model` in place on a few demonstrations before reinforcement learning. Returns the log.

    Reinforcement can only strengthen what is sampled, and a grounder samples no explanation. Source: the cold start of
    DeepSeek-R1 (arXiv 2501.12948, section 2.3.1); the paper of RA-RFT needs none, for a 7B model follows the prompt.

    Args:
        demonstrations: samples and the completions that they should get.
        output: folder for the trainer's files.
        steps: COLD_START's own number by default.
    """
    freeze_vision(model)
    settings = {**COLD_START, **({} if steps is None else {"steps": steps})}
    arguments = sft_arguments(output, **settings, seed=seed)
    cache = vision_cache or VisionCache(model, processor)
    return train_sft(model, processor, demonstrations, arguments, vision_cache=cache)


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
    irrelevant_share: float = 0.5,
    vision_cache: VisionCache | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> VideoGRPOTrainer:
    """A trainer for `model`, whose vision tower is frozen here.

    Args:
        groups: per video, the relevant sample first, then its irrelevant ones.
        rewards: as TRL's `reward_funcs`; all four, robust, by default.
        irrelevant_share: of the prompts; see `rarft.training.dataset.refusal_dataset`.
    """
    freeze_vision(model)
    prompts = config.generation_batch_size // config.num_generations
    epochs = -(-config.max_steps * prompts // (2 * len(groups))) if config.max_steps > 0 else 1
    dataset = refusal_dataset(
        groups, prompt_style(model), epochs=epochs, seed=config.seed, irrelevant_share=irrelevant_share
    )
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
    if resume:
        resume_training(trainer)
    else:
        trainer.train()
    model.eval()
    return trainer


def save_run(trainer: VideoGRPOTrainer, processor: ProcessorMixin) -> None:
    """Save what was trained (a model, or its adapter), the processor and log.json into the trainer's output_dir."""
    trainer.save_model(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        processor.save_pretrained(trainer.args.output_dir)
        write_json(Path(trainer.args.output_dir) / "log.json", trainer.state.log_history)
