"""Grade what students hand in: a folder for each student with the chapters that they worked in.

The answers of a chapter run in a process of their own, with limits on time and memory: student code may hang, eat
memory or end the interpreter. What it does to files is not held back: grade on a machine where that does no harm.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import nbformat

from rarft.course.build import NOTEBOOKS, title_of
from rarft.course.solutions import exercise_of, solutions
from rarft.errors import InputError
from rarft.files import write_text
from rarft.progress import progress

HIDDEN = 1000  # added to the seeds of a check when answers are graded


@dataclass(frozen=True)
class Mark:
    """result: "passed", "wrong", "not written", "missing" (the function is gone) or "stopped" (time, memory, exit)."""

    student: str
    chapter: str
    exercise: str
    result: str
    message: str


def grade(folder: Path, out: Path, *, seconds: float, gigabytes: float) -> list[Mark]:
    """Grade every `STUDENT/NN_*.ipynb` below a folder; write marks.csv and a page for each student. Returns the marks.

    Args: seconds: wall-clock time for each answer. gigabytes: memory for all answers of a chapter.

    Raises InputError where there is nothing to grade, a notebook is none of the course's chapters, or a limit is not
    above zero.
    """
    if seconds <= 0 or gigabytes <= 0:
        raise InputError(f"limits above zero are needed, not {seconds:g} s and {gigabytes:g} GB")
    handed_in = sorted(folder.glob("*/[0-9][0-9]_*.ipynb"))
    if not handed_in:
        raise InputError(f"{folder}: no STUDENT/NN_chapter.ipynb in it")
    marks: list[Mark] = []
    for path in progress(handed_in, desc="chapters"):
        marks += _grade_chapter(path, seconds, gigabytes)
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Mark)])
    writer.writeheader()
    writer.writerows(map(asdict, marks))
    write_text(out / "marks.csv", table.getvalue())
    for student in sorted({mark.student for mark in marks}):
        write_text(out / f"{student}.html", page_of(student, [mark for mark in marks if mark.student == student]))
    return marks


def answers_of(path: Path, chapter: Path) -> dict[str, str | None]:
    """The exercises of a chapter, each with the cell of a student's notebook that answers it; None where no cell
    defines the function. Raises InputError for a file that is no notebook."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises whatever its JSON and schema checks raise
        raise InputError(f"{path}: not a notebook: {error}") from error
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return {
        name: next((cell for cell in reversed(cells) if f"def {name}(" in cell), None) for name in solutions(chapter)
    }


def _grade_chapter(path: Path, seconds: float, gigabytes: float) -> list[Mark]:
    chapter = next(NOTEBOOKS.glob(f"{path.name[:2]}_*.ipynb"), None)
    if chapter is None:
        raise InputError(f"{path}: no chapter {path.name[:2]} in this course")
    found: dict[str, tuple[str, str]] = {}
    waiting: dict[str, str] = {}
    answers = answers_of(path, chapter)
    for name, answer in answers.items():
        if answer is None:
            found[name] = ("missing", f"no cell defines {name}")
        elif exercise_of(answer) == name:
            found[name] = ("not written", "")
        else:
            waiting[name] = answer
    while waiting:  # a process that is stopped is followed by another one, for the answers behind the one it died of
        done = _run_answers(chapter, waiting, seconds, gigabytes)
        found |= done
        waiting = {name: answer for name, answer in waiting.items() if name not in done}
        if waiting:
            stopped = next(iter(waiting))
            found[stopped] = ("stopped", f"after {seconds:.0f} s, or {gigabytes:g} GB, or by itself")
            del waiting[stopped]
    return [Mark(path.parent.name, path.name[:2], name, *found[name]) for name in answers]


def _run_answers(
    chapter: Path, answers: dict[str, str], seconds: float, gigabytes: float
) -> dict[str, tuple[str, str]]:
    """The results of the answers, in order, up to the one that ended or outlasted the process."""
    task = {"chapter": str(chapter), "answers": answers, "seconds": seconds, "bytes": int(gigabytes * 1e9)}
    task["shift"] = HIDDEN
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rarft.course.grade"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=seconds * (len(answers) + 1),
            check=False,
        )
        said = done.stdout
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout.decode() if isinstance(expired.stdout, bytes) else expired.stdout or ""
    return {name: (result, message) for name, result, message in map(json.loads, said.splitlines())}


def _answer_here() -> None:
    """In the process of `_run_answers`: check each answer, and print a line of JSON as soon as it is known."""
    from rarft.course.checking import Exercise

    task = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the answers, or programs that they start, print is not taken for a result
    _limit(task["bytes"])
    for name, answer in task["answers"].items():
        _alarm(task["seconds"])
        result, message = "passed", ""
        with redirect_stdout(io.StringIO()):
            try:
                exercise = Exercise(Path(task["chapter"]), name)
                exercise.check(answer)
                message = "on cases that the chapter does not show: "
                exercise.check(answer, shift=task["shift"])
                message = ""
            except AssertionError as wrong:
                result, message = "wrong", f"{message}{wrong}"
            except Exception as error:  # whatever student code raises is an answer that does not pass
                result, message = "wrong", f"{message}{type(error).__name__}: {error}"
        print(json.dumps([name, result, message[:2000]]), file=out, flush=True)


def _limit(size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _alarm(seconds: float) -> None:
    """End this process after so many seconds."""
    import signal

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


_POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def page_of(student: str, marks: list[Mark]) -> str:
    """The page of a student's marks."""
    rows = []
    for mark in marks:
        cells = (mark.chapter, mark.exercise, mark.result, mark.message)
        rows.append("".join(f"<td><pre>{html.escape(cell)}</pre></td>" for cell in cells))
    passed = sum(mark.result == "passed" for mark in marks)
    titles = {mark.chapter: title_of(next(NOTEBOOKS.glob(f"{mark.chapter}_*.ipynb"))) for mark in marks}
    listed = ", ".join(f"{number} {html.escape(title)}" for number, title in titles.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{_POLICY}<title>{html.escape(student)}</title>'
        "<style>body{font:16px system-ui;margin:2rem}td{border-bottom:1px solid #ddd;padding:.2rem .8rem;"
        "vertical-align:top}pre{margin:0;white-space:pre-wrap}</style>"
        f"<h1>{html.escape(student)}</h1><p>{passed} of {len(marks)} exercises passed. Chapters: {listed}.</p>"
        f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table></html>"
    )


if __name__ == "__main__":
    _answer_here()
