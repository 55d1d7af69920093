"""Prediction files of the released evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rarft.errors import InputError
from rarft.evaluation.predictions import Prediction
from rarft.files import read_json
from rarft.hivtg.official import LEVELS, span_of, split_answer
from rarft.schema import Category, Difficulty, Sample


def read_official_predictions(path: str | Path) -> list[Prediction]:
    """The predictions of the released evaluator, an array of `video`, `query`, `model_output`, `gt_relevant`,
    `gt_timestamp`, `gt_output`, `irrelevance_level` and `gt_categories`, to be read as it reads them.

    Raises InputError that names the row and the field if one is missing or of the wrong kind.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: an array of predictions was expected, got {type(rows).__name__}")
    return [_official_prediction(row, f"{path}, row {number}") for number, row in enumerate(rows)]


def _official_prediction(row: Any, place: str) -> Prediction:
    kinds = {"video": str, "query": str, "model_output": str, "gt_relevant": bool}
    for name, kind in kinds.items():
        if not isinstance(row, dict) or not isinstance(row.get(name), kind):
            raise InputError(f"{place}: the field {name!r} ({kind.__name__}) is missing")
    relevant, span = row["gt_relevant"], span_of(row.get("gt_timestamp"))
    if relevant and span is None:
        raise InputError(
            f"{place}: the field 'gt_timestamp' should be two numbers of seconds, got {row.get('gt_timestamp')!r}"
        )
    answer, correction = split_answer(str(row.get("gt_output") or ""))
    named = row.get("gt_categories") or []
    if not isinstance(named, list):
        raise InputError(f"{place}: the field 'gt_categories' should be a list, got {named!r}")
    sample = Sample(
        row["video"],
        row["query"],
        [span] if relevant and span else [],
        answer=answer,
        correction=correction,
        categories=[category for category in Category if category.value in named],
        difficulty=Difficulty.ORIGINAL
        if relevant
        else LEVELS.get(str(row.get("irrelevance_level")), Difficulty.SHUFFLED),
    )
    return Prediction(sample, row["model_output"], reading="official")
