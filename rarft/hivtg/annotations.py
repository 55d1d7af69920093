"""Read ordinary grounding annotations: the (video, query, segment) lists that HI-VTG is built from.

| layout | one entry |
|---|---|
| Charades-STA, text | `AO8RW 0.0 6.9##a person is putting a book on a shelf.` |
| ActivityNet Captions, JSON | `{"v_x": {"duration": 82.7, "timestamps": [[0.8, 19.9]], "sentences": ["…"]}}` |
| QVHighlights, JSON Lines | `{"vid": "…", "query": "…", "duration": 150, "relevant_windows": [[82, 150]]}` |
| your own, JSON Lines | `{"video": "…", "query": "…", "duration": 30.1, "span": [2, 5.5]}` |
| TVGBench, JSON | `[{"path": "…", "question": "…", "answer": "13.4-28", "start": null, "end": null, "duration": 30}]` |

To add one, put a `Format` into `FORMATS`, here or from your own code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rarft.errors import InputError
from rarft.files import open_text, parse_json, read_json
from rarft.hivtg.official import Problem, span_of
from rarft.schema import Sample, Span, is_finite_number

_CHARADES = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s*##(.*)")
_TVGBENCH_ANSWER = re.compile(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*")
Report = Callable[[Problem], None]


def read_annotations(path: str | Path, report: Report, *, allow_empty: bool = False) -> Iterator[Sample]:
    """Yield a relevant `Sample` for each query of a file, whose layout is recognised by its content.

    Text and JSON Lines are read line by line, in constant memory; JSON is read whole. `Sample.extra` keeps the keys
    that have no field. An entry that cannot be used is handed to `report`, and the rest is read.

    Args: allow_empty: take segments that end where they begin, too. TVGBench has eleven: a label that copied one is
        right to
            do so, but nothing can be grounded in them.

    Raises MissingFileError, or InputError if the layout is not one of the above.
    """
    path = Path(path)
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "").strip()
    for form in FORMATS:
        if form.matches(first):
            for entry in form.entries(path):
                yield from read_entry(path, report, partial(form.sample, allow_empty=allow_empty), entry)
            return
    names = ", ".join(form.name for form in FORMATS)
    raise InputError(f"{path}: no layout that is known ({names}); see the table in rarft/hivtg/annotations.py")


@dataclass(frozen=True)
class Format:
    """A layout of annotation files.

    matches: tells it by the first line of a file that is not empty.
    entries: the entries of a file, each with its number from 0.
    sample: an entry → a relevant sample; raises ValueError, KeyError or TypeError for one that cannot be used.
    """

    name: str
    matches: Callable[[str], bool]
    entries: Callable[[Path], Iterator[tuple[int, Any]]]
    sample: Callable[..., Sample]


def lines_with_numbers(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, in constant memory."""
    with open_text(path) as file:
        for number, line in enumerate(file):
            if line.strip():
                yield number, line.strip()


def _json_entries(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of an array (TVGBench); or the sentences of an object of videos (ActivityNet Captions), each with its
    place."""
    data = read_json(path)
    if isinstance(data, list):
        yield from enumerate(data)
        return
    for number, (name, video) in enumerate(data.items()):
        sentences = video.get("sentences") if isinstance(video, dict) else None
        for position in range(len(sentences) if isinstance(sentences, list) else 1):
            yield number, (name, video, position)


def read_entry(path: Path, report: Report, parse: Callable[[Any], Sample], entry: tuple[int, Any]) -> Iterator[Sample]:
    """The sample that `parse` makes of an entry (number, value); what cannot be used is handed to `report`."""
    number, value = entry
    try:
        sample = parse(value)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        field = str(error.args[0]) if isinstance(error, KeyError) else "entry"
        message = "missing" if isinstance(error, KeyError) else str(error)
        report(Problem(str(path), number, field, message))
        return
    wrong = _wrong_field(sample)
    if wrong:
        report(Problem(str(path), number, *wrong))
    else:
        yield sample


def _wrong_field(sample: Sample) -> tuple[str, str] | None:
    """Field and message of what no JSON type of a sample should be."""
    for name in ("video", "query"):
        value = getattr(sample, name)
        if not isinstance(value, str) or not value.strip():
            return name, "empty" if value in ("", None) or isinstance(
                value, str
            ) else f"text was expected, got {value!r}"
    for name in ("duration", "start", "end"):
        value = getattr(sample, name)
        if value is not None and not (is_finite_number(value) and value >= 0):
            return name, f"a finite number of seconds was expected, got {value!r}"
    return None


def checked_segment(value: Any, allow_empty: bool = False) -> Span:
    """A [start, end] in seconds. Raises ValueError for anything else, and for one that ends where it begins if that is
    not allowed."""
    span = span_of(value)
    if span is None or not 0 <= span.start <= span.end or (span.start == span.end and not allow_empty):
        raise ValueError(f"a segment [start, end] in seconds was expected, got {value!r}")
    return span


def _charades(line: str, *, allow_empty: bool) -> Sample:
    match = _CHARADES.fullmatch(line)
    if match is None:
        raise ValueError(f"`VIDEO START END##QUERY` was expected, got {line[:60]!r}")
    return Sample(match[1], match[4].strip(), [checked_segment([float(match[2]), float(match[3])], allow_empty)])


def _has_a_query(line: str) -> bool:
    try:
        row = parse_json(line, "")
    except InputError:
        return False  # the first line of an indented JSON file
    return isinstance(row, dict) and "query" in row


def _query_row(line: str, *, allow_empty: bool) -> Sample:
    row = parse_json(line, "the line")
    video = row["video"] if "video" in row else row["vid"]
    windows = [row["span"]] if "span" in row else row["relevant_windows"]
    known = {"video", "vid", "query", "duration", "span", "relevant_windows"}
    extra = {k: v for k, v in row.items() if k not in known}
    return Sample(
        video,
        row["query"],
        [checked_segment(w, allow_empty) for w in windows],
        duration=row.get("duration"),
        extra=extra,
    )


def _json_sample(entry: Any, *, allow_empty: bool) -> Sample:
    return _activitynet(entry, allow_empty) if isinstance(entry, tuple) else _tvgbench(entry, allow_empty)


def _activitynet(entry: tuple[str, dict, int], allow_empty: bool) -> Sample:
    name, video, position = entry
    span = checked_segment(video["timestamps"][position], allow_empty)
    return Sample(name, video["sentences"][position].strip(), [span], duration=video["duration"])


def _tvgbench(row: dict, allow_empty: bool) -> Sample:
    match = _TVGBENCH_ANSWER.fullmatch(row["answer"])
    if match is None:
        raise ValueError(f"an answer `START-END` was expected, got {row['answer']!r}")
    known = {"path", "question", "answer", "start", "end", "duration"}
    return Sample(
        row["path"],
        row["question"],
        [checked_segment([float(match[1]), float(match[2])], allow_empty)],
        duration=row["duration"],
        start=row["start"],
        end=row["end"],
        extra={k: v for k, v in row.items() if k not in known},
    )


FORMATS = [
    Format("Charades-STA", lambda first: bool(_CHARADES.fullmatch(first)), lines_with_numbers, _charades),
    Format("JSON Lines with `query`", _has_a_query, lines_with_numbers, _query_row),
    Format("ActivityNet Captions or TVGBench", lambda first: first.startswith(("[", "{")), _json_entries, _json_sample),
]
