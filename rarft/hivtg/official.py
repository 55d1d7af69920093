"""Read and write the released formats of HI-VTG and its relatives (SS-VTG, TVGBench, the human set).

One `Sample` a query. Rows keep every key that they came with, so that writing returns what was read. A bad row is
reported with file, row and field, and the rest is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rarft.errors import InputError
from rarft.files import open_text, parse_json, write_text
from rarft.hivtg.rows import LEVEL_KEYS, usable
from rarft.schema import Category, Difficulty, Sample, Span, is_finite_number

LEVELS = {
    "original": Difficulty.ORIGINAL,
    "easy": Difficulty.EASY,
    "medium": Difficulty.MEDIUM,
    "hard": Difficulty.HARD,
    "weak": Difficulty.EASY,
    "moderate": Difficulty.MEDIUM,
    "strong": Difficulty.HARD,
}
_TAG = re.compile(r"</?(?:think|answer|correction|correct)>")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a row: where, and what."""

    file: str
    row: int  # from 0
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}, {self.field}: {self.message}"


@dataclass
class ReleasedFile:
    """A released file: its rows as they are, the samples in them, and the problems that were met."""

    path: str
    rows: list[dict[str, Any]]
    samples: list[Sample]
    problems: list[Problem] = field(default_factory=list)


def read_released(path: str | Path) -> ReleasedFile:
    """Read a JSON array of rows with `GRPO` lists, or JSON Lines with a row each.

    A row's `video_start` and `video_end` are the part of the file that it is about; its times count from there.
    `Sample.extra` holds `row` and `item`, the sample's place in the file, and the item's keys that have no field.
    Raises MissingFileError, or InputError if the file is neither.
    """
    released = ReleasedFile(str(path), [], [])
    for number, row in enumerate(iter_rows(path)):
        released.rows.append(row)
        read_row(released, number, row)
    return released


def iter_rows(path: str | Path) -> Iterator[Any]:
    """The rows of a released file as they are: JSON Lines one by one in constant memory, a JSON array read whole.

    Raises MissingFileError, or InputError that names the line if the file is neither.
    """
    path = Path(path)
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "").lstrip()
        file.seek(0)
        if not first.startswith("{"):
            yield from _array(path, file.read())
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield parse_json(line, f"{path}, neither a JSON array nor JSON Lines, line {number}")


def _array(path: Path, text: str) -> list[Any]:
    rows = parse_json(text, f"{path}, neither a JSON array nor JSON Lines")
    if not isinstance(rows, list):
        raise InputError(f"{path}: a JSON array of rows was expected, got {type(rows).__name__}")
    return rows


def read_row(released: ReleasedFile, number: int, row: Any) -> dict[str, Any] | None:
    """Add the samples and the problems of one row to `released`. Returns the row as `rarft.hivtg.rows.usable`
    left it."""

    def problem(name: str, message: str) -> None:
        released.problems.append(Problem(released.path, number, name, message))

    good = usable(row, problem)
    if good is None:
        return None
    span = span_of(good.get("timestamp"))
    items = [(position, item) for position, item in enumerate(good["GRPO"]) if item is not None]
    for position, item in items:
        name = f"GRPO[{position}]"
        own = span_of(item["timestamp"]) if "timestamp" in item else span  # a repaired file: see rarft.hivtg.lint
        if item["r"] and own is None:
            if "timestamp" not in row or "timestamp" in good:  # otherwise it has been reported
                problem(
                    "timestamp", f"two finite numbers were expected, got {row.get('timestamp')!r}; {name} is left out"
                )
            continue
        difficulty = _difficulty(item, partial(problem, name))
        categories = _categories(item, partial(problem, name))
        answer, correction = split_answer(item.get("a") or "")
        known = {"q", "a", "r", "c", "timestamp", *LEVEL_KEYS}
        released.samples.append(
            Sample(
                video=good["video"],
                query=item["q"],
                spans=[own] if item["r"] and own else [],
                duration=good.get("duration"),
                answer=answer,
                correction="" if item["r"] else correction or _known_correction(good, item),
                categories=categories,
                difficulty=difficulty,
                think=_TAG.sub("", good.get("think") or "").strip(),
                start=good.get("video_start"),
                end=good.get("video_end"),
                extra={"row": number, "item": position, **{k: v for k, v in item.items() if k not in known}},
            )
        )
    return good


