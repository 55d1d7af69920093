"""`rarft doctor`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "Check this machine and say how to fix what is missing."


def add_arguments(command: ArgumentParser) -> None:
    pass


def run(options: Namespace) -> int:
    from coursekit.doctor import doctor

    return 0 if doctor() else 1
