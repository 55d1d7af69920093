"""The command line, with one file per command. See `rarft COMMAND --help`.

A command is a module with HELP, `add_arguments(parser)`, and `run(options)`, which returns the exit status.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import entry_points
from itertools import pairwise

from rarft.cli import build_hivtg, build_ss, demo, evaluate, infer, lint, rehearse, reproduce, statistics, train, world
from rarft.system.cores import use_cores
from rarft.system.errors import RarftError, machine_fault
from rarft.system.files import only_writer

# A command has the name of its file. This is the order of `rarft --help`.
COMMANDS = (world, lint, build_hivtg, build_ss, statistics, rehearse, reproduce, train, infer, evaluate, demo)


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and run the command. See `rarft.system.errors` for the errors that print one line and exit
    with status 1; all others keep their traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names and queries may not be encodable in the terminal
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    for before, argument in pairwise(["", *arguments]):
        if not argument or re.fullmatch(r"--[\w-]+=", argument):  # most likely an unset shell variable
            parser.error(f"an empty argument: {argument or before}")
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "config", None):  # with --config, the rest are fields of the recipe
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.recipe_fields = rest
    if getattr(options, "threads", None):
        use_cores(options.threads)
    try:
        with _lock(options):
            sys.exit(options.run(options))
    except RarftError as error:
        message = str(error)
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        message = f"{fault}; what was written before is kept"
    print(f"rarft {options.command}: {message}", file=sys.stderr)
    sys.exit(1)


def _lock(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Lock --out against a second process. Commands with a recipe or their own default folder lock it themselves."""
    out = getattr(options, "out", None)
    return only_writer(out) if out and not getattr(options, "config", None) else nullcontext()


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = str(action.default) in ("None", "False", "[]")
        return action.help if says_nothing else super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Other packages can add commands by entry points of the group `rarft.commands`; entry points that cannot be imported
    are left out. Those of the course are in `coursekit`, which is not in the wheel."""
    parser = argparse.ArgumentParser(prog="rarft", description="Learning to refuse: train, ask, measure.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {module.__name__.rpartition(".")[2].replace("_", "-"): module for module in COMMANDS}
    for entry in entry_points(group="rarft.commands"):
        with suppress(ModuleNotFoundError):
            modules[entry.name] = entry.load()
    for name, module in modules.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP, formatter_class=_HelpFormatter)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
