"""`rarft train`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import add_shared, at_least, output_folder, refuse
from rarft.system.errors import InputError
from rarft.system.files import BASE
from rarft.system.plugins import load_callable

HELP = (
    "Train: `base` makes data/base; `cold-start` teaches it the form of a refusal; `rarft` runs RA-RFT from there "
    "on the world, or by a recipe."
)
# Options → the recipe fields that they set.
RECIPE_FIELDS = {
    "out": "output_dir",
    "model": "model_name_or_path",
    "variant": "variant",
    "steps": "max_steps",
    "seed": "seed",
}


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("recipe", choices=("base", "cold-start", "rarft"), help="what to train")
    recipe = "rarft: a YAML recipe, see rarft/training/recipe.py; its fields may follow as --field value"
    add("--config", type=Path, help=recipe)
    saved = "folder for the model, the log and checkpoints; a recipe's output_dir by default"
    add("--out", type=output_folder, help=saved)
    videos = "folder of world videos, made if missing; build/world by default, a recipe names its own"
    add("--data", type=Path, help=videos)
    add("--model", help="where to start; by default the shipped base, for rarft a cold start from it, or the recipe's")
    add_shared(command, "--variant", help="rarft: rewards; robust, or the recipe's, by default")
    add("--steps", type=at_least(1), help="rarft: the course's or the recipe's own number by default")
    add_shared(command, "--seed", default=None, help="0, or the recipe's, by default")
    add("--resume", action="store_true", help="continue from the last checkpoint in --out")
    add_shared(command, "--threads")


def run(options: Namespace) -> int:
    """Run the chosen training. An option that it would not use is an error."""
    if options.recipe == "base":
        refuse(options, ("config", "model", "variant", "steps", "resume"), "`train base` has no such option")
    if options.recipe == "cold-start":
        refuse(options, ("config", "variant", "resume"), "`train cold-start` has no such option")
    if options.config:
        refuse(options, ("data",), "a recipe's data is --train_data")
        _train_by_recipe(options)
    elif options.out is None:
        raise InputError("--out FOLDER is missing")
    else:
        _train_on_world(options, options.data or Path("build/world"), options.seed or 0)
    return 0


def _train_by_recipe(options: Namespace) -> None:
    from rarft.training import recipe

    given = {"config": options.config, **{field: getattr(options, name) for name, field in RECIPE_FIELDS.items()}}
    fields = recipe.as_arguments({name: value for name, value in given.items() if value is not None})
    recipe.run_recipe(recipe.read_recipe([*fields, *options.recipe_fields]), resume=options.resume)


def _train_on_world(options: Namespace, data: Path, seed: int) -> None:
    if options.recipe == "base":
        make_base = load_callable("coursekit.base.make:make_base", "`train base`, in a clone of the repository:")
        make_base(data, options.out, seed=seed)
        return
    from rarft.training.story import cold_start_on_world, train_on_world

    asked = {"model": options.model, "steps": options.steps, "seed": seed}
    if options.recipe == "cold-start":
        cold_start_on_world(data, options.out, **{**asked, "model": options.model or BASE})
    else:
        train_on_world(data, options.out, variant=options.variant or "robust", resume=options.resume, **asked)
