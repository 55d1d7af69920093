"""Where the course lies in a clone of the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
NOTEBOOKS = ROOT / "notebooks"
