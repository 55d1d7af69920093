"""`rarft train`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import at_least, output_folder
from rarft.system.errors import InputError
from rarft.system.files import BASE, write_json
from rarft.system.plugins import imported

HELP = (
    "Train: `base` makes data/base; `cold-start` teaches it the form of a refusal; `rarft` runs RA-RFT from there "
    "on the world, or by a recipe."
)
# Options that stand for a field of a recipe.
RECIPE_FIELDS = {
    "out": "output_dir",
    "model": "model_name_or_path",
    "variant": "variant",
    "steps": "max_steps",
    "seed": "seed",
}


def add_arguments(command: ArgumentParser) -> None:
    add = command.add_argument
    add("recipe", choices=("base", "cold-start", "rarft"))
    add(
        "--config",
        type=Path,
        help="rarft: a YAML recipe, see rarft/training/recipe.py; its fields may follow as --field value",
    )
    add(
        "--out",
        type=output_folder,
        help="folder for the model, the log and checkpoints; a recipe's output_dir by default",
    )
    add(
        "--data",
        type=Path,
        help="folder of world videos, made if missing; build/world by default, a recipe names its own",
    )
    add("--model", help="where to start; by default the shipped base, for rarft a cold start from it, or the recipe's")
    add(
        "--variant",
        choices=("official", "paper", "robust"),
        help="rarft: rewards; robust, or the recipe's, by default",
    )
    add("--steps", type=at_least(1), help="rarft: the course's or the recipe's own number by default")
    add("--seed", type=at_least(0), help="0, or the recipe's, by default")
    add("--resume", action="store_true", help="continue from the last checkpoint in --out")
    add("--threads", type=at_least(1))


def run(options: Namespace) -> int:
    """Every option is used or refused: none is dropped in silence."""
    if options.recipe == "base":
        _refuse(options, ("config", "model", "variant", "steps", "resume"), "`train base` has no such option")
    if options.recipe == "cold-start":
        _refuse(options, ("config", "variant", "resume"), "`train cold-start` has no such option")
    if options.config:
        _refuse(options, ("data",), "a recipe's data is --train_data")
        _train_by_recipe(options)
        return 0
    if options.out is None:
        raise InputError("--out FOLDER is missing")
    options.data = options.data or Path("build/world")
    if options.recipe == "base":
        make_base = imported("coursekit.base.make:make_base", "`train base`, in a clone of the repository:")
        make_base(options.data, options.out, seed=options.seed or 0)
    elif options.recipe == "cold-start":
        _cold_start(options, options.out)
    else:
        _train_on_world(options)
    return 0


def _refuse(options: Namespace, names: tuple[str, ...], reason: str) -> None:
    given = [f"--{name}" for name in names if getattr(options, name)]
    if given:
        raise InputError(f"{', '.join(given)}: {reason}")


def _train_by_recipe(options: Namespace) -> None:
    from rarft.training import recipe

    fields = ["--config", str(options.config)]
    for name, field in RECIPE_FIELDS.items():
        if getattr(options, name) is not None:
            fields += [f"--{field}", str(getattr(options, name))]
    recipe.run_recipe([*fields, *options.recipe_fields], resume=options.resume)


def _cold_start(options: Namespace, out: Path) -> None:
    """Train on the demonstrations of a few clips, and save the model into `out`."""
    from rarft.models import VideoModel
    from rarft.training import COLD_START_CLIPS, cold_start
    from rarft.world.completions import demonstrations
    from rarft.world.dataset import make_world

    video_model = VideoModel.load(options.model or BASE)
    world = make_world(options.data / "train", "train", COLD_START_CLIPS)
    shown = demonstrations([(clip.story, clip.group) for clip in world])
    steps = options.steps if options.recipe == "cold-start" else None
    log = cold_start(video_model, shown, out, seed=options.seed or 0, steps=steps)
    video_model.save(out)
    write_json(out / "log.json", log)


def _train_on_world(options: Namespace) -> None:
    """RA-RFT, after a cold start of its own where no model is named."""
    from rarft.models import VideoModel
    from rarft.rewards import make_rewards
    from rarft.training.run import grpo_config, save_run, train_rarft
    from rarft.world.dataset import make_world

    started = options.model or options.out / "cold_start"
    if options.model is None and not (started / "log.json").exists():
        _cold_start(options, started)
    groups = [clip.group for clip in make_world(options.data / "train", "train", 600)]
    changes = {"seed": options.seed or 0, "save_strategy": "steps"}
    if options.steps:
        changes["max_steps"] = options.steps
    config = grpo_config(options.out, **changes)
    video_model = VideoModel.load(started, changes={"max_new_tokens": config.max_completion_length})
    video_model.write_settings(options.out)
    rewards = make_rewards(options.variant or "robust")
    trainer = train_rarft(video_model, groups, config, rewards=rewards, resume=options.resume)
    save_run(trainer)
