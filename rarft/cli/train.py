"""`rarft train`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.errors import InputError
from rarft.files import BASE

HELP = "Train: `base` makes data/base, `rarft` runs RA-RFT from it on the world, or by a recipe."
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
    add("recipe", choices=("base", "rarft"))
    add(
        "--config",
        type=Path,
        help="rarft: a YAML recipe, see rarft/training/recipe.py; its fields may follow as --field value",
    )
    add("--out", type=Path, help="folder for the model, the log and checkpoints; a recipe's output_dir by default")
    add(
        "--data",
        type=Path,
        help="folder of world videos, made if missing; build/world by default, a recipe names its own",
    )
    add("--model", help="rarft: where to start; the shipped base, or the recipe's, by default")
    add(
        "--variant",
        choices=("official", "paper", "robust"),
        help="rarft: rewards; robust, or the recipe's, by default",
    )
    add("--steps", type=int, help="rarft: the course's or the recipe's own number by default")
    add("--seed", type=int, help="0, or the recipe's, by default")
    add("--resume", action="store_true", help="continue from the last checkpoint in --out")
    add("--threads", type=int)


def run(options: Namespace) -> int:
    """Every option is used or refused: none is dropped in silence."""
    if options.recipe == "base":
        _refuse(options, ("config", "model", "variant", "steps", "resume"), "`train base` has no such option")
    if options.config:
        _refuse(options, ("data",), "a recipe's data is --train_data")
        _train_by_recipe(options)
        return 0
    if options.out is None:
        raise InputError("--out FOLDER is missing")
    options.data = options.data or Path("build/world")
    if options.recipe == "base":
        from rarft.base.make import make_base

        make_base(options.data, options.out, seed=options.seed or 0)
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


def _train_on_world(options: Namespace) -> None:
    from rarft.models import open_model
    from rarft.rewards import make_rewards
    from rarft.settings import save_settings
    from rarft.training.run import grpo_config, save_run, train_rarft
    from rarft.world.dataset import make_world

    model, processor, settings = open_model(options.model or BASE)
    groups = [clip.samples for clip in make_world(options.data / "train", "train", 600)]
    changes = {"seed": options.seed or 0, "save_strategy": "steps"}
    if options.steps:
        changes["max_steps"] = options.steps
    config = grpo_config(options.out, **changes)
    save_settings(options.out, settings.changed(max_new_tokens=config.max_completion_length))
    rewards = make_rewards(options.variant or "robust")
    trainer = train_rarft(model, processor, groups, config, rewards=rewards, resume=options.resume)
    save_run(trainer, processor)
