"""Files: paths of shipped files, atomic writing, locks, and reading of JSON and JSON Lines.

A file is written under a temporary name and then renamed, so a kill leaves either the old file or the new one.
"""

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
from typing import IO, Any, NamedTuple, TextIO

from filelock import FileLock, Timeout

from rarft.system.errors import InputError, MissingFileError

log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(*path: str) -> Path:
    """The path of a shipped file or folder: in the repository, or in a wheel inside the package."""
    places = (_PACKAGE.parent.joinpath(*path), _PACKAGE.joinpath(*path))
    return next((place for place in places if place.exists()), places[0])


BASE = _shipped("data", "base")
RECIPES = _shipped("recipes")
SAMPLES = _shipped("data", "samples")
# Part of the names of temporary files, so that machines that share a folder remove only their own.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`. It replaces `path` when the block ends without an error.

    Makes the folder if needed. Each process gets its own path.
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
    """Lock the folder or file `path` against other processes of this machine until the block ends.

    The lock file is in the system's temporary folder; the lock is released when this process ends, even by a kill.
    Temporary files at `path` from a killed process of this machine are removed.

    Raises InputError if another process has the lock, or if `path` is neither a file nor a folder.
    """
    path = Path(path).resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: neither a file nor a folder, but a pipe or a device")
    name = hashlib.sha256(f"{getpass.getuser()} {path}".encode(errors="surrogateescape")).hexdigest()
    try:
        lock = FileLock(Path(tempfile.gettempdir()) / f"rarft-{name[:32]}.lock").acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"{path}: another process is writing there; wait for it, end it, or change --out") from error
    with lock:
        ending = f"{_HOST}.*.part"
        own_name = f".{glob.escape(path.name)}.{ending}"
        for left in path.rglob(f".*.{ending}") if path.is_dir() else path.parent.glob(own_name):
            left.unlink(missing_ok=True)
        yield


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically. An unpaired surrogate, which UTF-8 cannot encode, becomes its JSON escape."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def open_to_append(path: str | Path) -> TextIO:
    """Open a UTF-8 file for appending; surrogates are written as in `write_text`. Makes the folder if needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a", encoding="utf-8", errors="backslashreplace")


_NUMBERS = re.compile(r"\[\n\s+(?:[-+.\dEe]+|null)(?:,\n\s+(?:[-+.\dEe]+|null))*\n\s+\]")


def json_text(data: Any) -> str:
    """Indented JSON; a list of numbers takes one line."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def write_json(path: str | Path, data: Any) -> Path:
    """Write `json_text` atomically."""
    return write_text(path, json_text(data))


def nan_as_null(data: Any) -> Any:
    """A copy for `write_json` with null for NaN (the mean of an empty set), which JSON does not allow."""
    if isinstance(data, Mapping):
        return {key: nan_as_null(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [nan_as_null(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


@contextmanager
def open_text(path: str | Path, mode: str = "r") -> Iterator[IO[Any]]:
    """Open a UTF-8 text file, with or without a byte order mark, for reading; as bytes with mode "rb".

    Raises MissingFileError, or InputError if it is not a text file."""
    try:
        with open(path, mode, encoding=None if mode == "rb" else "utf-8-sig") as file:
            yield file
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a text file that can be read ({error})") from error


def read_text(path: str | Path) -> str:
    """The whole text of a file; see `open_text` for the errors."""
    with open_text(path) as file:
        return file.read()


def parse_json(text: str | bytes, place: str) -> Any:
    """Parse JSON text, or its UTF-8 bytes. Raises InputError, which begins with `place`, if it is not JSON, is nested
    too deep, or has a number too long for Python's parser."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
        raise InputError(f"{place}: not JSON ({line}column {error.colno}: {error.msg})") from error
    except RecursionError as error:
        raise InputError(f"{place}: JSON that is nested too deep to be read") from error
    except ValueError as error:
        raise InputError(f"{place}: JSON that cannot be read ({error})") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises MissingFileError, or InputError, which names the line and the column."""
    return parse_json(read_text(path), str(path))


# The policy for JSON Lines files. Each line is an object, and its reader checks its fields against a table. Blank lines
# are skipped. A damaged line, or a row with wrong fields, is an InputError that names file, line and field. No row is
# dropped or overwritten silently, with one exception: if a kill cut short the last line of a file that a run appends to
# (`resume`), the line is removed with a warning, and the run makes that row again.


class Field(NamedTuple):
    """The allowed values of a field of a row.

    expected: a description for messages. fits: whether a value is allowed; a missing field counts as None.
    """

    expected: str
    fits: Callable[[Any], bool]


TEXT = Field("a text", lambda value: isinstance(value, str))
NAME = Field("a text that is not empty", lambda value: isinstance(value, str) and value.strip() != "")


def checked_row(row: Any, fields: Mapping[str, Field], place: str) -> dict[str, Any]:
    """The row, unchanged. Raises InputError, which begins with `place`, if it is not an object or a field is not
    allowed."""
    if not isinstance(row, dict):
        names = f" with {', '.join(map(repr, fields))}" if fields else ""
        raise InputError(f"{place}: an object{names} was expected, got {short_json(row)}")
    for name, field in fields.items():
        if not field.fits(row.get(name)):
            found = f"is {short_json(row[name])}" if name in row else "is missing"
            raise InputError(f"{place}: the field {name!r} {found}; {field.expected} was expected")
    return row


def short_json(value: Any) -> str:
    """A JSON value for a message, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


def json_lines(
    path: str | Path, fields: Mapping[str, Field] | None = None, *, resume: bool = False
) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON Lines file one by one, each with its place (`FILE, line N`) for messages.

    Args:
        fields: the fields to check in each row; None allows any JSON.
        resume: this run appends to the file. The file may be missing, and its last line cut short.

    Raises MissingFileError, or InputError by the policy above.
    """
    path, end = Path(path), 0
    if resume and not path.exists():
        return
    with open_text(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            begin, end = end, end + len(line)
            if not line.strip():
                continue
            place, is_unended = f"{path}, line {number}", resume and not line.endswith(b"\n")
            try:
                row = parse_json(line, place)
            except InputError:
                if not (is_unended and b'{"'.startswith(line[:2])):  # any other line was not written by a run
                    raise
                log.warning("%s: cut short by a kill or a full disk; the line is removed and made again", place)
                os.truncate(path, begin)
                return
            row = row if fields is None else checked_row(row, fields, place)
            if is_unended:  # otherwise the next row would continue this line
                with open(path, "ab") as more:
                    more.write(b"\n")
            yield place, row
