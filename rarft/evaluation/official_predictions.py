"""Prediction files of the released evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rarft.evaluation.predictions import Prediction
from rarft.hivtg.official import LEVELS, span_of, split_answer
from rarft.hivtg.rows import LEVEL_KEYS
from rarft.schema import Category, Difficulty, Sample
from rarft.system.errors import InputError
from rarft.system.files import read_json
from rarft.video.find import video_id


def read_official_predictions(path: str | Path, report: Callable[[str], None] = print) -> list[Prediction]:
    """The predictions of the released evaluator, an array of `video`, `query`, `model_output`, `gt_relevant`,
    `gt_timestamp`, `gt_output`, `irrelevance_level` and `gt_categories`, to be read as it reads them.

    The released inference always writes an empty level. The difficulty of such a row is UNKNOWN; see `with_truth_of`.
    Categories other than the eleven known ones are left out and reported.

    Raises InputError that names the row and the field if one is missing or of the wrong kind.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: an array of predictions was expected, got {type(rows).__name__}")
    return [_official_prediction(row, f"{path}, row {number}", report) for number, row in enumerate(rows)]


def _official_prediction(row: Any, place: str, report: Callable[[str], None]) -> Prediction:
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
    sample = Sample(
        row["video"],
        row["query"],
        [span] if relevant and span else [],
        answer=answer,
        correction="" if relevant else correction,
        categories=_categories(row, place, report),
        difficulty=Difficulty.ORIGINAL if relevant else _level(row, place),
    )
    return Prediction(sample, row["model_output"], reading="official")


def _categories(row: dict, place: str, report: Callable[[str], None]) -> list[Category]:
    named = row.get("gt_categories") or []
    if not isinstance(named, list):
        raise InputError(f"{place}: the field 'gt_categories' should be a list, got {named!r}")
    known = {category.value for category in Category}
    for name in named:
        if name not in known:
            report(f"{place}, gt_categories: unknown category {name!r} is left out")
    return [category for category in Category if category.value in named]


def _level(row: dict, place: str) -> Difficulty:
    """The difficulty that an irrelevant row states; UNKNOWN if it states none."""
    key = next((key for key in LEVEL_KEYS if row.get(key)), None)
    if key is None or row[key] == Difficulty.UNKNOWN:
        return Difficulty.UNKNOWN
    level = LEVELS.get(str(row[key]), Difficulty.ORIGINAL)
    if level is Difficulty.ORIGINAL:
        known = ", ".join(name for name, value in LEVELS.items() if value is not Difficulty.ORIGINAL)
        raise InputError(
            f"{place}: the field {key!r} of an irrelevant query should be one of {known}, got {row[key]!r}"
        )
    return level


def with_truth_of(
    predictions: Sequence[Prediction], samples: Iterable[Sample], files: str, report: Callable[[str], None] = print
) -> list[Prediction]:
    """Predictions with the fields that their own file lacks, from the data file: difficulty, duration, correction,
    categories.

    Queries are matched by the video's base name and the text. `report` gets the number of queries without a match, and
    of those whose difficulty stays unknown. files: names of both, for messages.

    Raises InputError if no query matches, or if a query is relevant in one file and irrelevant in the other.
    """
    truth: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        truth.setdefault(_key(sample), []).append(sample)
    unmatched = [number for number, p in enumerate(predictions) if _key(p.sample) not in truth]
    if len(unmatched) == len(predictions):
        raise InputError(f"{files}: none of the queries of the predictions is in the data file")
    completed = [
        _completed(f"{files}: row {number}", p, truth.get(_key(p.sample), [])) for number, p in enumerate(predictions)
    ]
    if unmatched:
        report(
            f"{len(unmatched)} of {len(predictions)} predictions, such as row {unmatched[0]}, are not in the data file"
        )
    unknown = sum(p.sample.difficulty is Difficulty.UNKNOWN for p in completed)
    if unknown:
        report(f"{unknown} irrelevant queries have no stated difficulty; it is set to unknown")
    return completed


def _key(sample: Sample) -> tuple[str, str]:
    return video_id(sample.video), sample.query.strip()


def _completed(place: str, prediction: Prediction, matches: Sequence[Sample]) -> Prediction:
    if not matches:
        return prediction
    own = prediction.sample
    agreeing = [match for match in matches if match.relevant is own.relevant]
    if not agreeing:
        raise InputError(f"{place}: {own.query!r} is relevant in one of the two files and irrelevant in the other")
    agreeing = [match for match in agreeing if match.spans == own.spans] or agreeing

    def stated(name: str) -> Any:
        """What all rows of the data say, which may ask the same query about several parts of a video."""
        first, *others = (getattr(match, name) for match in agreeing)
        return first if all(other == first for other in others) else None

    level = stated("difficulty") if own.difficulty is Difficulty.UNKNOWN else None
    sample = replace(
        own,
        duration=stated("duration"),
        correction=own.correction or stated("correction") or "",
        categories=own.categories or stated("categories") or [],
        difficulty=level or own.difficulty,
    )
    return replace(prediction, sample=sample)
