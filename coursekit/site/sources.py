"""Executed chapters → what Sphinx reads: solutions folded, widgets as pictures, words with their meaning."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from coursekit.paths import ROOT
from coursekit.solutions import with_folded_solutions
from rarft.system.files import read_text, write_text

GLOSSARY = "../README.md#glossary"  # what chapters link to where a word is new
# Blank lines around what is folded, or Markdown takes it for HTML.
_FOLDED = re.compile(r"(</summary>)(?=\S)(.*?)(</details>)")
CLAIM_MARK = re.compile(r" <!-- claim:([\w-]+) -->")  # after a sentence that tests/coursekit/claims checks
PAPERMILL = "injected-parameters"  # the tag of a cell that repeats the one above it


def glossary() -> dict[str, str]:
    """The words of README's glossary with their meaning."""
    table = read_text(ROOT / "README.md").partition("## Glossary\n")[2]
    words = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    return {word: meaning for word, meaning in words if word != "word"}


def glossary_page(words: dict[str, str]) -> str:
    """The glossary in MyST, which gives each word an address."""
    entries = "\n\n".join(f"{word}\n  {meaning}" for word, meaning in words.items())
    return f"# Glossary\n\n```{{glossary}}\n{entries}\n```\n"


def write_chapter(path: Path, to: Path, words: dict[str, str]) -> None:
    """Write an executed chapter as Sphinx reads it."""
    notebook = with_folded_solutions(nbformat.read(path, as_version=4))
    _freeze_widgets(notebook)
    notebook.cells = [cell for cell in notebook.cells if PAPERMILL not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = CLAIM_MARK.sub("", cell.source)
            cell.source = _with_meanings(_FOLDED.sub(r"\1\n\n\2\n\n\3", text), words)
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "text/markdown" in data:
                data["text/markdown"] = _without_tags(data["text/markdown"])
    write_text(to, nbformat.writes(notebook))


_CODE_OR_TAG = re.compile(r"(`+)[^`].*?\1|<", re.DOTALL)


def _without_tags(text: str) -> str:
    """Markdown in which nothing is a tag: it may quote what a model said."""
    return _CODE_OR_TAG.sub(lambda found: "&lt;" if found[0] == "<" else found[0], text)


def _with_meanings(text: str, words: dict[str, str]) -> str:
    """Links to the glossary lead to its page, and show what the word means under the mouse."""

    def link(match: re.Match) -> str:
        meaning = (meaning_of(match[1], words) or "").replace('"', "'")
        return f'[{match[1]}](glossary.md "{meaning}")' if meaning else f"[{match[1]}](glossary.md)"

    return re.sub(rf"\[([^\]]+)\]\({re.escape(GLOSSARY)}\)", link, text)


def meaning_of(text: str, words: dict[str, str]) -> str | None:
    """The glossary's entry for a word in any of its forms: `grounds` for `grounding`; None if it has none."""

    def stems(phrase: str) -> list[str]:
        return [word.replace("_", "-")[:5] for word in re.findall(r"[\w@-]+", phrase.lower())]

    wanted = stems(text)
    return next((meaning for word, meaning in words.items() if wanted and wanted[-1] in stems(word)), None)


def _freeze_widgets(notebook: NotebookNode) -> None:
    """Show the pictures of each widget as they were saved: its own code would have to come from a network."""
    saved = notebook.metadata.pop("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})

    def pictures(model: str) -> list[str]:
        state = saved[model]
        found = [buffer["data"] for buffer in state.get("buffers", []) if state["model_name"] == "ImageModel"]
        inner = [child.removeprefix("IPY_MODEL_") for child in state["state"].get("children", [])]
        return found + [picture for child in inner for picture in pictures(child)]

    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json")
        if view:
            images = [
                f'<img alt="The widget at its start; it moves in JupyterLab" src="data:image/png;base64,{picture}">'
                for picture in pictures(view["model_id"])
            ]
            output["data"] = {"text/html": "".join(images)}
