"""`rarft infer`: read questions about many videos from a JSON Lines file, and write the answers to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rarft.asking.asker import Asker
from rarft.asking.writer import INFERENCE, ask_all
from rarft.hivtg.rows import PART_KEYS
from rarft.schema import is_finite_number
from rarft.system.errors import InputError
from rarft.system.files import NAME, Field, checked_row, json_lines, short_json

SECOND = Field(
    "a number of seconds, 0 or more,", lambda value: value is None or (is_finite_number(value) and value >= 0)
)
QUESTION = {"video": NAME, "query": NAME, "start": SECOND, "end": SECOND}
RESERVED = ("verdict", "spans", "answer", "correction", "think", "completion", "note", "error")  # keys of an answer


def read_questions(path: str | Path) -> list[dict]:
    """Read rows with `video` and `query`, and optionally `start` and `end` in seconds; other keys are kept.

    Raises InputError, which names the line and the field, or the file if it has no questions.
    """
    questions = [checked_question(row, place) for place, row in json_lines(path)]
    if not questions:
        raise InputError(f"{path}: no question in it")
    return questions


def checked_question(row: Any, place: str) -> dict:
    """The row, unchanged. Raises InputError, which begins with `place`, for a field that is missing, of the wrong type,
    or reserved for the answer."""
    start, end = (checked_row(row, QUESTION, place).get(name) for name in ("start", "end"))
    if end is not None and (start or 0) >= end:
        raise InputError(f"{place}: the part from 'start' ({short_json(start)}) to 'end' ({short_json(end)}) is empty")
    other = [name for name in PART_KEYS if row.get(name) is not None and name not in QUESTION]
    if other:
        raise InputError(f"{place}: the field {other[0]!r} is not read here; write 'start' and 'end'")
    taken = [name for name in RESERVED if name in row]
    if taken:
        raise InputError(f"{place}: the field {taken[0]!r} is reserved for the answer; rename it")
    return row


def infer_all(asker: Asker, questions: Sequence[dict], output: str | Path, *, retry: bool = False) -> dict[str, int]:
    """Answer every question and append a line for each to `output`: the question's keys and those of `Answer.to_json`,
    or an `error` if there is no answer. Lines that `output` already has are kept.

    Args:
        retry: ask again where `output` has an error, and replace that line.

    Returns counts: answered, errors, kept. Raises InputError before asking anything, if the lines in `output` belong to
    other questions, or for an invalid question.
    """
    for number, question in enumerate(questions, start=1):
        checked_question(question, f"question {number}")
    rows, new = ask_all(asker, questions, Path(output), INFERENCE, retry=retry, desc="infer")
    errors = sum("error" in rows[place] for place in new)
    return {"answered": len(new) - errors, "errors": errors, "kept": len(rows) - len(new)}
