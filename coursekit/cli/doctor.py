"""`rarft doctor`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "Check this machine and say how to fix what is missing."


def add_arguments(command: ArgumentParser) -> None:
    """It has no options."""


def run(options: Namespace) -> int:
    """Look at all needs. Returns the exit status: 1 if something is missing."""
    from coursekit.doctor import doctor

    return 0 if doctor() else 1
