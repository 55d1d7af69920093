"""What a row of a released file may hold: each field is checked against a schema, and what fails it is named and left
out.

A file of other people's making may have any JSON value anywhere. After `usable` the rest of the library can rely on
types."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from rarft.schema import is_finite_number

TEXT = {"type": ["string", "null"]}
SPAN = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
SECOND = {"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0}]}
LEVEL_KEYS = ("difficulty", "irrelevance_level", "hardness_level")
STARTS, ENDS = ("start", "video_start", "clip_start"), ("end", "video_end", "clip_end")
PART_KEYS = (*STARTS, *ENDS)
SLACK = 1.0  # seconds by which a duration may be wrong before times contradict it

ROW: dict[str, dict[str, Any]] = {
    "video": {"type": "string", "pattern": r"\S"},
    "GRPO": {"type": "array", "minItems": 1},
    "query_text": TEXT,
    # An SS-VTG row whose queries are all irrelevant has an empty one.
    "timestamp": {"anyOf": [SPAN, {"type": "null"}, {"type": "array", "maxItems": 0}]},
    "duration": {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMinimum": 0}]},
    **{key: SECOND for key in PART_KEYS},
    "relevant_windows": {"type": ["array", "null"], "items": SPAN},
    "think": TEXT,
    "PRO": {"type": ["object", "null"], "properties": {"prompt": TEXT, "answer": {"type": ["object", "null"]}}},
}
ITEM: dict[str, dict[str, Any]] = {
    "q": {"type": "string", "pattern": r"\S"},
    "r": {"type": "boolean"},
    "a": TEXT,
    "c": {"type": ["array", "null"], "items": {"type": "string"}},
    "timestamp": SPAN,
    "q_origin": TEXT,
    **{key: TEXT for key in LEVEL_KEYS},
}
_EXPECTED = {
    "video": "a path or an id",
    "GRPO": "a list of queries",
    "timestamp": "two finite numbers of seconds",
    "duration": "a finite number of seconds above 0",
    **{key: "a finite number of seconds, or null" for key in PART_KEYS},
    "relevant_windows": "a list of [start, end] in seconds",
    "q": "a query",
    "r": "true or false",
    "c": "a list of categories",
    "PRO": "an object",
}
_ROW_CHECKS = {name: Draft202012Validator(schema) for name, schema in ROW.items()}
_ITEM_CHECKS = {name: Draft202012Validator(schema) for name, schema in ITEM.items()}

Report = Callable[[str, str], None]  # field, message


def usable(row: Any, report: Report) -> dict[str, Any] | None:
    """A copy of a row without the fields that cannot be what they should; None if there is no row left.

    An item of GRPO that is not usable becomes None, so that the others keep their places. Every field left out is
    reported with what was expected. A row about a part of its video (`part_of`) gets `video_start`, `video_end`
    and `duration` of that part. It becomes None if the part cannot be determined.
    """
    if not isinstance(row, dict):
        report("row", f"an object was expected, got {type(row).__name__}")
        return None
    for name in ("video", "GRPO"):
        if not row.get(name):
            report(name, "missing")
            return None
    good = _good_fields(row, _ROW_CHECKS, report)
    if "video" not in good or "GRPO" not in good or any(key in row and key not in good for key in PART_KEYS):
        return None
    try:
        start, end, duration = part_of(good)
    except ValueError as error:
        report("row", str(error))
        return None
    if start is not None or end is not None:
        good |= {"video_start": start, "video_end": end, "duration": duration}
    good["GRPO"] = [_usable_item(item, f"GRPO[{place}]", report) for place, item in enumerate(good["GRPO"])]
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


def _usable_item(item: Any, place: str, report: Report) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        report(place, f"an object was expected, got {type(item).__name__}")
        return None
    missing = [name for name in ("q", "r") if name not in item]
    if missing:
        report(place, f"{missing[0]} is missing: {_EXPECTED[missing[0]]} was expected")
        return None
    good = _good_fields(item, _ITEM_CHECKS, lambda name, message: report(place, f"{name}: {message}"))
    return good if good.keys() >= item.keys() & {"q", "r", "timestamp"} else None  # not the row's timestamp instead


def _good_fields(row: dict, checks: dict[str, Draft202012Validator], report: Report) -> dict[str, Any]:
    good = {}
    for name, value in row.items():
        if name in checks and not (checks[name].is_valid(value) and (name == "GRPO" or _finite(value))):
            report(name, f"{_EXPECTED.get(name, 'text')} was expected, got {str(value)[:60]!r}")
        else:
            good[name] = value
    return good


def _finite(value: Any) -> bool:
    """Numbers that JSON Schema lets pass and a float cannot hold: JSON's readers take NaN, Infinity and any integer."""
    values = value if isinstance(value, list) else [value]
    return all(is_finite_number(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool))
