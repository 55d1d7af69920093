"""Read ordinary grounding annotations: the (video, query, segment) lists that HI-VTG is built from.

| layout | one entry |
|---|---|
| Charades-STA, text | `AO8RW 0.0 6.9##a person is putting a book on a shelf.` |
| ActivityNet Captions | `{"v_x": {"duration": 82.7, "timestamps": [[0.8, 19.9]], "sentences": ["…"]}}` |
| YouCook2 | `{"database": {"v_x": {"duration": 82.7, "annotations": [{"segment": [1, 4], "sentence": "…"}]}}}` |
| Ego4D NLQ | `{"videos": [{"clips": [{"clip_uid": "…", "annotations": [{"language_queries": [EGO4D_QUERY]}]}]}]}` |
| QVHighlights | `{"vid": "…", "query": "…", "duration": 150, "relevant_windows": [[82, 150]]}` |
| Time-R1 | `{"video": "…", "sentence": "…", "duration": 30.1, "timestamp": [2, 5.5], "video_start": null, …}` |
| TVGBench | `{"path": "…", "question": "…", "answer": "13.4-28", "start": null, "end": null, "duration": 30}` |
| RaTSG | `{"v_x": {"duration": 82.7, "sts": [{"sentence": "…", "timestamp": [0.8, 19.9], "no_answer": false}]}}` |
| your own | `{"video": "…", "query": "…", "duration": 30.1, "span": [2, 5.5]}`, or `"spans": [[2, 5.5], [8, 9]]` |

An EGO4D_QUERY is `{"query": "…", "clip_start_sec": 1, "clip_end_sec": 4}`. QVHighlights, Time-R1, TVGBench and
your own are rows: of JSON Lines, of a JSON array, or one object alone. Keys tell the layouts apart.

A row may be about a part of its video file. `start` and `end` (or `video_start` and `video_end`, `clip_start` and
`clip_end`) are seconds of the file. The segments of the row count from the start of the part, as in TVGBench. The
`duration` of such a row may be that of the part or of the file; `Sample.duration` is that of the part.

The video of an Ego4D query is its clip, `CLIP_UID.mp4`: the times of the query count from the start of the clip.
`Sample.extra` has the `video_uid`.

RaTSG (relevance-aware temporal sentence grounding, Charades-STA) has irrelevant queries, too: sentences of other videos
with `no_answer`. They have no reference answer, since the file gives none.

To add a layout, put a `Format` into `FORMATS`, here or from your own code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from rarft.hivtg.official import Problem, outside_part
from rarft.hivtg.rows import PART_KEYS, SECOND, part_of, span_of, value_of
from rarft.schema import Difficulty, Sample, Span, is_finite_number
from rarft.system.errors import InputError
from rarft.system.files import NAME, Field, open_text, parse_json, read_json

_CHARADES = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s*##(.*)")
_TVGBENCH_ANSWER = re.compile(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*")
_ROWS = (  # the keys of a row: of its video, its query and its segments; one of each
    (("video", "vid"), ("query",), ("span", "spans", "relevant_windows")),
    (("video",), ("sentence",), ("timestamp", "segment")),
    (("path",), ("question",), ("answer",)),
)
_FIELDS = {
    **dict.fromkeys(("video", "query"), Field("text", NAME.fits)),
    **dict.fromkeys(("duration", "start", "end"), SECOND),
}
_RECOGNISED_WITHIN = 1000  # entries; the first ones may be broken


@dataclass(frozen=True)
class Format:
    """A layout of annotation files.

    matches: whether an entry is of this layout. A file is of it if one of its first thousand entries is.
    entries: the entries of a file, each with its number from 0; none if the file cannot be of this layout.
    sample: an entry → a sample; raises ValueError, KeyError or TypeError for one that cannot be used.
    """

    name: str
    matches: Callable[[Any], bool]
    entries: Callable[[Path], Iterator[tuple[int, Any]]]
    sample: Callable[..., Sample]


def read_annotations(
    path: str | Path, report: Callable[[Problem], None], *, allow_empty: bool = False
) -> Iterator[Sample]:
    """Yield a `Sample` for each query of a file, whose layout is recognised by its content. All are relevant, but for
    RaTSG's.

    Text and JSON Lines are read line by line, in constant memory; JSON is read whole. `Sample.extra` keeps the keys
    that have no field. An entry that cannot be used is handed to `report`, and the rest is read.

    Args:
        allow_empty: take segments that end where they begin, or lie outside the video, too. TVGBench has eleven empty
            ones: a label that copies one is correct, but nothing can be grounded in them.

    Raises MissingFileError, or InputError if the layout is not one of the above.
    """
    path = Path(path)
    form = _format_of(path)
    for number, entry in form.entries(path):
        try:
            sample = form.sample(entry, allow_empty=allow_empty)
        except KeyError as error:
            report(Problem(str(path), number, str(error.args[0]), "missing"))
            continue
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            report(Problem(str(path), number, "entry", str(error)))
            continue
        wrong = _wrong_field(sample)
        if wrong:
            report(Problem(str(path), number, *wrong))
        else:
            yield sample


def _format_of(path: Path) -> Format:
    for form in FORMATS:
        if any(form.matches(entry) for _, entry in islice(form.entries(path), _RECOGNISED_WITHIN)):
            return form
    first = next((row for _, row in json_rows(path)), None)
    found = "" if first is None else f"; its first entry: {str(first)[:100]}"
    if isinstance(first, dict):
        found = f"; its first entry has the keys {', '.join(first)}"[:200]
    names = ", ".join(form.name for form in FORMATS)
    raise InputError(f"{path}: no layout that is known ({names}){found}; see the table in rarft/hivtg/annotations.py")


def _wrong_field(sample: Sample) -> tuple[str, str] | None:
    """The first field of a sample that does not fit, and a message; None if all fit."""
    for name, field in _FIELDS.items():
        value = getattr(sample, name)
        if not field.fits(value):
            empty = isinstance(value, str) and not value.strip()
            return name, "empty" if empty else f"{field.expected} was expected, got {value!r}"
    return None


# -- entries of a file -------------------------------------------------------------------------------------------------


def lines_with_numbers(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, in constant memory."""
    with open_text(path) as file:
        for number, line in enumerate(file):
            if line.strip():
                yield number, line.strip()


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of JSON Lines, of an array or of an object, each with its number or that of its video. Another file has
    no rows.

    In place of a row that cannot be read comes an InputError that says why.
    """
    lines = [line for _, line in islice(lines_with_numbers(path), 2)]
    by_line = [isinstance(_parsed(line), dict) for line in lines] if len(lines) == 2 else [False]
    if not by_line[0]:
        try:
            data = read_json(path)
        except InputError:
            if not any(by_line) and "".join(lines).startswith(("[", "{")):
                raise  # JSON was meant
        else:
            yield from enumerate(data) if isinstance(data, list) else _rows_of_object(data)
            return
    if any(by_line):
        yield from ((number, _parsed(line)) for number, line in lines_with_numbers(path))


def _parsed(line: str) -> Any:
    try:
        return parse_json(line, "the line")
    except InputError as error:
        return error


def _rows_of_object(data: Any) -> Iterator[tuple[int, Any]]:
    if not isinstance(data, dict) or is_row(data):
        yield 0, data
    elif isinstance(data.get("videos"), list):
        for number, video in enumerate(data["videos"]):
            for clip in _listed("clips", video):
                yield from ((number, row) for row in _ego4d_rows(video, clip))
    else:
        videos = data["database"] if isinstance(data.get("database"), dict) else data
        ratsg = any(isinstance(video, dict) and video.get("sts") for video in videos.values())
        for number, (name, video) in enumerate(videos.items()):
            if ratsg:
                rows = [{"sts": sentence} for sentence in _listed("sts", video)]
            elif videos is not data:
                rows = _listed("annotations", video)
            else:
                pairs = zip_longest(_listed("sentences", video), _listed("timestamps", video))
                rows = [{"sentence": sentence, "timestamp": timestamp} for sentence, timestamp in pairs]
            shared = _without(video, "sts", "annotations", "sentences", "timestamps")
            yield from ((number, _joined(shared, {"video": name}, row)) for row in rows)


def _ego4d_rows(video: dict, clip: Any) -> Iterator[Any]:
    """The queries of a clip, whose times count from its start."""
    for annotation in _listed("annotations", clip):
        for query in _listed("language_queries", annotation):
            row = _joined(_without(annotation, "language_queries"), query)
            if isinstance(row, dict):
                bounds = clip.get("video_start_sec"), clip.get("video_end_sec")
                row["span"] = [row.pop("clip_start_sec", None), row.pop("clip_end_sec", None)]
                row |= {"video": clip.get("clip_uid"), "video_uid": video.get("video_uid")}
                if all(map(is_finite_number, bounds)):
                    row["duration"] = bounds[1] - bounds[0]
            yield row


def _listed(key: str, holder: Any) -> list:
    """The list under a key; an error in its place if there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else [InputError(f"a list `{key}` was expected")]


