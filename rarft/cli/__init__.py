"""The command line: one file for each command, with its options and what it does. `rarft COMMAND --help`."""

from __future__ import annotations

import argparse
import os
import sys
from types import ModuleType

from rarft.cli import (
    build_hivtg,
    build_ss,
    course,
    demo,
    doctor,
    evaluate,
    infer,
    lint,
    rehearse,
    statistics,
    train,
    world,
)
from rarft.errors import RarftError

COMMANDS: dict[str, ModuleType] = {
    "doctor": doctor,
    "world": world,
    "lint": lint,
    "build-hivtg": build_hivtg,
    "build-ss": build_ss,
    "statistics": statistics,
    "rehearse": rehearse,
    "train": train,
    "infer": infer,
    "evaluate": evaluate,
    "demo": demo,
    "course": course,
}


def main(arguments: list[str] | None = None) -> None:
    """Parse and run. An error that the user can fix is one line, and the exit status 1; any other keeps its
    traceback."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "config", None):  # a recipe's fields may follow --config
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.recipe_fields = rest
    if getattr(options, "threads", None):
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        sys.exit(COMMANDS[options.command].run(options))
    except RarftError as error:
        print(f"rarft {options.command}: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rarft", description="Learning to refuse: train, ask, measure.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(command)
    return parser
