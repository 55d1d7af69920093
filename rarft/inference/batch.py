"""Questions about many videos: JSON Lines in, JSON Lines out, in batches, going on where a stopped run was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from transformers import PreTrainedModel, ProcessorMixin

from rarft.errors import InputError
from rarft.files import lines_of, open_to_append, parse_json, read_json_lines, write_text
from rarft.models import VisionCache, generate
from rarft.models.generation import note_of_unknown_words
from rarft.progress import progress
from rarft.response import parse_response
from rarft.schema import Crop


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
    questions = []
    for number, line in enumerate(lines_of(path), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}, line {number}")
        for name in ("video", "query"):
            if not isinstance(row, dict) or not str(row.get(name) or "").strip():
                raise InputError(f"{path}, line {number}: the field {name!r} is missing or empty")
        questions.append(row)
    if not questions:
        raise InputError(f"{path}: no question in it")
    return questions


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
    they belong to other questions.

    Args:
        answer: a `LocalModel`, or a `rarft.inference.remote.RemoteModel`.
        retry: ask again where `output` has an error, and put the new line in its place.
    """
    output = Path(output)
    kept = read_json_lines(output)
    for number, (row, question) in enumerate(zip(kept, questions, strict=False), start=1):
        if any(row.get(key) != value for key, value in question.items()):
            raise InputError(f"{output}, line {number}: answers another question; delete the file or choose another")
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
    while batch := list(islice(again, batch_size)):
        for number, row in zip(batch, answer([questions[number] for number in batch]), strict=True):
            counts["errors" if "error" in row else "answered"] += 1
            kept[number] = row
    if failed:
        write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    return counts


class LocalModel:
    """A model in this process, asked greedily. Each video is read once a batch; none stays in memory after it."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, cache: VisionCache):
        self.model, self.processor, self.cache = model, processor, cache

    def __call__(self, questions: list[dict]) -> Iterator[dict]:
        """The questions' rows with their answers, in order; with a `note` where the model cannot read all of a
        query."""
        crops = [Crop.of(question) for question in questions]
        errors = self.cache.fill(crops)
        good = [number for number, crop in enumerate(crops) if crop not in errors]
        features = self.cache.get([crops[number] for number in good])
        queries = [questions[number]["query"] for number in good]
        texts = iter(generate(self.model, self.processor, features, queries) if good else [])
        self.cache.forget()  # a list of videos may be longer than the memory
        for question, crop in zip(questions, crops, strict=True):
            if crop in errors:
                yield {**question, "error": str(errors[crop])}
            else:
                yield {**question, **answer_of(next(texts)), **self._note(question["query"])}

    def _note(self, query: str) -> dict[str, str]:
        note = note_of_unknown_words(self.processor, query)
        return {"note": note} if note else {}
