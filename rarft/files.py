"""Files are written beside their target and then renamed: a kill leaves the old file or the new one, never half."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BASE = Path(__file__).resolve().parent.parent / "data" / "base"  # the checkpoint that ships with the repository
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp")


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically, making the folder if needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, data: Any) -> Path:
    """Write indented JSON atomically."""
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def iter_json_lines(path: str | Path) -> Iterator[Any]:
    """The rows of a JSON Lines file that a run adds to, one by one; none if it is missing.

    A last line that a kill cut short is taken off the file, so that what is added next does not join it.
    """
    path = Path(path)
    if not path.exists():
        return
    with open(path, "rb+") as file:
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(whole)
                return
            whole += len(line)
            yield json.loads(line)


def read_json_lines(path: str | Path) -> list[Any]:
    """All of `iter_json_lines`."""
    return list(iter_json_lines(path))


def lines_of(path: str | Path) -> list[str]:
    """The lines of a text file without their ends. Unlike `str.splitlines` it does not cut at U+2028, U+0085 and their
    like, which JSON strings may hold as they are."""
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]
