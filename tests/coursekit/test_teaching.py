"""What the plans for instructors say about the chapters is what the chapters say."""

import re

import nbformat
import pytest

from coursekit import ROOT
from coursekit.build import chapters
from coursekit.solutions import solutions

TEACHING = ROOT / "notebooks" / "teaching"
PLANS = (TEACHING / "plans.md").read_text()


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_the_table_of_minutes_is_that_of_the_exercises(path):
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    minutes = [int(n) for n in re.findall(r"^### Exercise \d+ \(\w+, (\d+) minutes\)", text, re.MULTILINE)]
    assert f"\n| {path.name[:2]} | {len(minutes)} | {sum(minutes)} |\n" in PLANS


def test_the_exercises_that_the_plan_keeps_exist():
    named = set(re.findall(r"`(\w+)`", PLANS.partition("## A workshop")[2].partition("What goes wrong")[0]))
    assert named <= {name for path in chapters() for name in solutions(path)}


def test_every_chapter_has_three_questions():
    parts = re.split(r"^## (\d\d) ", (TEACHING / "questions.md").read_text(), flags=re.MULTILINE)[1:]
    assert {number: text.count("\n- **") for number, text in zip(parts[::2], parts[1::2], strict=True)} == {
        path.name[:2]: 3 for path in chapters()
    }


def test_links_lead_somewhere():
    for page in TEACHING.glob("*.md"):
        assert all((TEACHING / link).exists() for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()))
