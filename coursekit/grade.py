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
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import nbformat

from coursekit.build import chapters, title_of
from coursekit.solutions import exercise_of, solutions
from rarft.system.errors import InputError
from rarft.system.files import write_text
from rarft.system.progress import progress

HIDDEN = 1000  # added to the seeds of a check when answers are graded
_ASIDE = ("__MACOSX",)  # folders that unpacking leaves, besides hidden ones such as .ipynb_checkpoints
_NUMBER = re.compile(r"\d\d(?=_)")
_SHOWN = 10  # file names in a message


@dataclass(frozen=True)
class Mark:
    """One result of a student.

    student: empty for files that lie in no student's folder.
    chapter, exercise: number and function; empty where the result is that of files.
    result: of an exercise "passed", "wrong", "not written", "missing" (the function is gone) or "stopped" (time,
        memory, exit); of files "unreadable" (no notebook), "left out" (another copy of a chapter, or no chapter), or
        "not found" (no chapter at all).
    """

    student: str
    chapter: str
    exercise: str
    result: str
    message: str


@dataclass(frozen=True)
class Copy:
    """A notebook of a chapter that a student handed in.

    answers: from `answers_of`; None if the notebook cannot be read.
    error: why it cannot be read.
    """

    path: Path
    chapter: Path
    answers: dict[str, str | None] | None
    error: str = ""

    @property
    def rank(self) -> tuple[int, float, str]:
        """A sort key: the graded copy has the most written answers; of several such copies, it was changed last."""
        return self.written, self.path.stat().st_mtime, self.path.name

    @property
    def written(self) -> int:
        """The number of exercises that have an answer; -1 if the notebook cannot be read."""
        if self.answers is None:
            return -1
        return sum(answer is not None and exercise_of(answer) != name for name, answer in self.answers.items())


def grade(folder: Path, out: Path, *, seconds: float, gigabytes: float) -> list[Mark]:
    """Grade the chapters in each student's folder; write marks.csv and a page for each student. Returns the marks.

    A chapter is a notebook anywhere below `folder/STUDENT` whose name holds the chapter's ("Copy of
    04_format_reward.ipynb") or begins with its number ("04_ada.ipynb"). Of several copies of a chapter, the one with
    the most written answers is graded; of several such copies, the latest. A student without a chapter, and files that
    are not graded, have a mark that says so.

    Args:
        folder: with a folder for each student.
        out: where marks.csv and the pages are written.
        seconds: wall-clock time for each answer.
        gigabytes: memory for all answers of a chapter.

    Raises:
        InputError: where no student has a folder, or a limit is not above zero.
    """
    if seconds <= 0 or gigabytes <= 0:
        raise InputError(f"limits above zero are needed, not {seconds:g} s and {gigabytes:g} GB")
    students, loose = _handed_in(folder, out)
    marks = [Mark("", "", "", "left out", f"not in a folder of a student: {_names(loose, folder)}")] if loose else []
    for student in progress(students, desc="students"):
        marks += _grade_student(student, seconds, gigabytes)
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Mark)])
    writer.writeheader()
    writer.writerows(map(asdict, marks))
    write_text(out / "marks.csv", table.getvalue())
    for student in students:
        own = [mark for mark in marks if mark.student == student.name]
        write_text(out / f"{student.name}.html", page_of(student.name, own))
    return marks


def _handed_in(folder: Path, out: Path) -> tuple[list[Path], list[Path]]:
    """The students' folders, and the notebooks and archives that are in none of them."""
    if not folder.is_dir():
        found = "the file" if folder.exists() else "nothing at"
        raise InputError(f"expected a folder with a folder for each student, got {found} {folder}")
    seen = [path for path in sorted(folder.iterdir()) if not _is_aside(path) and path.resolve() != out.resolve()]
    students = [path for path in seen if path.is_dir()]
    loose = [path for path in seen if path.suffix.lower() in (".ipynb", ".zip") and path not in students]
    if not students:
        found = f"; put each student's files into a folder of their own: {_names(loose, folder)}" if loose else ""
        raise InputError(f"{folder}: no STUDENT folder in it{found}")
    return students, loose


def _is_aside(path: Path) -> bool:
    return path.name in _ASIDE or path.name.startswith(".")


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and not _is_aside(path):
            yield from _files_below(path)
        elif path.is_file() and not _is_aside(path):
            yield path


def _names(paths: Sequence[Path], folder: Path) -> str:
    names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:_SHOWN])
    return names + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def chapter_of(name: str) -> Path | None:
    """The chapter that a file's name names: by the chapter's own name in it, or by a number at its start; None for any
    other name."""
    if not name.lower().endswith(".ipynb"):
        return None
    known = chapters()
    number = _NUMBER.match(name)
    return next(
        (chapter for chapter in known if chapter.stem.lower() in name.lower()),
        next((chapter for chapter in known if number and chapter.name.startswith(f"{number[0]}_")), None),
    )


