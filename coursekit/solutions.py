"""Exercises and their solutions: a notebook has stubs, `notebooks/solutions/NN.md` what belongs there, discussed.

A chapter is built with its solutions in place of the stubs. The instructor edition has them between the markers of
nbgrader, so that it can make its own releases of it.
"""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from rarft.system.errors import InputError
from rarft.system.files import read_text, write_text

STUB = "your turn"  # what a function raises that is left to the reader
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_STUB_LINE = re.compile(rf'^( *)raise NotImplementedError\("{STUB}"\)$', re.MULTILINE)
_SOLUTION = re.compile(r"^## (\w+)\n+```python\n(.*?)\n```\n+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Solution:
    """The solution of an exercise.

    code: the whole function.
    discussion: in Markdown.
    """

    name: str
    code: str
    discussion: str

    @property
    def body(self) -> str:
        """The function's lines below its signature."""
        function = ast.parse(self.code).body[0]
        assert isinstance(function, ast.FunctionDef)
        return "\n".join(self.code.splitlines()[function.body[0].lineno - 1 :])


def solutions(notebook: Path) -> dict[str, Solution]:
    """The solutions of a chapter by the name of the function. Raises InputError where the file is missing."""
    text = read_text(notebook.parent / "solutions" / f"{notebook.name[:2]}.md")
    return {name: Solution(name, code, said.strip()) for name, code, said in _SOLUTION.findall(text)}


def exercise_of(source: str) -> str | None:
    """The function whose body a cell leaves to the reader, or None."""
    stub = _STUB_LINE.search(source)
    return re.findall(r"^def (\w+)\(", source[: stub.start()], re.MULTILINE)[-1] if stub else None


def solved_notebook(path: Path, *, markers: bool = False) -> NotebookNode:
    """A chapter with its solutions in. The metadata of such a cell keep its stub, and the discussion.

    Args:
        markers: put each solution between those of nbgrader.

    Raises:
        InputError: for an exercise without a solution.
    """
    notebook = nbformat.read(path, as_version=4)
    stubs = [cell for cell in notebook.cells if cell.cell_type == "code" and exercise_of(cell.source)]
    known = solutions(path) if stubs else {}
    for cell in stubs:
        name = exercise_of(cell.source)
        if name not in known:
            raise InputError(f"{path}: the exercise {name} has no solution in solutions/{path.name[:2]}.md")
        solution, stub = known[name], cell.source
        body = f"    {BEGIN}\n{solution.body}\n    {END}" if markers else solution.body
        cell.source = _STUB_LINE.sub(lambda _, body=body: body, stub)
        cell.metadata["rarft"] = {"stub": stub, "solution": solution.code, "discussion": solution.discussion}
    return notebook


def with_folded_solutions(notebook: NotebookNode) -> NotebookNode:
    """An executed chapter as it is read: stubs again, and each solution with its discussion folded below its check."""
    cells: list[NotebookNode] = []
    folded = None
    for cell in notebook.cells:
        kept = cell.metadata.get("rarft", {})
        if "stub" in kept:
            cell.source = kept["stub"]
            folded = _folded(kept)
        cells.append(cell)
        if folded and cell.cell_type == "code" and "stub" not in kept:
            cells.append(nbformat.v4.new_markdown_cell(folded))
            folded = None
    notebook.cells = cells
    return notebook


def _folded(kept: dict[str, str]) -> str:
    code = f"```python\n{kept['solution']}\n```"
    return f"<details><summary>Solution</summary>\n\n{code}\n\n{kept['discussion']}\n\n</details>"


def write_instructor_edition(sources: list[Path], folder: Path) -> None:
    """Write each chapter with its solutions, between markers, and a cell with the discussion after each."""
    for path in sources:
        notebook = solved_notebook(path, markers=True)
        up = Path(os.path.relpath(path.parent, folder)).as_posix()
        cells: list[NotebookNode] = []
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = cell.source.replace("](../", f"]({up}/../")
            kept = cell.metadata.pop("rarft", {})
            cells.append(cell)
            if kept:
                cells.append(nbformat.v4.new_markdown_cell(f"**Discussion.** {kept['discussion']}"))
        notebook.cells = cells
        write_text(folder / path.name, nbformat.writes(notebook))
