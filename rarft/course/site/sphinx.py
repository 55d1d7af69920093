"""Sphinx, run on a folder of sources with the settings beside this file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from rarft.errors import InputError

SETTINGS = Path(__file__).parent  # of conf.py
EXTENSIONS = {
    "html": ["myst_nb", "rarft.course.site.mathml", "sphinx_copybutton"],
    "revealjs": ["myst_nb", "rarft.course.site.mathml", "sphinx_revealjs"],
}


def run_sphinx(builder: str, sources: Path, folder: Path) -> None:
    """Build a folder of sources. Raises InputError with Sphinx's own words if it warns of anything: a link that leads
    nowhere, say."""
    with tempfile.TemporaryDirectory() as doctrees:
        command = ["--builder", builder, "--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", str(SETTINGS)]
        command += ["--define", f"extensions={','.join(EXTENSIONS[builder])}"]
        made = subprocess.run(
            [sys.executable, "-m", "sphinx", *command, "--doctree-dir", doctrees, str(sources), str(folder)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    if made.returncode:
        raise InputError(f"{folder}: the pages have faults:\n{made.stderr}")
