"""The command line: one file for each command, with its options and what it does. `rarft COMMAND --help`."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import entry_points
from itertools import pairwise
from types import ModuleType

from rarft.cli import (
    build_hivtg,
    build_ss,
    demo,
    evaluate,
    infer,
    lint,
    rehearse,
    reproduce,
    statistics,
    train,
    world,
)
from rarft.system.errors import RarftError, is_out_of_memory
from rarft.system.files import only_writer

# Further commands: entry points of this group, in any installed distribution. The course's own are in `coursekit`,
# which a wheel does not have.
GROUP = "rarft.commands"
COMMANDS: dict[str, ModuleType] = {
    "world": world,
    "lint": lint,
    "build-hivtg": build_hivtg,
    "build-ss": build_ss,
    "statistics": statistics,
    "rehearse": rehearse,
    "reproduce": reproduce,
    "train": train,
    "infer": infer,
    "evaluate": evaluate,
    "demo": demo,
}


def main(arguments: list[str] | None = None) -> None:
    """Parse and run. An error that the user can fix is one line, and the exit status 1, as is one of disk or memory;
    any other keeps its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name or a query may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    for before, argument in pairwise(["", *arguments]):
        if not argument or re.fullmatch(r"--[\w-]+=", argument):  # a shell's variable without a value, most likely
            parser.error(f"an empty argument: {argument or before}")
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "config", None):  # a recipe's fields may follow --config
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.recipe_fields = rest
    if getattr(options, "threads", None):
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        with _output(options):
            status = options.run(options)
    except RarftError as error:
        print(f"rarft {options.command}: {error}", file=sys.stderr)
        status = 1
    except Exception as error:
        reason = _of_the_machine(error)
        if reason is None:
            raise
        print(f"rarft {options.command}: {reason}; what was written before is kept", file=sys.stderr)
        status = 1
    sys.exit(status)


# What safetensors and torch, which raise errors of their own, say of one.
_FULL_DISK = re.compile(r"No space left on device|inline_container.* unexpected pos|PytorchStreamWriter failed writing")
# Where the disk, and no line of ours, is at fault.
DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
}


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error of disk or memory; None for any other."""
    said = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"out of memory ({said}): use smaller batches, fewer pixels or fewer processes"
    if _FULL_DISK.search(said):
        return f"the disk is full ({said})"
    return said if isinstance(error, OSError) and error.errno in DISK_ERRORS else None


def _output(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Two processes never write into one --out. Commands with a recipe, or a folder of their own, see to it
    themselves."""
    out = getattr(options, "out", None)
    return only_writer(out) if out and not getattr(options, "config", None) else nullcontext()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rarft", description="Learning to refuse: train, ask, measure.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in {**COMMANDS, **_added_commands()}.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _added_commands() -> dict[str, ModuleType]:
    """The commands that other packages add; one whose package is not installed is left out."""
    found = {}
    for entry in entry_points(group=GROUP):
        with suppress(ModuleNotFoundError):
            found[entry.name] = entry.load()
    return found
