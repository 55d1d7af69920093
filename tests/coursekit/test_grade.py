"""Grading: each answer gets its mark, and code that hangs, exits or eats memory takes no other answer with it."""

import csv
import os

import nbformat
import pytest

from coursekit import ROOT, exercises
from coursekit.exercises import Exercise
from coursekit.grade import grade
from coursekit.solutions import exercise_of, solutions
from rarft.cli import main
from rarft.system.errors import InputError

CHAPTER = next((ROOT / "notebooks").glob("05_*.ipynb"))
BODIES = {  # of the answers of one student
    "to_seconds": "    return 60.0",
    "verdict": "    raise SystemExit",
    "should_refuse": "    while True:\n        pass",
    "refuse_iou": "    import os\n    os.system('echo from outside')\n    return len(bytearray(12 * 10**9))",
}


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    for student in ("ada", "bob & co"):
        notebook = nbformat.read(CHAPTER, as_version=4)
        for cell in notebook.cells:
            name = exercise_of(cell.source) if cell.cell_type == "code" else None
            if name in BODIES and student != "ada":
                cell.source = cell.source.replace('    raise NotImplementedError("your turn")', BODIES[name])
            elif name in ("grounding", "to_seconds"):
                cell.source = f"{cell.source}\n\n\n{solutions(CHAPTER)[name].code}"
                cell.source = cell.source.replace('    raise NotImplementedError("your turn")', "    pass")
        (folder / student).mkdir()
        nbformat.write(notebook, folder / student / CHAPTER.name)
    return folder


def test_each_answer_gets_its_mark(handed_in, tmp_path):
    marks = {(mark.student, mark.exercise): mark for mark in grade(handed_in, tmp_path, seconds=10, gigabytes=8)}
    result = {key: mark.result for key, mark in marks.items()}
    assert result["ada", "grounding"] == result["ada", "to_seconds"] == "passed"
    assert result["ada", "verdict"] == "not written"
    assert result["bob & co", "grounding"] == "passed"
    assert result["bob & co", "to_seconds"] == "wrong" and "12.5" in marks["bob & co", "to_seconds"].message
    assert result["bob & co", "verdict"] == result["bob & co", "should_refuse"] == "stopped"
    assert "MemoryError" in marks["bob & co", "refuse_iou"].message
    rows = list(csv.DictReader((tmp_path / "marks.csv").open(encoding="utf-8")))
    assert len(rows) == len(marks) == 2 * len(solutions(CHAPTER))
    page = (tmp_path / "bob & co.html").read_text(encoding="utf-8")
    assert "<h1>bob &amp; co</h1>" in page and f"1 of {len(solutions(CHAPTER))} exercises passed" in page


LIMITS = {"seconds": 20, "gigabytes": 8}


def test_what_cannot_be_graded_at_all_is_named(tmp_path):
    with pytest.raises(InputError, match="above zero"):
        grade(tmp_path, tmp_path / "out", **{**LIMITS, "seconds": 0})
    with pytest.raises(InputError, match="no STUDENT"):
        grade(tmp_path, tmp_path / "out", **LIMITS)
    (tmp_path / CHAPTER.name).write_text("loose")
    with pytest.raises(InputError, match=f"no STUDENT folder in it.*{CHAPTER.name}"):
        grade(tmp_path, tmp_path / "out", **LIMITS)
    with pytest.raises(InputError, match="expected a folder with a folder for each student"):
        grade(tmp_path / CHAPTER.name, tmp_path / "out", **LIMITS)


@pytest.fixture
def blank(monkeypatch):
    """The text of the chapter with as many answers written as asked for; the answers are not run."""
    monkeypatch.setattr("coursekit.grade.run_answers", lambda chapter, answers, *_: dict.fromkeys(answers, DONE))

    def text(written=0):
        notebook = nbformat.read(CHAPTER, as_version=4)
        stubs = [cell for cell in notebook.cells if cell.cell_type == "code" and exercise_of(cell.source)]
        for cell in stubs[:written]:
            cell.source = cell.source.replace('    raise NotImplementedError("your turn")', "    return 1")
        return nbformat.writes(notebook)

    return text


DONE = ("passed", "")
COPIES = (  # files of a student, each with its answers written (or its text) and when it was changed; which is graded
    ({CHAPTER.name: (1, 1)}, CHAPTER.name),
    ({f"Copy of {CHAPTER.name}": (1, 1)}, f"Copy of {CHAPTER.name}"),
    ({f"week 3/handed in/{CHAPTER.name}": (1, 1)}, f"week 3/handed in/{CHAPTER.name}"),
    ({"05_ada.ipynb": (1, 1)}, "05_ada.ipynb"),
    ({f"{CHAPTER.stem}-Copy1.IPYNB": (1, 1)}, f"{CHAPTER.stem}-Copy1.IPYNB"),
    ({CHAPTER.name: (2, 1), f"{CHAPTER.stem} (1).ipynb": (1, 2)}, CHAPTER.name),
    ({CHAPTER.name: (1, 1), f"{CHAPTER.stem} (1).ipynb": (2, 2)}, f"{CHAPTER.stem} (1).ipynb"),
    ({CHAPTER.name: (1, 1), f"{CHAPTER.stem} (1).ipynb": (1, 2)}, f"{CHAPTER.stem} (1).ipynb"),
    ({CHAPTER.name: (1, 2), f"old/{CHAPTER.name}": (1, 1)}, CHAPTER.name),
    ({CHAPTER.name: ("not JSON", 2), f"Copy of {CHAPTER.name}": (0, 1)}, f"Copy of {CHAPTER.name}"),
)


