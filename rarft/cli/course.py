"""`rarft course`"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.errors import InputError

HELP = (
    "`build` runs the chapters and writes site, instructor edition and report; `instructor` writes the chapters with "
    "their solutions alone."
)


def add_arguments(command: ArgumentParser) -> None:
    add = command.add_argument
    add("action", choices=("build", "instructor"))
    add("--scale", default=os.environ.get("SCALE", "full"), choices=("full", "smoke"))
    add("--only", nargs="*", help="chapter numbers, e.g. 04 09")
    add("--out", type=Path, help="instructor: folder of the notebooks; build/instructor by default")
    add("--fresh", action="store_true", help="run chapters again that ran already")


def run(options: Namespace) -> int:
    if options.action == "instructor":
        from rarft.course.build import BUILD, chapters
        from rarft.course.solutions import write_instructor_edition

        folder = options.out or BUILD / "instructor"
        write_instructor_edition(chapters(options.only), folder)
        print(f"the chapters with solutions and their discussion: {folder}")
        return 0
    if options.out:
        raise InputError("--out: `course build` writes into build/")
    from rarft.course.build import build_course

    build_course(options.scale, options.only, options.fresh)
    return 0
