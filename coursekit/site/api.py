"""The library's reference, from its docstrings: one page a module, with search, made by pdoc."""

from __future__ import annotations

import warnings
from pathlib import Path

import pdoc
import pdoc.render

import rarft


def write_api(folder: Path) -> Path:
    """Write the pages of `rarft` and all below it. Returns the index's path."""
    pdoc.render.configure(docformat="google", footer_text=f"rarft {rarft.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of annotations that only type checkers can resolve
        pdoc.pdoc("rarft", output_directory=folder)
    return folder / "rarft.html"
