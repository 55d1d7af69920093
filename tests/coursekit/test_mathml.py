"""Formulae as MathML: those of the course are valid, without TeX; what is not a formula stays a text."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import pytest
from docutils import nodes

from coursekit import ROOT
from coursekit.build import chapters
from coursekit.site import mathml

SPACE = "{http://www.w3.org/1998/Math/MathML}"
ARITY = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "mroot": 2, "msubsup": 3, "munderover": 3}
ELEMENTS = {
    *ARITY,
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "mspace",
    "mstyle",
    "msqrt",
    "mtable",
    "mtr",
    "mtd",
    "mpadded",
}
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", re.DOTALL)


def formulae(text):
    """The formulae of a text in Markdown, each with whether it stands on lines of its own."""
    return [(block or inline, bool(block)) for block, inline in FORMULA.findall(NOT_PROSE.sub("", text))]


def markdown(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def written(formula, block):
    """What the extension writes for a formula."""
    translator = SimpleNamespace(body=[])
    node = nodes.math_block(formula, formula) if block else nodes.math(formula, formula)
    with pytest.raises(nodes.SkipNode):
        (mathml.display if block else mathml.inline)(translator, node)
    return "".join(translator.body)


TEXTS = [*chapters(), *sorted((ROOT / "notebooks").rglob("*.md"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_formulae_of_the_course_are_valid_and_hold_no_tex(path):
    for formula, block in formulae(markdown(path)):
        root = ElementTree.fromstring(written(formula, block))
        drawn = root.find(f"{SPACE}math") if block else root
        assert drawn.get("display") == ("block" if block else "inline"), formula
        for part in drawn.iter():
            name = part.tag.removeprefix(SPACE)
            assert name in ELEMENTS, (formula, name)
            assert len(part) == ARITY.get(name, len(part)), (formula, name)
            assert not re.search(r"[\\$]|&\w+;", part.text or ""), (formula, part.text)
            assert not (part.tail or "").strip(), (formula, part.tail)


def test_chapters_have_formulae_of_both_kinds():
    kinds = [block for path in chapters() for _, block in formulae(markdown(path))]
    assert kinds.count(True) > 10 and kinds.count(False) > 100


def test_a_fraction():
    drawn = ElementTree.fromstring(written(r"\frac{1}{q + 1}", False))
    [fraction] = drawn.iter(f"{SPACE}mfrac")
    assert ["".join(part.itertext()) for part in fraction] == ["1", "q+1"]


def test_what_is_no_formula_stays_a_text_with_a_warning(monkeypatch):
    warned = []
    monkeypatch.setattr(mathml.logger, "warning", lambda *values, **_: warned.append(values))
    assert written(r"<b> \frac{", False) == r"<code>&lt;b&gt; \frac{</code>"
    assert len(warned) == 1


def test_a_tag_in_a_text_is_no_tag():
    drawn = ElementTree.fromstring(written(r"a < \text{<b>}", False))
    assert "".join(drawn.itertext()) == "a<<b>"
    assert all(part.tag.startswith(SPACE) for part in drawn.iter())
