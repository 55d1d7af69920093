"""Sphinx, run on a folder of sources with the settings in this folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from rarft.system.errors import InputError

SETTINGS = Path(__file__).parent  # of conf.py
EXTENSIONS = {
    "html": ["myst_nb", "coursekit.site.mathml", "sphinx_copybutton"],
    "revealjs": ["myst_nb", "coursekit.site.mathml", "sphinx_revealjs"],
}


def run_sphinx(builder: str, sources: Path, folder: Path) -> None:
    """Build a folder of sources. Prints what Sphinx warns of, such as a link that leads nowhere.

    Raises InputError with Sphinx's own words if it makes no pages."""
    with tempfile.TemporaryDirectory() as doctrees:
        command = ["--builder", builder, "--quiet", "--conf-dir", str(SETTINGS)]
        command += ["--define", f"extensions={','.join(EXTENSIONS[builder])}"]
        made = subprocess.run(
            [sys.executable, "-m", "sphinx", *command, "--doctree-dir", doctrees, str(sources), str(folder)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    said = made.stderr.replace(f"{sources}/", "")
    if made.returncode:
        raise InputError(f"{folder}: Sphinx made no pages:\n{said}")
    if said:
        print(f"{folder.name}: {said}", file=sys.stderr)
