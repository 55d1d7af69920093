"""The site: formulae, glossary, folded solutions and widgets without a network, on pages of Sphinx.

What the pages have to say is read from their sources: the notebooks, README and the glossary in it.
"""

import base64
import hashlib
import io
import json
import re
import shutil
from contextlib import redirect_stderr

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from coursekit import ROOT
from coursekit.build import chapters, title_of
from coursekit.site import OTHER_PAGES, write_site
from coursekit.site.policy import set_policy
from coursekit.site.slides import slides, write_slides
from coursekit.site.sources import CLAIM_MARK, GLOSSARY, glossary, meaning_of, write_chapter
from coursekit.solutions import STUB, solutions, solved_notebook

CHAPTERS = chapters()
SHOWN = [CHAPTERS[n] for n in (0, 5, 8)]
GLANCE, REFERENCE = OTHER_PAGES
AROUND = {
    "troubleshooting": ROOT / "TROUBLESHOOTING.md",
    **{f"teaching/{path.stem}": path for path in (ROOT / "notebooks" / "teaching").glob("*.md")},
}
GLOSSARY_LINK = re.compile(rf"\[([^\]]+)\]\({re.escape(GLOSSARY)}\)")


def prose(path):
    """The text cells of a chapter."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def headings(path, level):
    """The headings of a chapter, as Sphinx sets them: without marks of Markdown, with a curled apostrophe."""
    return [
        text.replace("`", "").replace("'", "’")
        for text in re.findall(rf"^{'#' * level} (.+)$", prose(path), re.MULTILINE)
    ]


def formulae(path):
    """The formulae of a chapter between dollar signs, in its prose."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", prose(path), flags=re.DOTALL)
    return [inner for pair in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", text, re.DOTALL) for inner in pair if inner]


def report(paths):
    rows = {path.name[:2]: {"title": title_of(path), "minutes": 0.1} for path in paths}
    return {"chapters": rows, "scale": "smoke", "machine": "a <machine>"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a site of three chapters with solutions that were not run."""
    folder = tmp_path_factory.mktemp("site")
    for path in SHOWN:
        nbformat.write(solved_notebook(path), folder / path.name)
    (folder / "site").mkdir()
    (folder / "site" / GLANCE).write_text("made before")
    with redirect_stderr(io.StringIO()) as warnings:
        write_site(folder, folder / "site", report(SHOWN))
    assert warnings.getvalue() == ""
    return folder / "site"


def page(site, name):
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_the_index_leads_to_chapters_and_to_what_lies_around_them(site):
    index = page(site, "index")
    places = index.select("article a[href], nav.bd-links a[href]")
    links = {link["href"]: link.get_text(" ", strip=True) for link in places}
    for path in SHOWN:
        assert links[f"{path.stem}.html"] == f"{path.name[:2]} · {title_of(path)}"
    assert links[GLANCE] == OTHER_PAGES[GLANCE] and REFERENCE not in links, "only what lies there is linked"
    for name, path in AROUND.items():
        assert links[f"{name}.html"] == path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert "glossary.html" in links and report(SHOWN)["machine"] in index.get_text()
    [packed] = [target for target in links if target.endswith(".zip")]
    assert (site / packed).exists()


def test_pages_lead_to_their_neighbours_by_title(site):
    middle = page(site, SHOWN[1].stem)
    before, after = middle.select_one(".prev-next-area .left-prev"), middle.select_one(".prev-next-area .right-next")
    assert (before["href"], after["href"]) == (f"{SHOWN[0].stem}.html", f"{SHOWN[2].stem}.html")
    assert title_of(SHOWN[0]) in before.get_text() and title_of(SHOWN[2]) in after.get_text()


def test_text_and_headings_can_be_searched(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for path in SHOWN:
        assert all(json.dumps(heading).strip('"') in index for heading in headings(path, 2)), path.name
    # The index has the stems of words; of a word that is its own stem, the word.
    words = {word for word in re.findall(r"[a-z]{5,}", prose(SHOWN[2])) if word in index}
    assert len(words) > 100


def test_the_site_asks_nothing_of_a_network(site):
    for path in site.rglob("*.html"):
        fetched = re.findall(
            r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!data:)([^"']+)""", path.read_text(encoding="utf-8")
        )
        assert not [address for address in fetched if "//" in address], path.name


def test_formulae_are_mathml(site):
    for shown in SHOWN:
        found, written = page(site, shown.stem).select_one("article"), formulae(shown)
        drawn = found.find_all("math")
        assert len(drawn) >= len(written)
        displayed = [formula for formula in written if f"$${formula}$$" in prose(shown)]
        assert len([formula for formula in drawn if formula.get("display") == "block"]) == len(displayed)
        for part in found.find_all(["math", "pre", "code"]):
            part.decompose()
        assert not [formula for formula in written if "\\" in formula and formula in found.get_text()]
        assert "$" not in found.get_text(), shown.name
    assert len(formulae(SHOWN[2])) > 20


def test_every_page_has_a_policy_that_lets_its_templates_scripts_run_and_no_others(site, tmp_path):
    for path in site.glob("*.html"):
        if path.name != GLANCE:
            made = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            [policy] = made.find_all("meta", {"http-equiv": "Content-Security-Policy"})
            inline = [script for script in made.find_all("script", src=False)]
            assert inline and policy["content"].count("'sha256-") == len(inline)
            assert "'unsafe-inline'" not in policy["content"].partition("style-src")[0]
    before = '<!doctype html><meta charset="utf-8"><script>"</b>" + 1</script>'
    inside = "<article><div><script>2</script></div><article></article><script>3</script></article>"
    slide = '<div class="reveal x"><div></div><script>4</script></div><script>5</script>'
    (tmp_path / "a.html").write_text(before + inside + slide)
    for _ in range(2):  # a page keeps one policy
        set_policy(tmp_path)
    text = (tmp_path / "a.html").read_text()
    digests = [
        base64.b64encode(hashlib.sha256(script).digest()).decode() for script in (b'"</b>" + 1', b"2", b"3", b"4", b"5")
    ]
    assert [f"sha256-{digest}" in text for digest in digests] == [True, False, False, False, True]
    assert text.count("Content-Security-Policy") == 1


def test_what_is_no_formula_stays_a_text_and_a_formula_makes_no_tags(tmp_path):
    prose = "# 01 · A chapter\n\nIt costs $\\frac{$ now, or $\\text{<img/src=x>}$ and $a < b$."
    table = "| said |\n|---|\n| <b>bold</b> `a < b` |"
    cell = v4.new_code_cell("1", outputs=[v4.new_output("display_data", {"text/markdown": table})])
    python = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    cells = [v4.new_markdown_cell(prose), cell]
    nbformat.write(v4.new_notebook(cells=cells, metadata=python), tmp_path / SHOWN[0].name)
    with redirect_stderr(io.StringIO()) as warnings:
        write_site(tmp_path, tmp_path / "site", report(SHOWN[:1]))
    assert "not a formula: \\frac{" in warnings.getvalue()
    shown = page(tmp_path / "site", SHOWN[0].stem).select_one("article")
    assert not shown.find_all(["img", "b"])
    text = shown.get_text()
    assert all(part in text for part in ("\\frac{", "<img/src=x>", "a<b", "<b>bold</b>", "a < b"))


def test_a_word_of_the_glossary_shows_its_meaning(site):
    words = glossary()
    terms = page(site, "glossary").find_all("dt")
    assert [term.get_text().removesuffix("#") for term in terms] == list(words)
    for path in SHOWN:
        links = page(site, path.stem).select('article a[href="glossary.html"]')
        expected = [(text.strip("`"), meaning_of(text, words)) for text in GLOSSARY_LINK.findall(prose(path))]
        assert expected and [link.get_text() for link in links] == [text for text, _ in expected]
        for link, (_, meaning) in zip(links, expected, strict=True):
            assert link.get("title") == (meaning.replace('"', "'") if meaning else None)


def test_every_linked_word_of_a_chapter_is_in_the_glossary():
    linked = {text.strip("`") for path in CHAPTERS for text in GLOSSARY_LINK.findall(prose(path))}
    assert {text for text in linked if meaning_of(text, glossary()) is None} == {"glossary"}


def test_a_word_is_found_in_any_of_its_forms():
    words = {"grounding": "a", "relevant, irrelevant query": "b", "hard-irrelevant": "c", "RA-IoU, RT-IoU": "d"}
    for text, meaning in {
        "grounds": "a",
        "irrelevant": "b",
        "hard-irrelevant": "c",
        "`RT-IoU`": "d",
        "video": None,
    }.items():
        assert meaning_of(text, words) == meaning, text


def test_solutions_are_folded_below_their_checks(site):
    found, known = page(site, SHOWN[1].stem), solutions(SHOWN[1])
    assert found.get_text().count(STUB) == len(known)
    folded = [part for part in found.find_all("details") if part.find("summary").get_text() == "Solution"]
    shown = {part.find("pre").get_text().strip() for part in folded}
    assert len(folded) == len(known) and shown == {solution.code.strip() for solution in known.values()}


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
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": models}}
    nbformat.write(notebook, tmp_path / "00_start.ipynb")
    write_chapter(tmp_path / "00_start.ipynb", tmp_path / "source.ipynb", {})
    source = nbformat.read(tmp_path / "source.ipynb", as_version=4)
    assert 'src="data:image/png;base64,UE5H"' in source.cells[0].outputs[0]["data"]["text/html"]
    assert "widgets" not in source.metadata


def test_a_link_that_leads_nowhere_is_said(tmp_path, capsys):
    cell = nbformat.v4.new_markdown_cell("# 00 · Start\n\n[gone](chapter_13.md)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "00_start.ipynb")
    rows = {"chapters": {"00": {"title": "Start", "minutes": 0.1}}, "scale": "smoke", "machine": "one"}
    assert write_site(tmp_path, tmp_path / "site", rows).exists()
    assert "00_start.ipynb" in (said := capsys.readouterr().err) and "chapter_13.md" in said


def test_all_of_the_notebooks_can_be_taken_along(site, tmp_path):
    (packed,) = (site / "_downloads").rglob("notebooks.zip")
    shutil.unpack_archive(packed, tmp_path)
    taken = {path.name for path in (tmp_path / "notebooks").glob("*.ipynb")}
    assert taken == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert not any((tmp_path / "notebooks").rglob("solutions"))


def test_slides_have_sections_formulae_and_questions(tmp_path):
    source = CHAPTERS[8]
    nbformat.write(nbformat.read(source, as_version=4), tmp_path / source.name)
    index = write_slides(tmp_path, tmp_path / "slides", report([source]))
    assert f"{source.stem}.html" in index.read_text(encoding="utf-8")
    shown = BeautifulSoup((index.parent / f"{source.stem}.html").read_text(encoding="utf-8"), "html.parser")
    titles = [heading.get_text().rstrip("#") for heading in shown.select("section > h2")]
    assert titles == headings(source, 2)
    questions = re.findall(r"^\*\*\d+\.\*\* ", prose(source), re.MULTILINE)
    assert questions and len(
        [h for h in shown.select("section > h3") if h.get_text().rstrip("#") == "Question"]
    ) == len(questions)
    assert shown.find_all("math", display="block")
    assert "raise NotImplementedError" not in shown.get_text() and "Solution" not in shown.get_text()


def test_the_marks_of_claims_are_on_no_page_and_no_slide(tmp_path):
    marked = [path for path in CHAPTERS if CLAIM_MARK.search(prose(path))]
    assert marked
    for path in marked:
        write_chapter(path, tmp_path / path.name, glossary())
        assert "claim:" in path.read_text(encoding="utf-8")
        assert "claim:" not in (tmp_path / path.name).read_text(encoding="utf-8")
        assert not [slide for slide in slides(nbformat.read(path, as_version=4)) if "claim:" in slide]


def test_a_figure_is_a_slide_of_its_section():
    cells = [
        nbformat.v4.new_markdown_cell(
            "# 00 · Start\n\n## What comes out\nThis. And that. No more.\n\n- **Look.** It is small."
        )
    ]
    picture = {"text/html": '<img alt="a plot" src="data:image/png;base64,UE5H">'}
    cells.append(nbformat.v4.new_code_cell("show()", outputs=[nbformat.v4.new_output("display_data", picture)]))
    made = list(slides(nbformat.v4.new_notebook(cells=cells)))
    assert made[1] == "## What comes out\n\nThis. And that." and made[2] == "### What comes out\n\n- Look."
    assert made[3].startswith('### What comes out\n\n```{raw} html\n<img alt="a plot"')
