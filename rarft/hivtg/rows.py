"""What a row of a released file may hold: each field is checked, and what does not fit is named and left out.

A file from elsewhere may have any JSON value anywhere. After `sanitize_row` the rest of the library can rely on types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rarft.schema import Span, is_finite_number
from rarft.system.files import NAME, TEXT, Field

DIFFICULTY_KEYS = ("difficulty", "irrelevance_level", "hardness_level")
STARTS, ENDS = ("start", "video_start", "clip_start"), ("end", "video_end", "clip_end")
PART_KEYS = (*STARTS, *ENDS)
SLACK = 1.0  # seconds by which a duration may be wrong before times contradict it


def span_of(value: Any) -> Span | None:
    """A [start, end] of two finite numbers as a Span; None for anything else."""
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_finite_number, value))):
        return None
    return Span(float(value[0]), float(value[1]))


def _or_null(expected: str, fits: Callable[[Any], bool]) -> Field:
    return Field(expected, lambda value: value is None or fits(value))


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


SPAN = Field("two finite numbers of seconds", lambda value: span_of(value) is not None)
_TEXT = _or_null("text", TEXT.fits)
SECOND = _or_null("a finite number of seconds, or null", lambda value: is_finite_number(value) and value >= 0)
ROW = {
    "video": Field("a path or an id", NAME.fits),
    "GRPO": Field("a list of queries", lambda value: isinstance(value, list) and value != []),
    "query_text": _TEXT,
    # An SS-VTG row whose queries are all irrelevant has an empty one.
    "timestamp": _or_null(SPAN.expected, lambda value: value == [] or SPAN.fits(value)),
    "duration": _or_null("a finite number of seconds above 0", lambda value: is_finite_number(value) and value > 0),
    **dict.fromkeys(PART_KEYS, SECOND),
    "relevant_windows": _or_null("a list of [start, end] in seconds", _list_of(SPAN.fits)),
    "think": _TEXT,
    "PRO": _or_null("an object", lambda value: isinstance(value, dict) and _TEXT.fits(value.get("prompt"))),
}
ITEM = {
    "q": Field("a query", NAME.fits),
    "r": Field("true or false", lambda value: isinstance(value, bool)),
    "a": _TEXT,
    "c": _or_null("a list of categories", _list_of(TEXT.fits)),
    "timestamp": SPAN,
    "q_origin": _TEXT,
    **dict.fromkeys(DIFFICULTY_KEYS, _TEXT),
}


def sanitize_row(row: Any, report: Callable[[str, str], None]) -> dict[str, Any] | None:
    """A copy of a row without the fields that cannot be what they should; None if there is no row left.

    An item of GRPO that cannot be used becomes None, so that the others keep their places. `report` gets the name of
    every field left out, and what was expected. A row about a part of its video (`part_of`) gets `video_start`,
    `video_end` and `duration` of that part. It becomes None if the part cannot be determined.
    """
    if not isinstance(row, dict):
        report("row", f"an object was expected, got {type(row).__name__}")
        return None
    missing = next((name for name in ("video", "GRPO") if not row.get(name)), None)
    if missing:
        report(missing, "missing")
        return None
    good = _fitting(row, ROW, report)
    if any(name in row and name not in good for name in ("video", "GRPO", *PART_KEYS)):
        return None
    try:
        start, end, duration = part_of(good)
    except ValueError as error:
        report("row", str(error))
        return None
    if start is not None or end is not None:
        good |= {"video_start": start, "video_end": end, "duration": duration}
    good["GRPO"] = [_sanitize_item(item, f"GRPO[{place}]", report) for place, item in enumerate(good["GRPO"])]
    return good


def _sanitize_item(item: Any, place: str, report: Callable[[str, str], None]) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        report(place, f"an object was expected, got {type(item).__name__}")
        return None
    missing = next((name for name in ("q", "r") if name not in item), None)
    if missing:
        report(place, f"{missing} is missing: {ITEM[missing].expected} was expected")
        return None
    good = _fitting(item, ITEM, lambda name, message: report(place, f"{name}: {message}"))
    return good if good.keys() >= item.keys() & {"q", "r", "timestamp"} else None  # not the row's timestamp instead


def _fitting(row: dict, fields: Mapping[str, Field], report: Callable[[str, str], None]) -> dict[str, Any]:
    good = {}
    for name, value in row.items():
        if name in fields and not fields[name].fits(value):
            report(name, f"{fields[name].expected} was expected, got {str(value)[:60]!r}")
        else:
            good[name] = value
    return good


def part_of(row: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Start and end of the part of its video that a row is about, in seconds of the file, and the length of the part in
    seconds. None stands for the start of the file, for its end, and for an unknown length.

    The keys are `PART_KEYS` and `duration`. A duration within `SLACK` of end - start is that of the part, another that
    of the file.
    Raises ValueError that names what is wrong.
    """
    start, end = (_seconds_of(row, names, least=0) for names in (STARTS, ENDS))
    duration = _seconds_of(row, ("duration",), least=math.ulp(0.0))
    begin = start or 0.0
    until = duration if end is None else end
    if until is not None and until <= begin:
        raise ValueError(f"the part from {begin:g} s to {until:g} s of the video is empty")
    if end is None:
        return start, None, None if duration is None else duration - begin
    length = end - begin
    if duration is not None and abs(duration - length) <= SLACK:
        return start, end, duration
    if duration is not None and end > duration + SLACK:
        raise ValueError(f"the part from {begin:g} s to {end:g} s is not inside the {duration:g} s of the video")
    return start, end, length


def _seconds_of(row: dict[str, Any], names: Sequence[str], least: float) -> float | None:
    value = value_of(row, names)
    if value is not None and not (is_finite_number(value) and value >= least):
        raise ValueError(f"`{names[0]}`: a finite number of seconds was expected, got {str(value)[:60]!r}")
    return value


def value_of(row: dict[str, Any], names: Sequence[str]) -> Any:
    """What a row says under one of several names for the same thing; None if nothing. Raises ValueError if two names
    say different things."""
    there = [name for name in names if row.get(name) is not None]
    other = next((name for name in there if row[name] != row[there[0]]), None)
    if other:
        raise ValueError(f"`{there[0]}` and `{other}` differ; keep one of them")
    return row[there[0]] if there else None
