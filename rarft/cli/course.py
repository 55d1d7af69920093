"""`rarft course`"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

HELP = "Build the course: run the chapters, write site, student edition, report."


def add_arguments(command: ArgumentParser) -> None:
    add = command.add_argument
    add("action", choices=("build",))
    add("--scale", default=os.environ.get("SCALE", "full"), choices=("full", "smoke"))
    add("--only", nargs="*", help="chapter numbers, e.g. 04 09")
    add("--fresh", action="store_true", help="run chapters again that ran already")


def run(options: Namespace) -> int:
    from rarft.course.build import build_course

    build_course(options.scale, options.only, options.fresh)
    return 0
