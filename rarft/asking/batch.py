"""Questions about many videos: JSON Lines in, JSON Lines out, in batches, going on where a stopped run was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rarft.hivtg.rows import PART_KEYS
from rarft.models import VideoModel
from rarft.reading.completion import parse_response
from rarft.schema import Crop, is_finite_number
from rarft.system.errors import InputError
from rarft.system.files import NAME, TEXT, Field, checked_row, json_lines, open_to_append, shown, write_text
from rarft.system.progress import progress

SECOND = Field(
    "a number of seconds, 0 or more,", lambda value: value is None or (is_finite_number(value) and value >= 0)
)
QUESTION = {"video": NAME, "query": NAME, "start": SECOND, "end": SECOND}
ANSWER = {"verdict": TEXT, "completion": TEXT}
ERROR = {"error": TEXT}
RESERVED = ("verdict", "spans", "answer", "correction", "think", "completion", "note", "error")  # keys of an answer


def answer_of(completion: str) -> dict:
    """What a completion says, as plain JSON types."""
    response = parse_response(completion)
    return {
        "verdict": response.verdict.value,
        "spans": [list(span) for span in response.spans],
        "answer": response.answer,
        "correction": response.correction,
        "think": response.think,
        "completion": completion,
    }


def read_questions(path: str | Path) -> list[dict]:
    """Rows with `video` and `query`, and optionally `start` and `end` in seconds; other keys are kept.

    Raises InputError that names the line and the field, or the file if it holds none.
    """
    questions = [checked_question(row, place) for place, row in json_lines(path)]
    if not questions:
        raise InputError(f"{path}: no question in it")
    return questions


def checked_question(row: Any, place: str) -> dict:
    """The row, unchanged. Raises InputError, which begins with `place`, for a field that is missing, of another type,
    or reserved for the answer."""
    start, end = (checked_row(row, QUESTION, place).get(name) for name in ("start", "end"))
    if end is not None and (start or 0) >= end:
        raise InputError(f"{place}: the part from 'start' ({shown(start)}) to 'end' ({shown(end)}) is empty")
    other = [name for name in PART_KEYS if row.get(name) is not None and name not in QUESTION]
    if other:
        raise InputError(f"{place}: the field {other[0]!r} is not read here; write 'start' and 'end'")
    taken = [name for name in RESERVED if name in row]
    if taken:
        raise InputError(f"{place}: the field {taken[0]!r} is reserved for the answer; rename it")
    return row


def infer_all(
    answer: Callable[[list[dict]], Iterable[dict]],
    questions: Sequence[dict],
    output: str | Path,
    *,
    batch_size: int = 16,
    retry: bool = False,
) -> dict[str, int]:
    """Answer every question and add a line each to `output`: the question's keys and those of `answer_of`, or an
    `error` where its video cannot be read.

    Lines that `output` holds already are not made again. Returns counts: answered, errors, kept. Raises InputError if
    they belong to other questions, or for an invalid question; no question has been asked then.

    Args:
        answer: a `LocalModel`, or a `rarft.asking.server.RemoteModel`.
        retry: ask again where `output` has an error, and put the new line in its place.
    """
    output = Path(output)
    for number, question in enumerate(questions, start=1):
        checked_question(question, f"question {number}")
    kept = _kept(output, questions)
    counts = {"answered": 0, "errors": 0, "kept": len(kept)}
    if retry:
        counts = _retried(answer, kept, questions, output, batch_size)
    rest = iter(questions[len(kept) :])
    with (
        open_to_append(output) as file,
        progress(total=len(questions), initial=len(kept), desc="infer") as bar,
    ):
        while batch := list(islice(rest, batch_size)):
            for row in answer(batch):
                counts["errors" if "error" in row else "answered"] += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                bar.update()
            file.flush()
    return counts


def _kept(output: Path, questions: Sequence[dict]) -> list[dict]:
    """The rows of an earlier run. Raises InputError for one that does not answer the question in its place."""
    kept: list[dict] = []
    for place, row in json_lines(output, {}, resume=True):
        question = questions[len(kept)] if len(kept) < len(questions) else None
        if question is None or json.dumps({key: row.get(key) for key in question}) != json.dumps(question):
            raise InputError(f"{place}: answers another question; delete the file or choose another")
        kept.append(checked_row(row, ERROR if "error" in row else ANSWER, place))
    return kept


def _retried(
    answer: Callable[[list[dict]], Iterable[dict]],
    kept: list[dict],
    questions: Sequence[dict],
    output: Path,
    batch_size: int,
) -> dict[str, int]:
    """Ask the questions again whose lines in `output` are errors, and write the file anew. Returns the counts."""
    failed = [number for number, row in enumerate(kept) if "error" in row]
    counts = {"answered": 0, "errors": 0, "kept": len(kept) - len(failed)}
    again = iter(failed)
    try:
        while batch := list(islice(again, batch_size)):
            for number, row in zip(batch, answer([questions[number] for number in batch]), strict=True):
                counts["errors" if "error" in row else "answered"] += 1
                kept[number] = row
    finally:  # keeps the answers so far if the server fails in the middle
        if failed:
            write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    return counts


class LocalModel:
    """A model in this process, asked greedily. Each video is read once a batch; none stays in memory after it."""

    def __init__(self, video_model: VideoModel):
        self.video_model = video_model

    def __call__(self, questions: list[dict]) -> Iterator[dict]:
        """The questions' rows with their answers, in order; with a `note` where the model cannot read all of a
        query."""
        crops = [Crop.of(question) for question in questions]
        errors = self.video_model.cache.fill(crops)
        good = [number for number, crop in enumerate(crops) if crop not in errors]
        features = self.video_model.features([crops[number] for number in good])
        queries = [questions[number]["query"] for number in good]
        texts = iter(self.video_model.generate(features, queries) if good else [])
        self.video_model.cache.forget()  # a list of videos may be longer than the memory
        for question, crop in zip(questions, crops, strict=True):
            if crop in errors:
                yield {**question, "error": str(errors[crop])}
            else:
                yield {**question, **answer_of(next(texts)), **self._note(question["query"])}

    def _note(self, query: str) -> dict[str, str]:
        note = self.video_model.note_of_unknown_words(query)
        return {"note": note} if note else {}
