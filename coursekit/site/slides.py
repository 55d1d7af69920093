"""Executed chapters → slides for a lecture: what each section says first, its formulae, figures, and questions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from coursekit.site.policy import set_policy
from coursekit.site.sources import CLAIM_MARK
from coursekit.site.sphinx import run_sphinx
from rarft.system.files import write_text

_SENTENCES = re.compile(r"(?<=[.?!:])\s+(?=[A-Z`*$])")
_STATEMENT = re.compile(r"^(?:[-*]|\d+\.) \*\*(.+?)\*\*", re.MULTILINE)
_DISPLAY = re.compile(r"^\$\$.+?\$\$$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"<img [^>]+>")
_QUESTION = re.compile(r"^\*\*\d+\.\*\* (.+?)$(.*?)(?=^\*\*\d+\.|\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
SENTENCES = 2  # of a section, on its slide


def write_slides(executed: Path, folder: Path, report: Mapping[str, Any]) -> Path:
    """Make slides of all executed chapters of a report, a file each. Returns their index's path.

    Raises InputError with Sphinx's own words if it makes no pages.
    """
    chapters = [path for path in sorted(executed.glob("*.ipynb")) if path.name[:2] in report["chapters"]]
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place)
        for path in chapters:
            write_text(sources / f"{path.stem}.md", "\n\n".join(slides(nbformat.read(path, as_version=4))) + "\n")
        names = [path.stem for path in chapters]
        listed = "\n".join(f"- [](<{name}.md>)" for name in names)
        tree = "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])
        write_text(sources / "index.md", f"# Learning to Refuse\n\n## Slides\n\n{listed}\n\n{tree}\n")
        run_sphinx("revealjs", sources, folder)
    set_policy(folder)
    return folder / "index.html"


def slides(notebook: NotebookNode) -> Iterator[str]:
    """The Markdown of a chapter's slides: a heading of the second level for each section, of the third below it."""
    section = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=#{1,3} )", _CODE.sub("", CLAIM_MARK.sub("", cell.source)), flags=re.MULTILINE):
                heading, _, text = part.partition("\n")
                if heading.startswith("## "):
                    section = heading.removeprefix("## ")
                yield from _slide(heading, text) if heading.startswith("#") else _statements(section, part)
        elif section:
            for number, picture in enumerate(_pictures(cell)):
                title = section if number == 0 else f"{section} ({number + 1})"
                yield f"### {title}\n\n```{{raw}} html\n{picture}\n```"


def _slide(heading: str, text: str) -> Iterator[str]:
    if heading == "## Check yourself":
        yield heading
        for question, answers in _QUESTION.findall(text):
            options = re.findall(r"<summary>(.+?)</summary>", answers)
            yield "\n".join(["### Question", "", _plain(question), "", *(f"- {_plain(option)}" for option in options)])
        return
    prose = [block for block in text.split("\n\n") if block.strip() and not block.startswith(("<", "|", "- ", "1. "))]
    first = " ".join(_SENTENCES.split(" ".join(_DISPLAY.sub("", "".join(prose[:1])).split()))[:SENTENCES])
    yield "\n\n".join([heading, *filter(None, [_plain(first)]), *_DISPLAY.findall(text)])
    yield from _statements(heading.lstrip("# "), text)


def _statements(section: str, text: str) -> Iterator[str]:
    """What a list of a section says in bold, on a slide of its own."""
    found = _STATEMENT.findall(text)
    if found and section:
        yield "\n".join([f"### {section}", "", *(f"- {_plain(statement)}" for statement in found)])


def _pictures(cell: NotebookNode) -> list[str]:
    texts = ["".join(output.get("data", {}).get("text/html", "")) for output in cell.get("outputs", [])]
    return [picture for text in texts for picture in _PICTURE.findall(text)]


def _plain(text: str) -> str:
    """Links lead nowhere on a slide."""
    return _LINK.sub(r"\1", text)
