"""`rarft reproduce`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rarft.cli.options import add_shared, at_least, output_folder
from rarft.system.errors import InputError
from rarft.system.files import RECIPES, only_writer

if TYPE_CHECKING:
    from rarft.paper import Experiment, Plan

HELP = (
    "Run an experiment of the paper from its files to its table, next to the published figures; resumes after a kill."
)
NAMES = ("hi-activitynet", "hi-tvgbench", "hi-charades", "ss-activitynet", "ss-charades", "ss-qvhighlights", "human")


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("name", choices=NAMES, help="the test set; see recipes/paper/experiments.yaml")
    add("--base", default="time-r1-7b", help="a short name of rarft/models/presets.py")
    add(
        "--data",
        type=Path,
        help="folder of the annotation files and videos; without it, the command prints what the folder needs",
    )
    add("--out", type=output_folder, help="build/reproduce/NAME/BASE by default")
    recipe = "the recipe; with LoRA: qwen2_5_vl_7b_lora.yaml. Its fields may follow as --field value"
    add("--config", type=Path, default=RECIPES / "qwen2_5_vl_7b.yaml", help=recipe)
    add_shared(command, "--variant", help="rewards; by default the recipe's, or official")
    add(
        "--official-clone",
        type=Path,
        help="folder of your own clone of github.com/JINSUBY/RA-RFT, whose prompts are then used word for word; "
        "by default, prompts of the same structure in this library's words",
    )
    add_shared(
        command, "--max-new-tokens", default=512, help="maximum tokens of an answer in evaluation; as in the release"
    )
    add("--model", help="other weights than the base's, such as the small model that `rarft rehearse` writes")
    add("--gpus", type=at_least(0), help="1, 2, 4 or 8, all of this machine by default; 0: CPUs")
    several = "configuration of `accelerate launch`, for more than one GPU"
    add("--launch", type=Path, default=RECIPES / "accelerate" / "zero3.yaml", help=several)
    add_shared(command, "--limit", help="only the first N videos of test and training; all by default")
    add_shared(command, "--batch", default=64, help="questions at a time in evaluation")
    add_shared(command, "--reader", "--threads")
    add("--skip-missing", action="store_true", help="go on without videos that are missing or cannot be read")
    add("--check", action="store_true", help="stop after checking the files and estimating time, memory and disk")


def run(options: Namespace) -> int:
    """Run the experiment, or only check it with --check. Without --data, print what to download."""
    from rarft.models.presets import PRESETS
    from rarft.paper import BASES, experiments, phases, prepare, result, run_phases, what_to_get

    if options.base not in BASES:
        raise InputError(f"--base {options.base}: choose one of {', '.join(BASES)}")
    experiment = experiments()[options.name]
    if options.data is None:
        print(what_to_get(experiment, Path("DATA")))
        print(f"\nbase: {PRESETS[options.base].repository}, from the hub at the first run")
        return 0
    plan = _plan(options, experiment)
    with only_writer(plan.out):
        print(prepare(plan), flush=True)
        if options.check:
            print("\nthe commands:", *("  " + " ".join(phase.command) for phase in phases(plan)), sep="\n")
            return 0
        run_phases(plan)
        print(f"\n{result(plan)}\n\nwritten to {plan.out / 'result.json'} and table.md")
    return 0


def _plan(options: Namespace, experiment: Experiment) -> Plan:
    import torch

    from rarft.paper import Plan

    for option, folder in (("--data", options.data), ("--official-clone", options.official_clone)):
        if folder and not folder.is_dir():
            raise InputError(f"{option} {folder}: no such folder")
    for option, path in (("--config", options.config), ("--launch", options.launch)):
        if not path.is_file():
            raise InputError(f"{option} {path}: no such file")
    return Plan(
        experiment,
        options.base,
        options.model or options.base,
        options.data,
        options.out or Path("build") / "reproduce" / options.name / options.base,
        options.config,
        torch.cuda.device_count() if options.gpus is None else options.gpus,
        options.launch,
        limit=options.limit,
        skip_missing=options.skip_missing,
        batch=options.batch,
        reader=options.reader,
        official_clone=options.official_clone,
        max_new_tokens=options.max_new_tokens,
        fields=(*(("--variant", options.variant) if options.variant else ()), *options.recipe_fields),
    )
