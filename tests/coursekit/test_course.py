"""The chapters hold what they promise: parts, exercises whose solutions pass and whose stubs fail, one set of pins."""

import json
import re

import nbformat
import pytest
import torch
import yaml
from packaging.requirements import Requirement

from coursekit import ROOT, check_equal
from coursekit.build import chapters
from coursekit.checks import CheckFailedError
from coursekit.execute import run_chapter
from coursekit.plots import described
from coursekit.site.sources import GLOSSARY
from coursekit.solutions import BEGIN, exercise_of, solutions, solved_notebook, write_instructor_edition

CHAPTERS = chapters()
RENAMED = {"pytorch-cpu": "torch"}


def cells(path, kind):
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def test_sixteen_chapters_in_order():
    assert [path.name[:2] for path in CHAPTERS] == [f"{n:02d}" for n in range(16)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_has_its_parts(path):
    notebook = nbformat.read(path, as_version=4)
    text, code = "\n".join(cells(path, "markdown")), cells(path, "code")
    assert text.startswith("# ") and "**You will be able to**" in text and "## Summary" in text
    assert [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])], "no parameters cell for papermill"
    assert not any(c.get("outputs") for c in notebook.cells if c.cell_type == "code"), "outputs are not committed"
    solved = sum(bool(exercise_of(source)) for source in code)
    assert solved >= (1 if path.name.startswith("00") else 2)
    exercises = len(re.findall(r"^### Exercise", text, re.MULTILINE))
    assert exercises >= solved and text.count("<summary>Hint</summary>") == exercises
    assert "**Further reading**" in text and GLOSSARY in text
    assert max(len(source.splitlines()) for source in code) <= 40
    for shown in (source for source in code if "show(" in source):
        assert "alt=" in shown or "watch.show()" in shown, shown


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_exercise_has_a_check_and_a_solution_with_a_discussion(path):
    code = cells(path, "code")
    known = solutions(path)
    asked = {exercise_of(source): position for position, source in enumerate(code) if exercise_of(source)}
    assert set(asked) == set(known)
    for name, position in asked.items():
        assert any(name in later for later in code[position + 1 :]), f"{name} is never checked"
        assert known[name].code.startswith(f"def {name}(") and len(known[name].discussion.split()) >= 60
    for cell in solved_notebook(path).cells:
        assert cell.cell_type != "code" or exercise_of(cell.source) is None
    for cell in nbformat.read(path, as_version=4).cells:
        assert ("exercise" in cell.metadata.get("tags", [])) == (exercise_of(cell.source) is not None), cell.source


def test_check_equal_tells_what_differs():
    def wrong(x):
        return x + (x == 3)

    def stub(x):
        raise NotImplementedError("your turn")

    check_equal(lambda x: x * 1.0, lambda x: x, [(1,), (2,)])
    with pytest.raises(AssertionError, match=r"wrong\(3\)\n  returned 4\n  expected 3"):
        check_equal(wrong, lambda x: x, [(1,), (3,)])
    with pytest.raises(AssertionError, match="not written yet"):
        check_equal(stub, lambda x: x, [(1,)])
    with pytest.raises(AssertionError):
        check_equal(lambda x: 1, lambda x: True, [(1,)])


def test_an_error_in_a_students_function_shows_its_case_and_line():
    def divides(x):
        return 1 / x

    def reads(text):
        return json.loads(text)

    with pytest.raises(CheckFailedError, match=r"divides\(0\)\n  raised ZeroDivisionError.*\n  in line \d+ of divides"):
        check_equal(divides, lambda x: x, [(1,), (0,)])
    with pytest.raises(CheckFailedError, match=r"in line \d+ of reads: return json.loads\(text\)"):
        check_equal(reads, lambda text: 1, [("not JSON",)])


def test_a_message_stays_short_whatever_the_arguments():
    rows = torch.zeros(40, 40)
    with pytest.raises(AssertionError) as caught:
        check_equal(lambda x, words: x, lambda x, words: x + 1, [(rows, ["word"] * 1000)])
    assert len(str(caught.value).splitlines()) == 3 and len(str(caught.value)) < 2000


