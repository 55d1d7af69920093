"""Where a data set's videos are on this disk."""

from __future__ import annotations

from pathlib import Path

from rarft.files import VIDEO_SUFFIXES


def find_video(folder: str | Path, name: str) -> Path | None:
    """A data set's video under `folder`: as written, or by base name (released paths are of the authors' disk); an id
    without an ending is tried with those of videos. None if there is no such file."""
    names = (name, Path(name).name, *(Path(name).name + suffix for suffix in VIDEO_SUFFIXES))
    return next((path for path in (Path(folder) / name for name in names) if path.exists()), None)
