"""Questions about many videos: JSON Lines in, JSON Lines out, in batches, going on where a stopped run was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import rarft._torchvision  # noqa: F401

from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from rarft.files import lines_of, read_json_lines
from rarft.generate import generate
from rarft.response import parse_response
from rarft.vision_cache import VisionCache


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

    Raises ValueError that names the line and the field.
    """
    questions = []
    for number, line in enumerate(lines_of(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg})") from error
        for name in ("video", "query"):
            if not isinstance(row, dict) or not str(row.get(name) or "").strip():
                raise ValueError(f"{path}, line {number}: the field {name!r} is missing or empty")
        questions.append(row)
    return questions


def infer_all(
    answer: Callable[[list[dict]], Iterable[dict]], questions: Sequence[dict], output: str | Path, *, batch_size: int = 16
) -> dict[str, int]:
    """Answer every question and add a line each to `output`: the question's keys and those of `answer_of`, or an `error`
    where its video cannot be read.

    Lines that `output` holds already are not made again. Returns counts: answered, errors, kept. Raises ValueError if
    they belong to other questions.

    Args:
        answer: a `LocalModel`, or a `rarft.remote.RemoteModel`.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = read_json_lines(output)
    for number, (row, question) in enumerate(zip(kept, questions, strict=False), start=1):
        if any(row.get(key) != value for key, value in question.items()):
            raise ValueError(f"{output}, line {number}: answers another question; delete the file or choose another")
    counts = {"answered": 0, "errors": 0, "kept": len(kept)}
    rest = iter(questions[len(kept) :])
    with open(output, "a", encoding="utf-8") as file, tqdm(total=len(questions), initial=len(kept), desc="infer") as bar:
        while batch := list(islice(rest, batch_size)):
            for row in answer(batch):
                counts["errors" if "error" in row else "answered"] += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                bar.update()
            file.flush()
    return counts


class LocalModel:
    """A model in this process, asked greedily. Each video is read once a batch; none stays in memory after it."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, cache: VisionCache):
        self.model, self.processor, self.cache = model, processor, cache

    def __call__(self, questions: list[dict]) -> Iterator[dict]:
        """The questions' rows with their answers, in order."""
        errors = self.cache.fill(questions)
        failed = {id(q): errors.get((str(q["video"]), q.get("start"), q.get("end"))) for q in questions}
        good = [question for question in questions if failed[id(question)] is None]
        queries = [question["query"] for question in good]
        texts = iter(generate(self.model, self.processor, self.cache.get(good), queries) if good else [])
        self.cache.forget()  # a list of videos may be longer than the memory
        for question in questions:
            error = failed[id(question)]
            yield {**question, **(answer_of(next(texts)) if error is None else {"error": str(error)})}
