"""Read and write the released formats of HI-VTG and its relatives (SS-VTG, TVGBench, the human set).

Each query becomes a `Sample`. Rows keep every key that they came with, so that writing returns what was read. A bad row
is reported with file, row and field, and the rest is read.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rarft.hivtg.rows import DIFFICULTY_KEYS, SLACK, sanitize_row, span_of
from rarft.schema import Category, Difficulty, Group, Sample, Span
from rarft.system.errors import InputError
from rarft.system.files import json_lines, open_text, parse_json, write_text

log = logging.getLogger(__name__)

DIFFICULTIES = {  # by their names in released files
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
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, number: int, row: Any) -> dict[str, Any] | None:
        """Add a row, its samples and its problems. Returns what `rarft.hivtg.rows.sanitize_row` left of it."""

        def report(name: str, message: str) -> None:
            self.problems.append(Problem(self.path, number, name, message))

        self.rows.append(row)
        good = sanitize_row(row, report)
        if good is None:
            return None
        windows = _windows(good, report)
        for position, item in enumerate(good["GRPO"]):
            if item is None:
                continue
            name = f"GRPO[{position}]"
            spans = (
                [Span(*map(float, item["timestamp"]))] if "timestamp" in item else windows
            )  # a repaired file has one
            if item["r"] and not spans:
                if "timestamp" not in row or "timestamp" in good:  # otherwise it has been reported
                    stated = row.get("timestamp")
                    report("timestamp", f"two finite numbers were expected, got {stated!r}; {name} is left out")
                continue
            sample, doubts = _sample(good, item, spans if item["r"] else [])
            sample.extra = {"row": number, "item": position, **sample.extra}
            outside = outside_part(sample)
            for message in [*doubts, *([outside] if outside else [])]:
                report(name, message)
            if not outside:
                self.samples.append(sample)
        return good


def read_released(path: str | Path) -> ReleasedFile:
    """Read a JSON array of rows with `GRPO` lists, or JSON Lines with a row each.

    A row's `video_start` and `video_end` (or `start` and `end`; see `rarft.hivtg.rows.part_of`) are the part of the
    file that it is about; its times count from there. `relevant_windows` are all segments of its relevant query, where
    it has several.
    `Sample.extra` holds `row` and `item`, the sample's place in the file, and the item's keys that have no field.
    Raises MissingFileError, or InputError if the file is neither.
    """
    released = ReleasedFile(str(path))
    for number, row in enumerate(iter_rows(path)):
        released.add(number, row)
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
        if not first.startswith("{"):
            file.seek(0)
            rows = parse_json(file.read(), f"{path}, neither a JSON array nor JSON Lines")
            if not isinstance(rows, list):
                raise InputError(f"{path}: a JSON array of rows was expected, got {type(rows).__name__}")
            yield from rows
            return
    try:
        yield from (row for _, row in json_lines(path))
    except InputError as error:
        raise InputError(f"{error}; the file is neither a JSON array nor JSON Lines") from error


def _windows(good: dict, report: Callable[[str, str], None]) -> list[Span]:
    """The segments of a row's relevant query."""
    span = span_of(good.get("timestamp"))
    windows = [Span(*map(float, window)) for window in good.get("relevant_windows") or []]
    if windows and span and span not in windows:
        report("relevant_windows", f"the timestamp {span} is not among them; only the timestamp is used")
        return [span]
    return windows or ([span] if span else [])


def _sample(row: dict, item: dict, spans: list[Span]) -> tuple[Sample, list[str]]:
    """The sample of an item, and messages about fields that cannot be read."""
    difficulty, doubts = _difficulty(item)
    known = {category.value for category in Category}
    categories = item.get("c") or []
    doubts += [f"unknown category {name!r}" for name in categories if name not in known]
    answer, correction = split_answer(item.get("a") or "")
    read = {"q", "a", "r", "c", "timestamp", *DIFFICULTY_KEYS}
    sample = Sample(
        video=row["video"],
        query=item["q"],
        spans=spans,
        duration=row.get("duration"),
        answer=answer,
        correction="" if item["r"] else correction or _known_correction(row, item),
        categories=[Category(name) for name in categories if name in known],
        difficulty=difficulty,
        think=_TAG.sub("", row.get("think") or "").strip(),
        start=row.get("video_start"),
        end=row.get("video_end"),
        extra={k: v for k, v in item.items() if k not in read},
    )
    return sample, doubts


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


def _difficulty(item: dict) -> tuple[Difficulty, list[str]]:
    """The difficulty that an item states; UNKNOWN for an irrelevant query without one (the human set). And messages
    about a statement that cannot be."""
    name = next((item[key] for key in DIFFICULTY_KEYS if item.get(key) is not None), Difficulty.UNKNOWN)
    stated = DIFFICULTIES.get(name, Difficulty.UNKNOWN)
    doubts = []
    if name != Difficulty.UNKNOWN and stated is Difficulty.UNKNOWN:
        doubts.append(f"unknown difficulty {name!r}; known: {', '.join(DIFFICULTIES)}")
    if item["r"]:
        return Difficulty.ORIGINAL, doubts
    if stated is Difficulty.ORIGINAL:
        return Difficulty.UNKNOWN, ["an irrelevant query has the difficulty 'original'"]
    # An SS-VTG query: its level says easy, and no element was edited.
    return Difficulty.SHUFFLED if stated is Difficulty.EASY and not item.get("c") else stated, doubts


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
    return [_row_of(group) for group in groups]


def _row_of(group: Group) -> dict[str, Any]:
    sample = group.relevant
    row: dict[str, Any] = {"video": sample.video, "query_text": sample.query, "timestamp": list(sample.spans[0])}
    if len(sample.spans) > 1:
        row["relevant_windows"] = list(map(list, sample.spans))
    row["duration"] = sample.duration
    if sample.start is not None or sample.end is not None:
        if sample.end is None and sample.duration is not None:
            row["duration"] += sample.start  # without the part's end, a row's duration is that of the file
        row |= {"video_start": sample.start, "video_end": sample.end}
    row["think"] = f"<think>\n{sample.think}\n</think>"
    relevant = {"q": sample.query, "a": f"<answer>{sample.spans[0]}</answer>", "r": True, "difficulty": "original"}
    irrelevant = [
        {
            "q": other.query,
            "a": f"<answer>{other.answer}</answer>",
            "r": False,
            "c": [category.value for category in other.categories],
            "difficulty": other.difficulty.value,
        }
        for other in group.irrelevant
    ]
    return {**row, "GRPO": [relevant, *irrelevant]}


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
