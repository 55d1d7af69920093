"""A build runs what has changed, says why, and leaves the rest alone."""

import ast
import json
import re
import shutil

import nbformat
import psutil
import pytest

from coursekit import ROOT, build, changes, notebook
from coursekit.build import build_course, chapters, run_chapters
from coursekit.changes import (
    chapter_code,
    closure,
    dependencies,
    imported_modules,
    needed_chapters,
    reason,
    uses_all_cores,
)
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


# What reads a path of build/, and so may run at the same time as others that do. `make_world` writes nothing where all
# of its clips exist: see tests/world/test_world.py.
READERS = {"VideoModel.load", "read_predictions", "make_world"}


def parents(tree):
    """The node around each node."""
    return {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}


def build_paths(tree):
    """Each `BUILD / "name" / …` of a chapter: the name, the whole expression, and the node around it."""
    around = parents(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "BUILD":
            first = path = around[node]
            assert isinstance(first, ast.BinOp) and isinstance(first.right, ast.Constant), ast.unparse(first)
            while isinstance(around[path], ast.BinOp):
                path = around[path]
            yield first.right.value, path, around[path]


def names_in_build(tree):
    """The names in build/ that a chapter uses, also as text: "build/rarft/model"."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    said = {match[1] for text in texts if (match := re.match(r"build/(\w+)", text))}
    return {name for name, _, _ in build_paths(tree)} | said


TREES = {path.name[:2]: ast.parse(chapter_code(path)) for path in chapters()}
OWNERS = {name: number for number, tree in reversed(TREES.items()) for name in names_in_build(tree)}


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_chapter_names_the_chapters_whose_files_it_reads(path):
    """The first chapter that names a folder of build/ makes it. The others need that chapter, and only read."""
    number, needs = path.name[:2], needed_chapters(path)
    tree = TREES[number]
    read = set(re.findall(r"\bresults\('(\d\d)'\)", ast.unparse(tree)))
    assert read | {OWNERS[name] for name in names_in_build(tree)} - {number} <= set(needs)
    assert all(need in TREES and need < number for need in needs)
    around = parents(tree)
    for name, _, user in build_paths(tree):
        users = [user]
        if isinstance(user, ast.Assign):  # path = BUILD / …
            block = around[user].body
            after = (node for later in block[block.index(user) + 1 :] for node in ast.walk(later))
            users = [around[n] for n in after if isinstance(n, ast.Name) and n.id == user.targets[0].id]
            assert users
        if OWNERS[name] != number:
            assert all(map(only_reads, users)), f"{name}: {list(map(ast.unparse, users))}"


def only_reads(node):
    """Whether a path that is directly in this node is only read."""
    if isinstance(node, ast.Attribute):
        return node.attr == "exists"
    return isinstance(node, ast.Call) and ast.unparse(node.func) in READERS


def test_the_world_of_chapter_09_is_asked_for_in_its_own_size():
    """So that `make_world` finds all of it, and writes nothing."""
    for scale in ("full", "smoke"):
        asked = {number: world_sizes(tree, scale) for number, tree in TREES.items()}
        assert len(asked["09"]) == 2
        for number, sizes in asked.items():
            assert sizes <= asked["09"], f"chapter {number}: {sizes}"
        assert sum(bool(sizes) for sizes in asked.values()) >= 5


def world_sizes(tree, scale):
    """Folder and number of clips of each `make_world(BUILD / "world" / …)` of a chapter."""
    calls = [(path, user.args[2]) for name, path, user in build_paths(tree) if name == "world"]
    known = {"SCALE": scale}
    for node in tree.body if calls else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.value).endswith("}[SCALE]"):
            exec(ast.unparse(node), {}, known)
    return {(ast.unparse(path), eval(ast.unparse(clips), {}, known)) for path, clips in calls}


def test_one_chapter_uses_all_cores():
    assert [path.name[:2] for path in chapters() if uses_all_cores(path)] == ["09"]


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
    """A course of three chapters of one cell, the second of which needs the first, built into a temporary folder."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, needs in (("00_first", []), ("01_second", ["00"]), ("02_third", [])):
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
    report = build_course("smoke", jobs=2)
    first = capfd.readouterr()
    assert first.out.count("it has not run yet") == 3 and "Kernel" not in first.err and "encrypt" not in first.err
    assert first.out.count(" of 3 done") == 3 and "2 of 3 done" in first.out
    assert report["minutes"] == sum(row["minutes"] for row in report["chapters"].values()) and report["jobs"] == 2
    assert f"course: {report['minutes']:.1f} min of chapters, run in {report['wall_minutes']:.1f} min" in first.out
    assert "Up to 2 chapters ran at the same time." in (notebook.BUILD / "site" / "index.html").read_text()
    run_chapters("smoke")
    run_chapters("smoke", only=["01"])
    assert capfd.readouterr().out.count("kept, nothing that it depends on has changed") == 4
    append(tiny_course / "01_second.ipynb", "print('more')")
    run_chapters("smoke", jobs=2)
    text = capfd.readouterr().out
    assert "00_first: kept" in text and "01_second … (notebooks/01_second.ipynb changed)" in text
    append(tiny_course / "00_first.ipynb", "print('more')")
    run_chapters("smoke", jobs=2)
    text = capfd.readouterr().out
    assert "00_first … (notebooks/00_first.ipynb changed)" in text and "01_second … (chapter 00 changed)" in text
    assert text.index("00_first: 0") < text.index("01_second …") and "02_third: kept" in text


def test_chapters_run_at_the_same_time(tiny_course, tmp_path):
    """Each waits for the other."""
    for mine, other in (("00_first", "02_third"), ("02_third", "00_first")):
        wait = f"while not Path({str(tmp_path / other)!r}).exists():\n    time.sleep(0.1)"
        append(
            tiny_course / f"{mine}.ipynb",
            f"import time\nfrom pathlib import Path\nPath({str(tmp_path / mine)!r}).touch()\n{wait}",
        )
    run_chapters("smoke", only=["00", "02"], jobs=2)


def test_a_chapter_that_fails_runs_again(tiny_course, capfd):
    append(tiny_course / "01_second.ipynb", "1 / 0")
    for _ in range(2):
        with pytest.raises(ChapterError, match="01_second.ipynb, cell 4: ZeroDivisionError"):
            run_chapters("smoke", only=["00", "01"])
    assert capfd.readouterr().out.count("01_second … (it has not run yet)") == 2
    stamps = sorted(path.name for path in (notebook.BUILD / "course").glob("*.json"))
    assert stamps == ["00_first.json"]
    assert "dependencies" in json.loads((notebook.BUILD / "course" / "00_first.json").read_text())


def test_a_failure_ends_the_chapters_that_run(tiny_course, capfd):
    before = psutil.Process().children(recursive=True)
    append(tiny_course / "00_first.ipynb", "1 / 0")
    append(tiny_course / "02_third.ipynb", "import time; time.sleep(600)")
    with pytest.raises(ChapterError, match="00_first.ipynb, cell 4"):
        run_chapters("smoke", jobs=2)
    assert "01_second" not in capfd.readouterr().out and not list((notebook.BUILD / "course").glob("*.json"))
    assert set(psutil.Process().children(recursive=True)) <= set(before)