def _grade_student(folder: Path, seconds: float, gigabytes: float) -> list[Mark]:
    """The marks of a student's chapters, and of the files that are not graded."""
    copies: dict[Path, list[Copy]] = {}
    others = []
    for path in _files_below(folder):
        chapter = chapter_of(path.name)
        if chapter is None:
            others.append(path)
        else:
            copies.setdefault(chapter, []).append(_copy(path, chapter))
    marks = []
    for chapter in sorted(copies):
        *rest, graded = sorted(copies[chapter], key=lambda copy: copy.rank)
        marks += _grade_chapter(folder.name, graded, seconds, gigabytes)
        marks += [_left_out(folder, copy, graded) for copy in reversed(rest)]
    if not copies:
        saw = _names(others, folder) or "no file"
        return [Mark(folder.name, "", "", "not found", f"no notebook of a chapter; found {saw}")]
    if others:
        marks.append(Mark(folder.name, "", "", "left out", f"no notebook of a chapter: {_names(others, folder)}"))
    return marks


def _copy(path: Path, chapter: Path) -> Copy:
    try:
        return Copy(path, chapter, answers_of(path, chapter))
    except InputError as error:
        return Copy(path, chapter, None, str(error))


def _left_out(folder: Path, copy: Copy, graded: Copy) -> Mark:
    reason = "fewer answers are written" if copy.written < graded.written else "it was changed earlier"
    message = f"{_names([copy.path], folder)}: {_names([graded.path], folder)} is graded in its place; {reason}"
    return Mark(folder.name, copy.chapter.name[:2], "", "left out", copy.error or message)


def answers_of(path: Path, chapter: Path) -> dict[str, str | None]:
    """The exercises of a chapter, each with the cell of a student's notebook that answers it; None where no cell
    defines the function. Raises InputError for a file that is not a notebook."""
    try:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # nbformat raises whatever its JSON and schema checks raise
        raise InputError(f"{path}: not a notebook: {str(error)[:500]}") from error
    return {
        name: next((cell for cell in reversed(cells) if f"def {name}(" in cell), None) for name in solutions(chapter)
    }


def _grade_chapter(student: str, copy: Copy, seconds: float, gigabytes: float) -> list[Mark]:
    number = copy.chapter.name[:2]
    if copy.answers is None:
        return [Mark(student, number, "", "unreadable", copy.error)]
    found: dict[str, tuple[str, str]] = {}
    waiting: dict[str, str] = {}
    for name, answer in copy.answers.items():
        if answer is None:
            found[name] = ("missing", f"no cell defines {name}")
        elif exercise_of(answer) == name:
            found[name] = ("not written", "")
        else:
            waiting[name] = answer
    while waiting:  # a process that is stopped is followed by another one, for the answers behind the one it died of
        done = run_answers(copy.chapter, waiting, seconds, gigabytes)
        found |= done
        waiting = {name: answer for name, answer in waiting.items() if name not in done}
        if waiting:
            stopped = next(iter(waiting))
            found[stopped] = ("stopped", f"after {seconds:.0f} s, or {gigabytes:g} GB, or by itself")
            del waiting[stopped]
    return [Mark(student, number, name, *found[name]) for name in copy.answers]


def passed(marks: Iterable[Mark]) -> str:
    """The share of the exercises of these marks that passed, in words."""
    results = [mark.result for mark in marks if mark.exercise]
    return f"{results.count('passed')} of {len(results)} exercises passed"


def run_answers(chapter: Path, answers: dict[str, str], seconds: float, gigabytes: float) -> dict[str, tuple[str, str]]:
    """The results of the answers, in order, up to the one that ended or outlasted the process."""
    task = {"chapter": str(chapter), "answers": answers, "seconds": seconds, "bytes": int(gigabytes * 1e9)}
    task["shift"] = HIDDEN
    try:
        done = subprocess.run(
            [sys.executable, "-m", "coursekit.grade"],
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
    """In the process of `run_answers`: check each answer, and print a line of JSON as soon as it is known."""
    from coursekit.exercises import Exercise

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
    """End this process after this time."""
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
    graded = [chapter for chapter in chapters() if any(mark.chapter == chapter.name[:2] for mark in marks)]
    listed = ", ".join(f"{chapter.name[:2]} {html.escape(title_of(chapter))}" for chapter in graded) or "none"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{_POLICY}<title>{html.escape(student)}</title>'
        "<style>body{font:16px system-ui;margin:2rem}td{border-bottom:1px solid #ddd;padding:.2rem .8rem;"
        "vertical-align:top}pre{margin:0;white-space:pre-wrap}</style>"
        f"<h1>{html.escape(student)}</h1><p>{passed(marks)}. Chapters: {listed}.</p>"
        f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table></html>"
    )


if __name__ == "__main__":
    _answer_here()
