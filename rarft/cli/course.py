"""`rarft course`"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.errors import InputError

HELP = (
    "`build` runs the chapters and writes site, student edition and report; `student` writes the student edition alone."
)


def add_arguments(command: ArgumentParser) -> None:
    add = command.add_argument
    add("action", choices=("build", "student"))
    add("--scale", default=os.environ.get("SCALE", "full"), choices=("full", "smoke"))
    add("--only", nargs="*", help="chapter numbers, e.g. 04 09")
    add("--out", type=Path, help="student: folder of the notebooks; build/student by default")
    add("--fresh", action="store_true", help="run chapters again that ran already")


def run(options: Namespace) -> int:
    if options.action == "student":
        from rarft.course.build import BUILD, chapters
        from rarft.course.student import write_student_edition

        folder = options.out or BUILD / "student"
        write_student_edition(chapters(options.only), folder)
        print(f"the chapters without solutions: {folder}")
        return 0
    if options.out:
        raise InputError("--out: `course build` writes into build/")
    from rarft.course.build import build_course

    build_course(options.scale, options.only, options.fresh)
    return 0
