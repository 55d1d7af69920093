"""The chapters hold what they promise: parts, exercises whose solutions pass and whose stubs fail, one set of pins."""

import html
import json
import re
import shutil

import nbformat
import pytest
import torch
import yaml
from bs4 import BeautifulSoup
from packaging.requirements import Requirement

from rarft.course import ROOT, check_equal
from rarft.course.build import chapters, run_chapter, title_of
from rarft.course.check import CheckFailedError
from rarft.course.site import GLOSSARY, meaning_of, write_site
from rarft.course.solutions import BEGIN, exercise_of, solutions, solved_notebook, write_instructor_edition
from rarft.plots import described

CHAPTERS = chapters()
RENAMED = {"pytorch-cpu": "torch"}


def cells(path, kind):
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def test_thirteen_chapters_in_order():
    assert [path.name[:2] for path in CHAPTERS] == [f"{n:02d}" for n in range(13)]


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
    monkeypatch.setattr("rarft.course.check.chapter", "01")
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


def test_paths_and_commands_in_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    pinned = dict(re.findall(r"^(TORCH|TORCHVISION) := (\S+)$", makefile, re.MULTILINE))
    assert f"pip install {pinned['TORCH']} {pinned['TORCHVISION']} " in (ROOT / "TROUBLESHOOTING.md").read_text()
    for target in re.findall(r"`make (\w+)", text):
        assert f"\n{target}:" in makefile, target


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of three chapters that were not run."""
    folder = tmp_path_factory.mktemp("site")
    executed = folder / "executed"
    executed.mkdir()
    rows = {}
    for path in (CHAPTERS[0], CHAPTERS[7], CHAPTERS[8]):
        shutil.copy(path, executed)
        rows[path.name[:2]] = {"title": title_of(path), "minutes": 0.1}
    write_site(executed, folder / "site", {"chapters": rows, "scale": "smoke", "machine": "a <machine>"})
    return {path.stem: path.read_text(encoding="utf-8") for path in (folder / "site").glob("*.html")}


def test_the_site_has_the_glossary_that_chapters_link_to(site):
    index, chapter, words = site["index"], site[CHAPTERS[0].stem], site["glossary"]
    assert 'href="glossary.html"' in index and "a &lt;machine&gt;" in index
    assert 'href="glossary.html"' in chapter and "README.md" not in chapter
    assert "<td>zero-variance group</td>" in words and "Licence" not in words


def test_a_word_of_the_glossary_shows_its_meaning(site):
    chapter = site[CHAPTERS[0].stem]
    assert re.search(r'<a href="glossary.html" title="finding the segment[^"]+">grounds</a>', chapter)
    readme = (ROOT / "README.md").read_text().partition("## Glossary")[2]
    words = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", readme, re.MULTILINE))
    linked = {
        text.strip("`")
        for path in CHAPTERS
        for text in re.findall(rf"\[([^\]]+)\]\({re.escape(GLOSSARY)}\)", "\n".join(cells(path, "markdown")))
    }
    assert {text for text in linked if meaning_of(text, words) is None} == {"glossary"}
    assert meaning_of("irrelevant", words) == words["relevant, irrelevant query"]
    assert meaning_of("hard-irrelevant", words) == words["hard-irrelevant"]


def test_pages_follow_the_readers_theme_and_width(site):
    for name, page in site.items():
        assert "prefers-color-scheme:dark" in page and 'name="viewport"' in page, name


def test_the_site_asks_nothing_of_a_network(site):
    for name, page in site.items():
        fetched = re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!data:)([^"']+)""", page)
        assert not [address for address in fetched if "//" in address], name


def test_a_widget_of_the_site_is_its_saved_picture(tmp_path):
    """Its own code would be fetched from a network."""
    models = {
        "box": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_picture"]}},
        "picture": {
            "model_name": "ImageModel",
            "state": {},
            "buffers": [{"path": ["value"], "encoding": "base64", "data": "UE5H"}],
        },
    }
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}, "text/plain": "VBox()"}
    cell = nbformat.v4.new_code_cell("player", outputs=[nbformat.v4.new_output("display_data", view)])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 00 · Start"), cell])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": models}}
    nbformat.write(notebook, tmp_path / "00_start.ipynb")
    rows = {"00": {"title": "Start", "minutes": 0.1}}
    write_site(tmp_path, tmp_path / "site", {"chapters": rows, "scale": "smoke", "machine": "one"})
    page = (tmp_path / "site" / "00_start.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,UE5H"' in page and "unpkg" not in page


def test_solutions_are_folded_below_their_checks(tmp_path):
    source = next(p for p in CHAPTERS if p.name.startswith("05"))
    nbformat.write(solved_notebook(source), tmp_path / source.name)
    rows = {"05": {"title": title_of(source), "minutes": 0.1}}
    write_site(tmp_path, tmp_path / "site", {"chapters": rows, "scale": "smoke", "machine": "one"})
    page = BeautifulSoup((tmp_path / "site" / f"{source.stem}.html").read_text(encoding="utf-8"), "html.parser")
    assert page.get_text().count("your turn") == len(solutions(source))
    folded = [part for part in page.find_all("details") if part.find("summary").get_text() == "Solution"]
    assert len(folded) == len(solutions(source)) and "return 1 - p > p * q" in page.get_text()
    assert all(part.find("pre") for part in folded), "the code of a solution is shown as code"


def test_formulae_of_the_site_are_mathml(site):
    page = site[CHAPTERS[8].stem]
    assert page.count("<math") > 20 and '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in page
    text = BeautifulSoup(re.sub(r"<math.*?</math>", "", page, flags=re.DOTALL), "html.parser").get_text()
    assert "FORMULA" not in text and "\\nabla" not in text and "$$" not in text


def test_pages_lead_to_their_neighbours_by_title_and_the_index_to_every_section(site):
    middle = site[CHAPTERS[7].stem]
    assert f'<a href="{CHAPTERS[0].stem}.html">← Start here</a>' in middle
    assert f'<a href="{CHAPTERS[8].stem}.html">GRPO from first principles →</a>' in middle
    assert "08 · GRPO from first principles" in site["index"]
    for page, anchor in re.findall(r'href="([^"#]+)#([^"]+)"', site["index"]):
        assert f'id="{html.unescape(anchor)}"' in html.unescape(site[page.removesuffix(".html")]), (page, anchor)


def test_the_index_searches_the_text_of_sections(site):
    data = json.loads(re.search(r"const SECTIONS = (\[.*?\]);\n", site["index"], re.DOTALL)[1])
    assert [s["title"] for s in data if "finite differences" in s["text"]]
    assert all(s["href"].split("#")[0].removesuffix(".html") in site for s in data)
