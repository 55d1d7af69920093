"""`rarft course`"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from coursekit.paths import BUILD
from rarft.cli.options import above_zero, at_least, output_folder, refuse
from rarft.system.errors import InputError
from rarft.system.files import only_writer

HELP = (
    "`build` runs the chapters and writes site, instructor edition and report; `instructor` writes the chapters with "
    "their solutions alone; `grade` checks what students handed in, the chapters below FOLDER/STUDENT."
)
SECONDS, GIGABYTES = 120.0, 8.0  # limits of `grade`
OF_A_BUILD = ("scale", "fresh", "jobs")


def add_arguments(command: ArgumentParser) -> None:
    """Declare the options."""
    add = command.add_argument
    add("action", choices=("build", "instructor", "grade"))
    add("folder", nargs="?", type=Path, help="grade: a folder for each student")
    add("--scale", choices=("full", "smoke"), help="build: SCALE in the environment by default, else full")
    add("--only", nargs="*", help="build, instructor: chapter numbers, e.g. 04 09")
    add(
        "--out", type=output_folder, help="instructor, grade: where to write; build/instructor, build/grades by default"
    )
    add("--fresh", action="store_true", help="build: run chapters again that ran already")
    add("--jobs", type=at_least(1), help="build: chapters that run at the same time; as many as cores by default")
    add("--seconds", type=above_zero, help=f"grade: time for each answer; {SECONDS:g} by default")
    add(
        "--gigabytes",
        type=above_zero,
        help=f"grade: memory for the answers of a chapter, {GIGABYTES:g} by default; build: memory for chapters that "
        "run at the same time, 6 by default, or what is free if that is less",
    )


def run(options: Namespace) -> int:
    """Build, write or grade. Returns the exit status."""
    if options.action == "grade":
        return _grade(options)
    if options.folder:
        raise InputError("a folder is for `course grade` only")
    refuse(options, ("seconds",), "for `course grade` only")
    if options.action == "instructor":
        refuse(options, (*OF_A_BUILD, "gigabytes"), "not for `course instructor`, which runs nothing")
        from coursekit.build import chapters
        from coursekit.solutions import write_instructor_edition

        folder = options.out or BUILD / "instructor"
        write_instructor_edition(chapters(options.only), folder)
        print(f"the chapters with solutions and their discussion: {folder}")
        return 0
    if options.out:
        raise InputError("--out: `course build` writes into build/")
    from coursekit.build import build_course

    with only_writer(BUILD / "course"):
        scale = options.scale or os.environ.get("SCALE", "full")
        build_course(scale, options.only, options.fresh, jobs=options.jobs, gigabytes=options.gigabytes)
    return 0


def _grade(options: Namespace) -> int:
    from coursekit.grade import grade, passed

    refuse(options, (*OF_A_BUILD, "only"), "not for `course grade`")
    if options.folder is None:
        raise InputError("grade: name the folder that has a folder for each student")
    out = options.out or BUILD / "grades"
    limits = {"seconds": options.seconds or SECONDS, "gigabytes": options.gigabytes or GIGABYTES}
    marks = grade(options.folder, out, **limits)
    for student in sorted({mark.student for mark in marks} - {""}):
        print(f"{student}: {passed(mark for mark in marks if mark.student == student)}")
    for mark in marks:
        if not mark.exercise:
            print(f"{mark.student or options.folder}, {mark.result}: {mark.message}")
    print(f"each answer, and a page for each student: {out}")
    return 0