def _without(holder: Any, *keys: str) -> dict:
    return {key: value for key, value in holder.items() if key not in keys} if isinstance(holder, dict) else {}


def _joined(*parts: Any) -> Any:
    """One object with the keys of all parts; or the first part that is not an object, or value that is an error."""
    row: dict = {}
    for part in parts:
        if not isinstance(part, dict):
            return part
        row |= part
    return next((value for value in row.values() if isinstance(value, InputError)), row)


# -- an entry → a sample -----------------------------------------------------------------------------------------------


def _is_charades(line: str) -> bool:
    return not line.startswith(("[", "{")) and bool(_CHARADES.fullmatch(line))  # `##` may stand in JSON, too


def _charades(line: str, *, allow_empty: bool) -> Sample:
    match = _CHARADES.fullmatch(line)
    if match is None:
        raise ValueError(f"`VIDEO START END##QUERY` was expected, got {line[:60]!r}")
    return Sample(match[1], match[4].strip(), [checked_segment([float(match[2]), float(match[3])], allow_empty)])


def is_row(row: Any) -> bool:
    """Whether a JSON value has a video, a query and segments under the keys of one layout; or a sentence of RaTSG."""
    return isinstance(row, dict) and ("sts" in row or len(_ROWS[0]) == max(_keys_there(row, keys) for keys in _ROWS))


