"""RA-RFT on the world, from top to bottom: videos, a model to start from, reinforcement, a saved model.

`rarft train cold-start` and `rarft train rarft` run these functions, and chapter 09 runs the same steps one by one.
benchmarks/experiment_arms.py changes one of them at a time. A recipe (`rarft.training.recipe`) names its own data and
model; from `rarft.training.run.train_and_save` on, both are the same.
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

CLIPS = 600  # whose queries are asked in reinforcement
# Clips whose queries are demonstrated, and how long the base trains on them. After fewer it knows when to refuse, but
# most of its reasons are copied wrongly out of its own comparison: the short cold start of benchmarks/experiment.py.
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
    """World → start → RA-RFT → saved model: recipes/tiny.yaml on the world.

    Args:
        data: folder of world videos, made if missing.
        out: folder for the model, processor, settings, log.json and checkpoints.
        model: where to start; by default a cold start from the base, which is made once, in `out`/cold_start.
        variant: of the rewards.
        steps: the recipe's own number by default.
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

    Reinforcement can only strengthen what is sampled, and a grounder samples no explanation. Source: the cold start of
    DeepSeek-R1 (arXiv 2501.12948, section 2.3.1); the paper of RA-RFT needs none, for a 7B model follows the prompt.

    Args:
        demonstrations: samples and the completions that they should get.
        output: folder for the model and log.json.
        steps: the number in COLD_START by default.
    """
    settings = {**COLD_START, **({} if steps is None else {"steps": steps})}
    log = train_sft(video_model, demonstrations, sft_arguments(output, **settings, seed=seed))
    video_model.save(output)
    write_json(Path(output) / "log.json", log)
    return log
