"""Where a data set's videos are on this disk."""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp")
_SETTLED = 2 * 10**9  # nanoseconds after which the next change of a folder has a later time on any file system


def base_name(name: str | Path) -> str:
    """The last part of a path, of this system or of Windows: released paths are those of the authors' disk."""
    return re.split(r"[/\\]", str(name))[-1]


def video_id(name: str | Path) -> str:
    """The base name of a video without the ending of a video file: ids may hold dots (`x_60.0_210.0`)."""
    base = base_name(name)
    return os.path.splitext(base)[0] if _suffix(base) in VIDEO_SUFFIXES else base


def find_video(folder: str | Path, name: str) -> Path | None:
    """The file of a data set's video under `folder`; None if there is no such file. A folder is never returned.

    The name as written comes first, then its base name. Then come files with a video ending, in upper or lower case,
    whose name without that ending is the base name, with or without its own ending: `x.mp4` is found as `x.webm`. Of
    several such files, one that differs only in case is taken, else the one whose ending is first in `VIDEO_SUFFIXES`,
    else the first by name.
    """
    folder, portable = Path(folder), name.replace("\\", "/")
    written = [folder / name, folder / portable, folder / base_name(name)]
    exact = next((path for path in written if os.path.isfile(path)), None)
    if exact is not None:
        return exact
    for place in dict.fromkeys((written[1].parent, folder)):
        files = _video_files(place)
        for stem in (base_name(name), video_id(name)):
            if stem in files:
                return place / min(files[stem], key=lambda file: file.lower() != base_name(name).lower())
    return None


def _video_files(folder: Path) -> dict[str, list[str]]:
    """The videos of a folder by name without ending, in the order of `VIDEO_SUFFIXES`. The listing is kept while the
    folder does not change: a data set has thousands of ids."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return {}
    now = time.time_ns()
    return _listing(str(folder), changed if changed < now - _SETTLED else now)


@lru_cache(maxsize=4)
def _listing(folder: str, _changed: int) -> dict[str, list[str]]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _suffix(entry.name) in VIDEO_SUFFIXES and entry.is_file()]
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (VIDEO_SUFFIXES.index(_suffix(name)), name)):
        found.setdefault(os.path.splitext(name)[0], []).append(name)
    return found


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
