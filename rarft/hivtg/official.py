"""Read and write the released formats of HI-VTG and its relatives (SS-VTG, TVGBench, the human set).

One `Sample` a query. Rows keep every key that they came with, so that writing returns what was read. A bad row is
reported with file, row and field, and the rest is read.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rarft.hivtg.rows import LEVEL_KEYS, SLACK, usable
from rarft.schema import Category, Difficulty, Group, Sample, Span, is_finite_number
from rarft.system.errors import InputError
from rarft.system.files import json_lines, open_text, parse_json, write_text

log = logging.getLogger(__name__)

LEVELS = {
    "original": Difficulty.ORIGINAL,
    "easy": Difficulty.EASY,
    "medium": Difficulty.MEDIUM,
    "hard": Difficulty.HARD,
    "weak": Difficulty.EASY,
    "moderate": Difficulty.MEDIUM,
    "strong": Difficulty.HARD,
    "shuffled": Difficulty.SHUFFLED,
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

    A row's `video_start` and `video_end` (or `start` and `end`; see `rarft.hivtg.rows.part_of`) are the part of the
    file that it is about; its times count from there. `relevant_windows` are all segments of its relevant query, where
    it has several.
    `Sample.extra` holds `row` and `item`, the sample's place in the file, and the item's keys that have no field.
    Raises MissingFileError, or InputError if the file is neither.
    """
    released = ReleasedFile(str(path), [], [])
    for number, row in enumerate(iter_rows(path)):
        released.rows.append(row)
        read_row(released, number, row)
    return released


def released_samples(path: str | Path) -> list[Sample]:
    """The samples of `read_released`; each problem is logged as a warning."""
    released = read_released(path)
    for problem in released.problems:
        log.warning("left out: %s", problem)
    return released.samples


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
    try:
        yield from (row for _, row in json_lines(path))
    except InputError as error:
        raise InputError(f"{error}; the file is neither a JSON array nor JSON Lines") from error


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
    windows = _windows(good, problem)
    for position, item in enumerate(good["GRPO"]):
        if item is None:
            continue
        name = f"GRPO[{position}]"
        spans = [Span(*map(float, item["timestamp"]))] if "timestamp" in item else windows  # a repaired file has one
        if item["r"] and not spans:
            if "timestamp" not in row or "timestamp" in good:  # otherwise it has been reported
                problem(
                    "timestamp", f"two finite numbers were expected, got {row.get('timestamp')!r}; {name} is left out"
                )
            continue
        sample = _sample(good, item, spans if item["r"] else [], partial(problem, name))
        sample.extra = {"row": number, "item": position, **sample.extra}
        outside = outside_part(sample)
        if outside:
            problem(name, outside)
        else:
            released.samples.append(sample)
    return good


def _windows(good: dict, problem: Callable[[str, str], None]) -> list[Span]:
    """The segments of a row's relevant query."""
    span = span_of(good.get("timestamp"))
    windows = [window for value in good.get("relevant_windows") or [] if (window := span_of(value))]
    if windows and span and span not in windows:
        problem("relevant_windows", f"the timestamp {span} is not among them; only the timestamp is used")
        return [span]
    return windows or ([span] if span else [])


def _sample(row: dict, item: dict, spans: list[Span], problem: Callable[[str], None]) -> Sample:
    difficulty = _difficulty(item, problem)
    categories = _categories(item, problem)
    answer, correction = split_answer(item.get("a") or "")
    known = {"q", "a", "r", "c", "timestamp", *LEVEL_KEYS}
    return Sample(
        video=row["video"],
        query=item["q"],
        spans=spans,
        duration=row.get("duration"),
        answer=answer,
        correction="" if item["r"] else correction or _known_correction(row, item),
        categories=categories,
        difficulty=difficulty,
        think=_TAG.sub("", row.get("think") or "").strip(),
        start=row.get("video_start"),
        end=row.get("video_end"),
        extra={k: v for k, v in item.items() if k not in known},
    )


def outside_part(sample: Sample) -> str | None:
    """A message about a segment that is not inside the sample's part of the video: its times may count from the start
    of the file. None if there is no such segment, or if the sample is about a whole video."""
    if sample.duration is None or (sample.start is None and sample.end is None):
        return None
    bad = next((s for s in sample.spans if s.start >= sample.duration or s.end > sample.duration + SLACK), None)
    length = f"{sample.duration:g} s"
    return bad and f"the segment {bad} s is not inside the part of {length}; segments count from the part's start"


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
    """The difficulty that an item states; UNKNOWN for an irrelevant query without one (the human set)."""
    level = next((item[key] for key in LEVEL_KEYS if item.get(key) is not None), Difficulty.UNKNOWN)
    stated = LEVELS.get(level, Difficulty.UNKNOWN)
    if level != Difficulty.UNKNOWN and stated is Difficulty.UNKNOWN:
        problem(f"unknown difficulty {level!r}; known: {', '.join(LEVELS)}")
    if item["r"]:
        return Difficulty.ORIGINAL
    if stated is Difficulty.ORIGINAL:
        problem("an irrelevant query has the difficulty 'original'")
        return Difficulty.UNKNOWN
    # An SS-VTG query: its level says easy, and no element was edited.
    return Difficulty.SHUFFLED if stated is Difficulty.EASY and not item.get("c") else stated


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


def rows_of(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Groups as rows of a released file.

    `timestamp` is the first segment. Where there are several, `relevant_windows` are all of them; where the samples are
    about a part of the video, `video_start` and `video_end` say which.
    """
    rows = []
    for group in groups:
        relevant = group.relevant
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
            for sample in group.irrelevant
        ]
        rows.append(
            {
                "video": relevant.video,
                "query_text": relevant.query,
                "timestamp": list(relevant.spans[0]),
                **_windows_and_part(relevant),
                "think": f"<think>\n{relevant.think}\n</think>",
                "GRPO": items,
            }
        )
    return rows


def _windows_and_part(sample: Sample) -> dict[str, Any]:
    several = {"relevant_windows": list(map(list, sample.spans))} if len(sample.spans) > 1 else {}
    if sample.start is None and sample.end is None:
        return {**several, "duration": sample.duration}
    # Without the part's end, a row's duration is that of the file.
    begin = sample.start or 0.0 if sample.end is None else 0.0
    duration = None if sample.duration is None else begin + sample.duration
    return {**several, "duration": duration, "video_start": sample.start, "video_end": sample.end}


def group_samples(samples: Iterable[Sample]) -> list[Group]:
    """The samples of a released file by row. Rows without a relevant or without an irrelevant query are left out with a
    warning. Raises InputError for a row with several relevant queries."""
    rows: dict[int, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(sample.extra["row"], []).append(sample)
    whole = [row for row in rows.values() if 0 < sum(sample.relevant for sample in row) < len(row)]
    if len(whole) < len(rows):
        log.warning(
            "left out: %d of %d rows, which lack a relevant or an irrelevant query", len(rows) - len(whole), len(rows)
        )
    return [Group.of(row) for row in whole]
