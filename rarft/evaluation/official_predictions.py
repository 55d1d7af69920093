"""Read prediction files of the released evaluator."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rarft.asking.answer import Answer, Prediction
from rarft.hivtg.official import DIFFICULTIES, split_answer
from rarft.hivtg.rows import DIFFICULTY_KEYS, span_of
from rarft.schema import Category, Difficulty, Sample
from rarft.system.errors import InputError
from rarft.system.files import TEXT, Field, checked_row, read_json, short_json
from rarft.video.find import video_id

log = logging.getLogger(__name__)
ROW = {
    **dict.fromkeys(("video", "query", "model_output"), TEXT),
    "gt_relevant": Field("true or false", lambda value: isinstance(value, bool)),
    "gt_categories": Field("a list", lambda value: not value or isinstance(value, list)),
}


def read_official_predictions(path: str | Path) -> list[Prediction]:
    """Read a prediction file of the released evaluator, for its own reading: an array of rows with `video`, `query`,
    `model_output`, `gt_relevant`, `gt_timestamp`, `gt_output`, `irrelevance_level` and `gt_categories`.

    The released inference leaves the level empty; the difficulty of such a row is UNKNOWN (see `with_truth_of`).
    Unknown categories are left out with a warning.

    Raises InputError, which names the row and the field, for a field that is missing or of the wrong type.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected an array of predictions, got {type(rows).__name__}")
    return [_official_prediction(row, f"{path}, row {number}") for number, row in enumerate(rows)]


def _official_prediction(row: Any, place: str) -> Prediction:
    checked_row(row, ROW, place)
    relevant, span = row["gt_relevant"], span_of(row.get("gt_timestamp"))
    if relevant and span is None:
        found = short_json(row.get("gt_timestamp"))
        raise InputError(f"{place}: the field 'gt_timestamp' should be two numbers of seconds, got {found}")
    answer, correction = split_answer(str(row.get("gt_output") or ""))
    named, known = row.get("gt_categories") or [], {category.value for category in Category}
    for name in named:
        if name not in known:
            log.warning("%s, gt_categories: unknown category %r is left out", place, name)
    sample = Sample(
        row["video"],
        row["query"],
        [span] if relevant and span else [],
        answer=answer,
        correction="" if relevant else correction,
        categories=[category for category in Category if category.value in named],
        difficulty=Difficulty.ORIGINAL if relevant else _level(row, place),
    )
    return Prediction(sample, Answer(row["model_output"]), reading="official")


def _level(row: dict, place: str) -> Difficulty:
    """The difficulty that an irrelevant row states; UNKNOWN if it states none."""
    key = next((key for key in DIFFICULTY_KEYS if row.get(key)), None)
    if key is None or row[key] == Difficulty.UNKNOWN:
        return Difficulty.UNKNOWN
    level = DIFFICULTIES.get(str(row[key]), Difficulty.ORIGINAL)
    if level is Difficulty.ORIGINAL:
        known = ", ".join(name for name, value in DIFFICULTIES.items() if value is not Difficulty.ORIGINAL)
        raise InputError(
            f"{place}: the field {key!r} of an irrelevant query should be one of {known}, got {row[key]!r}"
        )
    return level


def with_truth_of(predictions: Sequence[Prediction], samples: Iterable[Sample], files: str) -> list[Prediction]:
    """Add what the predictions lack from the data file: difficulty, duration, correction, categories.

    Queries are matched by their text and the base name of their video. Warnings state the number of queries without a
    match, and of those whose difficulty stays unknown.

    Args:
        files: the names of both files, for messages.

    Raises InputError if no query matches, or if a query is relevant in one file and irrelevant in the other.
    """
    truth: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        truth[_key(sample)].append(sample)
    unmatched = [number for number, p in enumerate(predictions) if _key(p.sample) not in truth]
    if len(unmatched) == len(predictions):
        raise InputError(f"{files}: none of the queries of the predictions is in the data file")
    completed = [_completed(p, truth[_key(p.sample)], f"{files}: row {number}") for number, p in enumerate(predictions)]
    if unmatched:
        counts = f"{len(unmatched)} of {len(predictions)}"
        log.warning("%s predictions, such as row %d, are not in the data file", counts, unmatched[0])
    unknown = sum(p.sample.difficulty is Difficulty.UNKNOWN for p in completed)
    if unknown:
        log.warning("%d irrelevant queries have no stated difficulty; it is set to unknown", unknown)
    return completed


def _key(sample: Sample) -> tuple[str, str]:
    return video_id(sample.video), sample.query.strip()


def _completed(prediction: Prediction, matches: Sequence[Sample], place: str) -> Prediction:
    own = prediction.sample
    agreeing = [match for match in matches if match.relevant is own.relevant]
    if matches and not agreeing:
        raise InputError(f"{place}: {own.query!r} is relevant in one of the two files and irrelevant in the other")
    agreeing = [match for match in agreeing if match.spans == own.spans] or agreeing

    def stated(name: str) -> Any:
        """The value on which all matches agree, else None. A query may match several parts of a video."""
        values = [getattr(match, name) for match in agreeing]
        return values[0] if values and all(value == values[0] for value in values) else None

    level = stated("difficulty") if own.difficulty is Difficulty.UNKNOWN else None
    sample = replace(
        own,
        duration=stated("duration"),
        correction=own.correction or stated("correction") or "",
        categories=own.categories or stated("categories") or [],
        difficulty=level or own.difficulty,
    )
    return replace(prediction, sample=sample)
