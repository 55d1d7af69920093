"""RA-RFT on the world from start to end: videos, a starting model, reinforcement learning, a saved model.

`rarft train cold-start` and `rarft train rarft` run these functions, chapter 09 runs the same steps one by one, and
benchmarks/experiment_arms.py varies one step at a time. A recipe (`rarft.training.recipe`) has its own data and model,
and then calls the same `rarft.training.run.train_and_save`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rarft.models import VideoModel
from rarft.rewards import make_rewards
from rarft.schema import Sample
from rarft.system.files import BASE, write_json
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe import grpo_config
from rarft.training.run import train_and_save
from rarft.training.sft import sft_arguments, train_sft
from rarft.world.completions import demonstrations
from rarft.world.dataset import make_world

CLIPS = 600  # for reinforcement learning
# Clips for the demonstrations, and how long the base trains on them. A shorter cold start (the one of
# benchmarks/experiment_arms.py) refuses the right queries, but miscopies most of its reasons from its own comparison.
COLD_START_CLIPS = 160
COLD_START = {"steps": 300, "batch": 16, "rate": 1e-3}


def train_on_world(
    data: Path,
    out: Path,
    *,
    model: str | Path | None = None,
    variant: str = "robust",
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> VideoGRPOTrainer:
    """World → starting model → RA-RFT → saved model, by recipes/tiny.yaml.

    Args:
        data: folder of world videos, made if missing.
        out: folder for the model, processor, settings, log.json and checkpoints.
        model: the starting model; by default a cold start from the base, trained once and kept in `out`/cold_start.
        variant: of the rewards.
        steps: the recipe's number by default.
        resume: continue from the last whole checkpoint in `out`.
    """
    if model is None:
        model = out / "cold_start"
        if not (model / "log.json").exists():
            cold_start_on_world(data, model, seed=seed)
    config = grpo_config(out, seed=seed, save_strategy="steps", **({"max_steps": steps} if steps else {}))
    video_model = VideoModel.load(model, changes={"max_new_tokens": config.max_completion_length})
    groups = [clip.group for clip in make_world(data / "train", "train", CLIPS)]
    return train_and_save(video_model, groups, config, rewards=make_rewards(variant), resume=resume)


def cold_start_on_world(
    data: Path, out: Path, *, model: str | Path = BASE, seed: int = 0, steps: int | None = None
) -> VideoModel:
    """World → base → `cold_start` on the demonstrations of its first clips → saved model."""
    video_model = VideoModel.load(model)
    world = make_world(data / "train", "train", COLD_START_CLIPS)
    shown = demonstrations([(clip.story, clip.group) for clip in world])
    cold_start(video_model, shown, out, seed=seed, steps=steps)
    return video_model


def cold_start(
    video_model: VideoModel,
    demonstrations: Sequence[tuple[Sample, str]],
    output: str | Path,
    *,
    seed: int = 0,
    steps: int | None = None,
) -> list[dict]:
    """Fine-tune a model in place on a few demonstrations before reinforcement learning, and save it. Returns the log.

    Reinforcement learning can only strengthen what the model samples, and a pure grounding model samples no
    explanations. Source: the cold start of DeepSeek-R1 (arXiv 2501.12948, section 2.3.1). The RA-RFT paper needs none,
    because a 7B model follows the prompt.

    Args:
        demonstrations: samples and their target completions.
        output: folder for the model and log.json.
        steps: the number in COLD_START by default.
    """
    settings = {**COLD_START, **({} if steps is None else {"steps": steps})}
    log = train_sft(video_model, demonstrations, sft_arguments(output, **settings, seed=seed))
    video_model.save(output)
    write_json(Path(output) / "log.json", log)
    return log