def test_a_function_that_changes_its_arguments_is_compared_on_the_same_case():
    def clears(values):
        total = sum(values)
        values.clear()
        return total

    check_equal(clears, lambda v: sum(v), [([1, 2],)])
    with pytest.raises(CheckFailedError, match=r"\[1, 2\]"):
        check_equal(lambda v: clears(v) + 1, lambda v: clears(v), [([1, 2],)])


@pytest.mark.parametrize("chapter", ["01", "04", "05", "07"])
def test_an_untouched_chapter_runs_to_its_end_and_says_what_is_missing(chapter, tmp_path):
    source = next(p for p in CHAPTERS if p.name.startswith(chapter))
    made = tmp_path / "out.ipynb"
    run_chapter(nbformat.read(source, as_version=4), made, "smoke")
    said = "".join(
        output.get("text", "") for cell in nbformat.read(made, as_version=4).cells for output in cell.get("outputs", [])
    )
    exercises = len(solutions(source))
    assert exercises and said.count("not written yet; from here on the chapter's solution") == exercises


def test_a_solution_that_is_missing_from_a_chapter_is_an_error(monkeypatch):
    """Only a stub is replaced: a function that raises something else must not pass."""
    monkeypatch.setattr("coursekit.checks.chapter", "01")
    namespace = {}
    exec("def iou(a, b):\n    raise NotImplementedError('later')", namespace)
    with pytest.raises(CheckFailedError, match="iou: not written yet"):
        check_equal(namespace["iou"], lambda a, b: 1, [(1, 2)])


def test_numbers_become_words_for_an_alternative_text():
    said = described({"before": {"F1": 0.514, "n": 3}, "after": {"F1": 0.9, "n": 3}})
    assert said == "before: F1 0.51, n 3; after: F1 0.90, n 3"


def test_every_link_of_the_instructor_edition_leads_somewhere(tmp_path):
    folder = tmp_path / "deep" / "instructor"
    write_instructor_edition(CHAPTERS, folder)
    assert all(BEGIN in path.read_text() for path in folder.glob("*.ipynb"))
    links = {
        (path.parent / link.partition("#")[0])
        for path in folder.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        for link in re.findall(r"\]\(([^):]+)\)", cell.source if cell.cell_type == "markdown" else "")
    }
    assert links and all(target.exists() for target in links), [str(t) for t in links if not t.exists()]


def test_requirements_and_environment_agree():
    pip = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            need = Requirement(line)
            pip[need.name] = (str(need.specifier), str(need.marker or ""))
    conda = {}
    for entry in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]:
        for text in entry["pip"] if isinstance(entry, dict) else [entry]:
            need = Requirement(text)
            conda[RENAMED.get(need.name, need.name)] = (str(need.specifier), str(need.marker or ""))
    for name in ("python", "pip"):
        conda.pop(name)
    assert pip == conda
    lock = (ROOT / "requirements.lock").read_text()
    for name, (specifier, marker) in pip.items():
        pinned = re.search(rf"^{re.escape(name)}==(\S+)$", lock, re.MULTILINE | re.IGNORECASE)
        if not marker:
            assert pinned, f"{name} is not in requirements.lock"
            assert Requirement(f"{name}{specifier}").specifier.contains(pinned[1])
    versions = {line.partition(" ")[0] for line in lock.splitlines() if "==" in line}
    hashed = set(
        re.findall(r"^(\S+==\S+) \\\n    --hash=sha256:[0-9a-f]{64}", (ROOT / "requirements.hashes").read_text(), re.M)
    )
    assert versions - hashed == {version for version in versions if version.startswith("torch")} and hashed < versions
    licences = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", (ROOT / "THIRD_PARTY.md").read_text(), re.MULTILINE)
    assert {f"{name}=={version}" for name, version, licence in licences if licence.strip()} - {
        "package==version"
    } == versions


def test_paths_and_commands_in_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    pinned = dict(re.findall(r"^(TORCH|TORCHVISION) := (\S+)$", makefile, re.MULTILINE))
    assert f"pip install {pinned['TORCH']} {pinned['TORCHVISION']} " in (ROOT / "TROUBLESHOOTING.md").read_text()
    for target in re.findall(r"`make (\w+)", text):
        assert f"\n{target}:" in makefile, target
