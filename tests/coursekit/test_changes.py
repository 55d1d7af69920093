"""A build runs what has changed, says why, and leaves the rest alone."""

import json
import shutil

import nbformat
import pytest

from coursekit import ROOT, build, changes, notebook
from coursekit.build import build_course, chapters, run_chapters
from coursekit.changes import closure, dependencies, imported_modules, needed_chapters, reason
from rarft.system.errors import ChapterError

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def files(code):
    return {str(path.relative_to(ROOT)) for path in closure(imported_modules(code))}


def test_a_chapter_depends_on_what_it_imports_and_on_nothing_else():
    assert "rarft/metrics.py" in files("from rarft import metrics")
    names = ("__init__", "system/__init__", "system/torchvision", "system/errors", "schema")
    assert files("from rarft.schema import Span") == {f"rarft/{name}.py" for name in names}
    rewards = files("def late():\n    from rarft.rewards import REWARDS")
    assert {"rarft/rewards/robust.py", "rarft/rewards/encoder.py", "rarft/reading/segments.py"} <= rewards, (
        "imports of imports"
    )
    assert "rarft/system/upstream/of_transformers.py" in rewards, "imports inside functions"
    assert not any("training" in name or "hivtg" in name for name in rewards)
    assert "rarft/evaluation/page.html" in files("from rarft.evaluation.page import write_page")
    assert "rarft/hivtg/edit.txt" in files("from rarft.hivtg.editors import LLMEditor")


def test_a_command_is_a_dependency_and_other_commands_are_not():
    chapter = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell('run([python, "-m", "rarft", "infer", "--json"])')]
    )
    path = ROOT / "build" / "tests" / "00_infer.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(chapter, path)
    names = dependencies(path, "full", {})
    assert "rarft/cli/infer.py" in names and "rarft/asking/questions.py" in names
    assert "rarft/hivtg/lint.py" not in names and "coursekit/build.py" not in names
    path.unlink()


def test_an_edit_of_the_linter_concerns_the_chapter_about_data_only():
    concerned = [path.name[:2] for path in chapters() if "rarft/hivtg/lint.py" in dependencies(path, "full", {})]
    assert concerned == ["03"]
    everywhere = [path.name[:2] for path in chapters() if "rarft/schema.py" in dependencies(path, "full", {})]
    assert len(everywhere) == len(chapters())


def test_results_of_an_earlier_chapter_and_measured_files_are_dependencies():
    by_number = {path.name[:2]: path for path in chapters()}
    assert needed_chapters(by_number["10"]) == needed_chapters(by_number["11"]) == ["09"]
    assert dependencies(by_number["10"], "full", {"09": "x", "08": "y"})["chapter 09"] == "x"
    assert "chapter 08" not in dependencies(by_number["10"], "full", {"09": "x", "08": "y"})
    assert "data/results/experiment.json" in dependencies(by_number["11"], "full", {})


def test_chapters_that_read_the_live_run_say_so():
    """What chapter 09 leaves in build/predictions and build/rarft is read by those that need it only."""
    for path in chapters():
        code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        if ('BUILD / "predictions"' in code or 'BUILD / "rarft"' in code) and path.name[:2] != "09":
            assert "09" in needed_chapters(path), path.name


@pytest.mark.parametrize(
    "before, now, why",
    [
        (None, {"a": "1"}, "it has not run yet"),
        ({"a": "1"}, {"a": "1"}, None),
        ({"a": "1", "b": "2"}, {"a": "2", "b": "2"}, "a changed"),
        ({"a": "1"}, {"b": "1"}, "b is new, a is gone"),
        ({"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "2", "c": "2"}, "a changed, b changed and 1 more"),
        ({"SCALE": "smoke", "a": "1"}, {"SCALE": "full", "a": "2"}, "SCALE was smoke"),
    ],
)
def test_the_reason_is_named(before, now, why):
    assert reason(before, now) == why


@pytest.fixture
def tiny_course(tmp_path, monkeypatch):
    """A course of two chapters of one cell, the second of which needs the first, built into a temporary folder."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, needs in (("00_first", []), ("01_second", ["00"])):
        cells = [nbformat.v4.new_code_cell('SCALE = "full"'), nbformat.v4.new_code_cell("print('ran')")]
        cells[0].metadata["tags"] = ["parameters"]
        chapter = nbformat.v4.new_notebook(cells=cells, metadata={**KERNEL, "rarft": {"needs": needs}})
        nbformat.write(chapter, folder / f"{name}.ipynb")
    for module in (build, notebook):
        monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    monkeypatch.setattr(build, "NOTEBOOKS", folder)
    monkeypatch.setattr(changes, "ROOT", tmp_path)
    yield folder
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def append(path, source):
    chapter = nbformat.read(path, as_version=4)
    chapter.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(chapter, path)


def test_a_build_runs_what_has_changed_and_says_why(tiny_course, capfd):
    build_course("smoke")
    first = capfd.readouterr()
    assert first.out.count("it has not run yet") == 2 and "encrypt" not in first.err
    run_chapters("smoke")
    run_chapters("smoke", only=["01"])
    assert capfd.readouterr().out.count("kept, nothing that it depends on has changed") == 3
    append(tiny_course / "01_second.ipynb", "print('more')")
    run_chapters("smoke")
    text = capfd.readouterr().out
    assert "00_first: kept" in text and "01_second … (notebooks/01_second.ipynb changed)" in text
    append(tiny_course / "00_first.ipynb", "print('more')")
    run_chapters("smoke")
    text = capfd.readouterr().out
    assert "00_first … (notebooks/00_first.ipynb changed)" in text and "01_second … (chapter 00 changed)" in text


def test_a_chapter_that_fails_runs_again(tiny_course, capfd):
    append(tiny_course / "01_second.ipynb", "1 / 0")
    for _ in range(2):
        with pytest.raises(ChapterError, match="ZeroDivisionError"):
            run_chapters("smoke")
    assert capfd.readouterr().out.count("01_second … (it has not run yet)") == 2
    stamps = sorted(path.name for path in (notebook.BUILD / "course").glob("*.json"))
    assert stamps == ["00_first.json"]
    assert "dependencies" in json.loads((notebook.BUILD / "course" / "00_first.json").read_text())
