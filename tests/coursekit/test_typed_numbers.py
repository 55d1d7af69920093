"""Numbers in prose come from a run or a file: whatever looks measured in a chapter's text has to be on the list below.

Looked at are numbers with a decimal point and percentages. Exercises and quizzes set figures of their own, captions
have their number, and code, formulae and references are no prose.
"""

import json
import re

import pytest

from coursekit import ROOT

# chapter, number → why it may be typed: a definition, or the paper's
ALLOWED = {
    ("03", "0.5"): "AUROC of a guess",
    ("05", "0.8"): "the rule's own arithmetic, 1 / (1 + q) at q = 1/4",
    ("08", "0.01"): "an example of a small difference",
    ("10", "95 %"): "the level of the intervals",
    ("10", "0.5"): "what always refusing earns; a coin",
    ("11", "95 %"): "the level of the intervals",
    ("11", "5 %"): "the share of refusals that a limit is chosen for",
}
NUMBER = re.compile(r"(?<![\w.,])(\d+\.\d+(?: ?%)?|\d+ ?%)(?![\w.]*\d)")
NOT_PROSE = re.compile(
    r"```.*?```|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|\d{4}\.\d{5}|section [\d.]+|\*?Figure \d+\.\d+|<details>.*?</details>",
    re.DOTALL,
)


def typed(source):
    """Numbers in a text cell that look measured."""
    if re.match(r"### Exercise|## Check yourself", source):
        return []
    return [number.replace("\u202f", " ") for number in NUMBER.findall(NOT_PROSE.sub(" ", source))]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.name[:2]
)
def test_no_figure_is_typed_into_prose(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [
        (cell["id"], number)
        for cell in cells
        if cell["cell_type"] == "markdown"
        for number in typed("".join(cell["source"]))
        if (path.name[:2], number) not in ALLOWED
    ]
    assert not found, f"{path.name}: take these from a cell or from data/results: {found}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("F1 rose to 0.94, that is 12 % more.", ["0.94", "12 %"]),
        ("It took 14.1 minutes (seed 0).", ["14.1"]),
        ("`0.94` and $0.94$ and arXiv 2511.23151, *Figure 3.1: it.* in 3 steps, 8 answers", []),
        ("### Exercise 1\nReturn 0.5.", []),
    ],
)
def test_what_looks_measured(text, found):
    assert typed(text) == found