@pytest.mark.parametrize("files, graded", COPIES)
def test_a_chapter_is_graded_once_under_any_name_and_other_copies_are_named(files, graded, blank, tmp_path):
    for name, (written, changed) in files.items():
        path = tmp_path / "in" / "ada" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written if isinstance(written, str) else blank(written))
        os.utime(path, (changed, changed))
    marks = grade(tmp_path / "in", tmp_path / "out", **LIMITS)
    exercises = [mark for mark in marks if mark.exercise]
    assert [mark.exercise for mark in exercises] == list(solutions(CHAPTER)), "each exercise once"
    assert sum(mark.result == "passed" for mark in exercises) == files[graded][0]
    left = [mark for mark in marks if not mark.exercise]
    assert [(mark.result, mark.chapter) for mark in left] == [("left out", "05")] * (len(files) - 1)
    for mark, name in zip(left, (name for name in files if name != graded), strict=True):
        assert name in mark.message and (graded in mark.message or "not a notebook" in mark.message)


def test_everyone_is_listed_with_what_was_found(blank, tmp_path, capsys):
    files = {
        f"ada/{CHAPTER.name}": blank(1),
        "ada/notes.txt": "",
        "ada/Untitled.ipynb": blank(),
        f"ada/.ipynb_checkpoints/{CHAPTER.name}": blank(2),
        f"ada/._{CHAPTER.name}": "of a Mac",
        f"__MACOSX/ada/._{CHAPTER.name}": "of a Mac",
        "bob/homework.zip": "",
        "bob/77_other.ipynb": blank(),
        f"dan/{CHAPTER.name}": "not JSON",
        f"eve/{CHAPTER.name}": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"a": 1}]}',
        CHAPTER.name: blank(3),
        "fay.zip": "",
        "roster.csv": "",
    }
    for name, text in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    (tmp_path / "in" / "cyd").mkdir()
    with pytest.raises(SystemExit, match="0"):
        main(["course", "grade", str(tmp_path / "in"), "--out", str(tmp_path / "in" / "marks")])
    said = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "in" / "marks" / "marks.csv").open(encoding="utf-8")))
    found = {(row["student"], row["result"]): row["message"] for row in rows if not row["exercise"]}
    assert found.keys() == {
        ("", "left out"),
        ("ada", "left out"),
        ("bob", "not found"),
        ("cyd", "not found"),
        ("dan", "unreadable"),
        ("eve", "unreadable"),
    }
    assert f"{CHAPTER.name}, fay.zip" in found["", "left out"]
    assert found["ada", "left out"] == "no notebook of a chapter: Untitled.ipynb, notes.txt"
    assert found["bob", "not found"].endswith("found 77_other.ipynb, homework.zip")
    assert found["cyd", "not found"].endswith("found no file")
    assert all(message in said for message in found.values())
    assert f"ada: 1 of {len(solutions(CHAPTER))} exercises passed" in said and "cyd: 0 of 0" in said
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "in" / "marks").glob("*.html")}
    assert pages.keys() == {"ada", "bob", "cyd", "dan", "eve"} and "Chapters: none" in pages["cyd"]
    assert "Untitled.ipynb" in pages["ada"] and "Chapters: 05" in pages["ada"]


def test_an_answer_that_knows_the_shown_cases_by_heart_is_wrong(tmp_path):
    """It answers what chapter 05 asks about `grounding` from a table, and else with nothing."""
    exercise, seen = Exercise(CHAPTER, "grounding"), []
    solution = solutions(CHAPTER)["grounding"].code
    spy = f"{solution}\n\nfrom coursekit import exercises\n_right = grounding\n\n" + (
        "def grounding(*case):\n    exercises.seen.append((case, _right(*case)))\n    return _right(*case)\n"
    )
    exercises.seen = seen
    exercise.check(spy)
    del exercises.seen
    table = {
        tuple(tuple(map(float, c)) if isinstance(c, tuple) else c for c in case): float(value) for case, value in seen
    }
    learned = f"TABLE = {table!r}\n\n\ndef grounding(a, b, d):\n" + (
        "    return TABLE.get((tuple(map(float, a)), tuple(map(float, b)), d), 0.0)\n"
    )
    exercise.check(learned)
    notebook = nbformat.read(CHAPTER, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and exercise_of(cell.source) == "grounding":
            cell.source = learned
    (tmp_path / "eve").mkdir()
    nbformat.write(notebook, tmp_path / "eve" / CHAPTER.name)
    marks = {m.exercise: m for m in grade(tmp_path, tmp_path / "out", seconds=60, gigabytes=8)}
    assert marks["grounding"].result == "wrong"
    assert marks["grounding"].message.startswith("on cases that the chapter does not show: grounding(")


def test_an_answer_may_call_what_stands_above_it():
    """The solution of the last exercise of chapter 08 averages by itself; a reader calls the function of exercise 7."""
    answer = """
def compute_loss(now, old, reference, mask, advantage, kind, longest, epsilon, beta):
    ratio, advantage = (now - old).exp(), advantage[:, None]
    limited = ratio.clamp(1 - epsilon, 1 + epsilon)
    kl = kl_estimate(now, now if reference is None else reference)
    loss = clipped_loss(now, old, advantage, epsilon) + beta * kl
    clipped = ((limited * advantage < ratio * advantage) * mask).sum() / mask.sum()
    mean_kl = (kl * mask).sum() / mask.sum() if beta else 0.0
    return average(loss, mask, kind, longest), float(clipped), float(mean_kl)
"""
    Exercise(next(CHAPTER.parent.glob("08_*.ipynb")), "compute_loss").check(answer)
