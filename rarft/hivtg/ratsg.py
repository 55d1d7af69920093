"""RaTSG's Charades-STA (relevance-aware temporal sentence grounding): a JSON object video → `duration` and `sts`, the
sentences of the video and sentences of other videos that it does not contain (`no_answer`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rarft.hivtg.annotations import Report, read_annotations, read_entry, row_sample
from rarft.schema import Difficulty, Sample
from rarft.system.errors import InputError
from rarft.system.files import read_json

_OWN_KEYS = ("sts", "no_answer")


def read_ratsg_or_annotations(path: str | Path, report: Report, *, allow_empty: bool = False) -> Iterator[Sample]:
    """The samples of RaTSG's file, or of grounding annotations (`rarft.hivtg.annotations.read_annotations`, whose
    arguments and errors these are)."""
    table = _table(path)
    if table is None:
        return read_annotations(path, report, allow_empty=allow_empty)
    return _read(path, table, report, allow_empty=allow_empty)


def _table(path: str | Path) -> dict[str, Any] | None:
    """The JSON object of a file in RaTSG's layout; None for any other file. Raises MissingFileError."""
    try:
        data = read_json(path)
    except InputError:
        return None  # text or JSON Lines
    rows = data.values() if isinstance(data, dict) else ()
    return data if any(isinstance(row, dict) and "sts" in row for row in rows) else None


def _read(path: str | Path, table: dict[str, Any], report: Report, *, allow_empty: bool) -> Iterator[Sample]:
    """Relevant and irrelevant samples; the latter have no reference answer, since the file gives none. A sentence that
    cannot be used is handed to `report` with the number of its video."""
    parse = partial(_sample, allow_empty=allow_empty)
    for number, (video, row) in enumerate(table.items()):
        sentences = row.get("sts") if isinstance(row, dict) else None
        for sentence in sentences if isinstance(sentences, list) else [None]:
            yield from read_entry(Path(path), report, parse, (number, (video, row, sentence)))


def _sample(entry: tuple[str, dict, dict], *, allow_empty: bool) -> Sample:
    video, row, sentence = entry
    if not isinstance(sentence, dict) or not isinstance(sentence["no_answer"], bool):
        raise ValueError("`sts` is a list of objects with sentence, timestamp and no_answer, true or false")
    merged = {key: value for key, value in {**row, "video": video, **sentence}.items() if key not in _OWN_KEYS}
    if not sentence["no_answer"]:
        return row_sample(merged, allow_empty=allow_empty)
    if sentence.get("timestamp"):
        raise ValueError(f"no_answer is true, but there is a timestamp: {sentence['timestamp']!r}")
    sample = row_sample({**merged, "timestamp": [0, 0]}, allow_empty=True)
    return replace(sample, spans=[], difficulty=Difficulty.SHUFFLED)
