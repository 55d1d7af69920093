"""Files are written beside their target and then renamed: a kill leaves the old file or the new one, never half."""

from __future__ import annotations

import getpass
import glob
import hashlib
import json
import logging
import math
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from filelock import FileLock, Timeout

from rarft.system.errors import InputError, MissingFileError

log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(*path: str) -> Path:
    """What ships with the repository; from a wheel, it lies inside the package."""
    places = (_PACKAGE.parent.joinpath(*path), _PACKAGE.joinpath(*path))
    return next((place for place in places if place.exists()), places[0])


BASE = _shipped("data", "base")
RECIPES = _shipped("recipes")
SAMPLES = _shipped("data", "samples")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp")


# In the names of temporary files: those of another machine that shares the folder are not ours to remove.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error.

    Makes the folder if needed. No two processes get the same path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def only_writer(path: str | Path) -> Iterator[None]:
    """Keep other processes of this machine from writing into the folder or file `path` until the block ends, or this
    process does, however it ends. The lock lies in the system's temporary folder: none is left beside `path`. Temporary
    files of a process of this machine that was killed while it wrote there are removed.

    Raises InputError if another process has it, or if `path` is neither.
    """
    path = Path(path).resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: neither a file nor a folder, but a pipe or a device")
    name = hashlib.sha256(f"{getpass.getuser()} {path}".encode(errors="surrogateescape")).hexdigest()
    lock = FileLock(Path(tempfile.gettempdir()) / f"rarft-{name[:32]}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"{path}: another process is writing there; wait for it, end it, or change --out") from error
    try:
        half = f"{_HOST}.*.part"
        for left in (
            path.rglob(f".*.{half}") if path.is_dir() else path.parent.glob(f".{glob.escape(path.name)}.{half}")
        ):
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically. An unpaired surrogate, which UTF-8 does not have, becomes its escape in JSON."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def open_to_append(path: str | Path) -> TextIO:
    """A UTF-8 file to add lines to, with `write_text`'s way with surrogates. Makes its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a", encoding="utf-8", errors="backslashreplace")


_NUMBERS = re.compile(r"\[\n\s+(?:[-+.\dEe]+|null)(?:,\n\s+(?:[-+.\dEe]+|null))*\n\s+\]")


def write_json(path: str | Path, data: Any) -> Path:
    """Write indented JSON atomically; a list of numbers takes one line."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return write_text(path, _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n")


def nan_as_null(data: Any) -> Any:
    """A copy for `write_json` in which a figure that had nothing to average, NaN, is null: JSON has no NaN, and only
    Python reads it."""
    if isinstance(data, Mapping):
        return {key: nan_as_null(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [nan_as_null(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """A UTF-8 text file, open to be read, with a byte order mark or without. Raises MissingFileError, or InputError for
    what is not a text file."""
    with _readable(path), open(path, encoding="utf-8-sig") as file:
        yield file


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a text file that can be read ({error})") from error


def read_text(path: str | Path) -> str:
    """All of `open_text`."""
    with open_text(path) as file:
        return file.read()


def parse_json(text: str, place: str) -> Any:
    """JSON text. Raises InputError, which begins with `place`, for what is none, is nested too deep, or has a number
    too long for Python's reader."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise InputError(f"{place}: not JSON ({line}column {error.colno}: {error.msg})") from error
    except RecursionError as error:
        raise InputError(f"{place}: JSON that is nested too deep to be read") from error
    except ValueError as error:
        raise InputError(f"{place}: JSON that cannot be read ({error})") from error


def read_json(path: str | Path) -> Any:
    """A JSON file. Raises MissingFileError, or InputError that names the line and the column."""
    return parse_json(read_text(path), str(path))


# One policy for every JSON Lines file. Each line is an object, and its reader checks its fields against a table. Blank
# lines are skipped. A damaged line, or a row of another shape, is an InputError that names file, line and field. No row
# is dropped or overwritten silently. The only exception is the end of a file that a run adds to (`resume`): a last line
# that a kill cut short is removed with a warning, and the run makes that row again.


class Field(NamedTuple):
    """What a row may hold under a name.

    expected: in words, for messages. fits: whether a value is allowed; a missing field counts as None.
    """

    expected: str
    fits: Callable[[Any], bool]


TEXT = Field("a text", lambda value: isinstance(value, str))
NAME = Field("a text that is not empty", lambda value: isinstance(value, str) and value.strip() != "")


def checked_row(row: Any, fields: Mapping[str, Field], place: str) -> dict[str, Any]:
    """The row, unchanged. Raises InputError, which begins with `place`, if it is not an object or a field does not
    fit."""
    if not isinstance(row, dict):
        names = f" with {', '.join(map(repr, fields))}" if fields else ""
        raise InputError(f"{place}: an object{names} was expected, got {shown(row)}")
    for name, field in fields.items():
        if not field.fits(row.get(name)):
            found = f"is {shown(row[name])}" if name in row else "is missing"
            raise InputError(f"{place}: the field {name!r} {found}; {field.expected} was expected")
    return row


def shown(value: Any) -> str:
    """A JSON value for a message: as JSON has it, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


def json_lines(
    path: str | Path, fields: Mapping[str, Field] | None = None, *, resume: bool = False
) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON Lines file one by one, each with its place (`FILE, line N`) for messages.

    Args:
        fields: what each row has to hold; any JSON by default.
        resume: the file is one that this run adds to. It may be missing, and its last line cut short.

    Raises MissingFileError, or InputError as the policy above says.
    """
    path, begin = Path(path), 0
    if resume and not path.exists():
        return
    with _readable(path), open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            unended = resume and line.strip() and not line.endswith(b"\n")
            if unended and _is_cut_short(line):
                log.warning("%s: cut short by a kill or a full disk; the line is removed and made again", place)
                os.truncate(path, begin)
                return
            begin += len(line)
            if line.strip():
                row = _parsed(line, place)
                row = row if fields is None else checked_row(row, fields, place)
                if unended:  # or the next row would join it
                    with open(path, "ab") as end:
                        end.write(b"\n")
                yield place, row


def _parsed(line: bytes, place: str) -> Any:
    try:
        return parse_json(line.decode("utf-8-sig"), place)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 ({error})") from error


def _is_cut_short(line: bytes) -> bool:
    """Whether a last line is the beginning of an object but not a whole one. Anything else is not a row of a run."""
    try:
        _parsed(line, "")
    except InputError:
        return b'{"'.startswith(line[:2])
    return False
