"""Grading: each answer gets its mark, and code that hangs, exits or eats memory takes no other answer with it."""

import csv

import nbformat
import pytest

from rarft.cli import main
from rarft.course import ROOT, checking
from rarft.course.checking import Exercise
from rarft.course.grade import grade
from rarft.course.solutions import exercise_of, solutions
from rarft.errors import InputError

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


def test_what_cannot_be_graded_is_named(tmp_path, capsys):
    limits = {"seconds": 20, "gigabytes": 8}
    with pytest.raises(InputError, match="above zero"):
        grade(tmp_path, tmp_path / "out", **{**limits, "seconds": 0})
    with pytest.raises(InputError, match="no STUDENT"):
        grade(tmp_path, tmp_path / "out", **limits)
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / CHAPTER.name).write_text("not JSON")
    with pytest.raises(InputError, match="not a notebook"):
        grade(tmp_path, tmp_path / "out", **limits)
    (tmp_path / "ada" / CHAPTER.name).rename(tmp_path / "ada" / "77_other.ipynb")
    with pytest.raises(SystemExit, match="1"):
        main(["course", "grade", str(tmp_path)])
    assert "no chapter 77" in capsys.readouterr().err


def test_an_answer_that_knows_the_shown_cases_by_heart_is_wrong(tmp_path):
    """It answers what chapter 05 asks about `grounding` from a table, and else with nothing."""
    exercise, seen = Exercise(CHAPTER, "grounding"), []
    solution = solutions(CHAPTER)["grounding"].code
    spy = f"{solution}\n\nfrom rarft.course import checking\n_right = grounding\n\n" + (
        "def grounding(*case):\n    checking.seen.append((case, _right(*case)))\n    return _right(*case)\n"
    )
    checking.seen = seen
    exercise.check(spy)
    del checking.seen
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