def _keys_there(row: dict, layout: tuple[tuple[str, ...], ...]) -> int:
    return sum(any(name in row for name in names) for names in layout)


def row_sample(row: Any, *, allow_empty: bool) -> Sample:
    """The sample of a row. Raises KeyError for a missing key. Raises ValueError, whatever `allow_empty` says, for
    two keys that differ, and for a part that is empty or not inside its video."""
    if isinstance(row, InputError):
        raise row
    if not isinstance(row, dict):
        raise TypeError(f"an object was expected, got {type(row).__name__}")
    if "sts" in row:
        return _ratsg_sample(row, allow_empty=allow_empty)
    layout = max(_ROWS, key=partial(_keys_there, row))
    video, query, windows = (value_of(row, names) for names in layout)
    for value, names in zip((video, query, windows), layout, strict=True):
        if value is None:
            raise KeyError(names[0])
    start, end, duration = part_of(row)
    used = {"duration", *PART_KEYS, *(name for names in layout for name in names)}
    sample = Sample(
        video,
        query.strip() if isinstance(query, str) else query,
        [checked_segment(window, allow_empty) for window in _windows(windows, layout[2])],
        duration=duration,
        start=start,
        end=end,
        extra=_without(row, *used),
    )
    late = next((span for span in sample.spans if duration is not None and span.start >= duration), None)
    outside = outside_part(sample) or (late and f"the segment {late} s starts after the {duration:g} s of the video")
    if outside and not allow_empty:
        raise ValueError(outside)
    return sample


def _ratsg_sample(row: dict, *, allow_empty: bool) -> Sample:
    sentence = row["sts"]
    if not isinstance(sentence, dict) or not isinstance(sentence["no_answer"], bool):
        raise ValueError("`sts` is a list of objects with sentence, timestamp and no_answer, true or false")
    merged = _without({**row, **sentence}, "sts", "no_answer")
    if not sentence["no_answer"]:
        return row_sample(merged, allow_empty=allow_empty)
    if sentence.get("timestamp"):
        raise ValueError(f"no_answer is true, but there is a timestamp: {sentence['timestamp']!r}")
    sample = row_sample({**merged, "timestamp": [0, 0]}, allow_empty=True)
    return replace(sample, spans=[], difficulty=Difficulty.SHUFFLED)


def _windows(value: Any, names: tuple[str, ...]) -> list:
    if names == ("answer",):
        match = _TVGBENCH_ANSWER.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"an answer `START-END` was expected, got {value!r}")
        return [[float(match[1]), float(match[2])]]
    several = isinstance(value, list) and value and isinstance(value[0], list)
    return value if several else [value]


def checked_segment(value: Any, allow_empty: bool = False) -> Span:
    """A [start, end] in seconds. Raises ValueError for anything else, and for one that ends where it begins if that is
    not allowed."""
    span = span_of(value)
    if span is None or not 0 <= span.start <= span.end or (span.start == span.end and not allow_empty):
        raise ValueError(f"a segment [start, end] in seconds was expected, got {value!r}")
    return span


FORMATS = [
    Format("Charades-STA", _is_charades, lines_with_numbers, _charades),
    Format(
        "ActivityNet Captions, YouCook2, Ego4D NLQ, QVHighlights, Time-R1, TVGBench, RaTSG, rows with video, query and "
        "span",
        is_row,
        json_rows,
        row_sample,
    ),
]