def _known_correction(row: dict, item: dict) -> str:
    """A query that the video of an irrelevant item does show: its row's relevant one, or the one it was made from; ""
    if none is known. In SS-VTG a row's own query may be irrelevant itself."""
    queries = [other for other in row["GRPO"] if other is not None]
    relevant = [other["q"] for other in queries if other["r"]]
    irrelevant = {other["q"] for other in queries if not other["r"]}
    origins = [text for text in (item.get("q_origin"), row.get("query_text")) if text and text not in irrelevant]
    return next(iter(relevant + origins), "")


def span_of(value: Any) -> Span | None:
    """A [start, end] of two finite numbers as a Span; None for anything else."""
    if not (isinstance(value, list | tuple) and len(value) == 2):
        return None
    if not all(map(is_finite_number, value)):
        return None
    return Span(float(value[0]), float(value[1]))


def _difficulty(item: dict, problem: Callable[[str], None]) -> Difficulty:
    level = next((item[key] for key in LEVEL_KEYS if item.get(key) is not None), None)
    count = len(item.get("c") or [])
    if not item["r"] and not count and LEVELS.get(str(level), Difficulty.EASY) is Difficulty.EASY:
        return (
            Difficulty.SHUFFLED
        )  # no element was edited: an SS-VTG query comes from another video, whatever its level says
    if level in LEVELS:
        return LEVELS[level]
    if level is not None:
        problem(f"unknown difficulty {level!r}; known: {', '.join(LEVELS)}")
    if item["r"]:
        return Difficulty.ORIGINAL
    return Difficulty.from_edits(count) if 1 <= count <= 3 else Difficulty.SHUFFLED


def _categories(item: dict, problem: Callable[[str], None]) -> list[Category]:
    categories = []
    for name in item.get("c") or []:
        try:
            categories.append(Category(name))
        except ValueError:
            problem(f"unknown category {name!r}")
    return categories


def split_answer(text: str) -> tuple[str, str]:
    """The answer and the correction in an `a` value, with `<answer>` tags or without, either correction tag."""
    correction = re.search(r"<correct(?:ion)?>(.*?)(?:</correct(?:ion)?>|$)", text, re.DOTALL)
    rest = text[: correction.start()] if correction else text
    return _TAG.sub("", rest).strip(), correction[1].strip() if correction else ""


def write_released(rows: list[dict[str, Any]], path: str | Path) -> Path:
    """Write rows as a JSON array, atomically."""
    return write_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def rows_of(groups: list[list[Sample]]) -> list[dict[str, Any]]:
    """Samples, grouped by (video, relevant query), the relevant one first, as rows of a released file."""
    rows = []
    for relevant, *irrelevant in groups:
        items = [
            {"q": relevant.query, "a": f"<answer>{relevant.spans[0]}</answer>", "r": True, "difficulty": "original"}
        ]
        items += [
            {
                "q": sample.query,
                "a": f"<answer>{sample.answer}</answer>",
                "r": False,
                "c": [c.value for c in sample.categories],
                "difficulty": sample.difficulty.value,
            }
            for sample in irrelevant
        ]
        rows.append(
            {
                "video": relevant.video,
                "query_text": relevant.query,
                "timestamp": list(relevant.spans[0]),
                "duration": relevant.duration,
                "think": f"<think>\n{relevant.think}\n</think>",
                "GRPO": items,
            }
        )
    return rows


def group_samples(samples: list[Sample]) -> list[list[Sample]]:
    """Samples of a released file by row, the relevant one first; rows that lack either relevance are left out."""
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.extra["row"], []).append(sample)
    ordered = [sorted(group, key=lambda s: not s.relevant) for group in groups.values()]
    return [group for group in ordered if group[0].relevant and not group[-1].relevant]
