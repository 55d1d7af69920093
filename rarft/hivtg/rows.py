"""What a row of a released file may hold: each field is checked against a schema, and what fails it is named and left
out.

A file of other people's making may have any JSON value anywhere. After `usable` the rest of the library can rely on
types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jsonschema import Draft202012Validator

from rarft.schema import is_finite_number

TEXT = {"type": ["string", "null"]}
SPAN = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
SECOND = {"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0}]}
LEVEL_KEYS = ("difficulty", "irrelevance_level", "hardness_level")

ROW: dict[str, dict[str, Any]] = {
    "video": {"type": "string", "pattern": r"\S"},
    "GRPO": {"type": "array", "minItems": 1},
    "query_text": TEXT,
    # An SS-VTG row whose queries are all irrelevant has an empty one.
    "timestamp": {"anyOf": [SPAN, {"type": "null"}, {"type": "array", "maxItems": 0}]},
    "duration": {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMinimum": 0}]},
    "video_start": SECOND,
    "video_end": SECOND,
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
    "video_start": "a finite number of seconds, or null",
    "video_end": "a finite number of seconds, or null",
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
    reported with what was expected.
    """
    if not isinstance(row, dict):
        report("row", f"an object was expected, got {type(row).__name__}")
        return None
    for name in ("video", "GRPO"):
        if not row.get(name):
            report(name, "missing")
            return None
    good = _good_fields(row, _ROW_CHECKS, report)
    if "video" not in good or "GRPO" not in good:
        return None
    good["GRPO"] = [_usable_item(item, f"GRPO[{place}]", report) for place, item in enumerate(good["GRPO"])]
    return good


def _usable_item(item: Any, place: str, report: Report) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        report(place, f"an object was expected, got {type(item).__name__}")
        return None
    missing = [name for name in ("q", "r") if name not in item]
    if missing:
        report(place, f"{missing[0]} is missing: {_EXPECTED[missing[0]]} was expected")
        return None
    good = _good_fields(item, _ITEM_CHECKS, lambda name, message: report(place, f"{name}: {message}"))
    return good if "q" in good and "r" in good else None


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
