"""The student edition: the same notebooks, solutions replaced by stubs, outputs cleared.

A solution stands between the lines `# solution` and `# end of solution`, indented as its function body is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat

from rarft.course.check import STUB
from rarft.files import write_text

SOLUTION = re.compile(r"^([ \t]*)# solution\n(.*?)^[ \t]*# end of solution$", re.MULTILINE | re.DOTALL)


def without_solutions(source: str) -> str:
    """A cell's source with each solution replaced by `raise NotImplementedError`."""
    return SOLUTION.sub(rf'\1raise NotImplementedError("{STUB}")', source)


def solution_of(notebook: Path, name: str) -> str | None:
    """The cell of a notebook that solves an exercise, given the name of its function; None if there is none."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and f"def {name}(" in cell.source and SOLUTION.search(cell.source):
            return cell.source
    return None


def student_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook with solutions out, as it will lie in `folder`: links to files beside the originals still lead there.

    Cells with a solution are shown even where the original folds them.
    """
    notebook = nbformat.read(path, as_version=4)
    up = Path(os.path.relpath(path.parent, folder)).as_posix()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", f"]({up}/../")
        if cell.cell_type != "code":
            continue
        if SOLUTION.search(cell.source):
            cell.source = without_solutions(cell.source)
            cell.metadata.get("jupyter", {}).pop("source_hidden", None)
        cell.outputs, cell.execution_count = [], None
    return notebook


def write_student_edition(sources: list[Path], folder: Path) -> None:
    """Write the student edition of each notebook into a folder."""
    for path in sources:
        write_text(folder / path.name, nbformat.writes(student_notebook(path, folder)))
