"""Source annotations: what a video's own data set says happens in it, to check released labels against.

Read are RaTSG's Charades-STA (a JSON object video → `sts`, `duration`) and every layout of `rarft.hivtg.annotations`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rarft.errors import InputError, MissingFileError
from rarft.files import VIDEO_SUFFIXES, read_json
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.official import span_of
from rarft.schema import Span

log = logging.getLogger(__name__)


@dataclass
class SourceVideo:
    """A video's duration in seconds, and its annotated sentences, normalised, each with its segments.

    crops: for clipped videos, sentence → (clip start, clip end) in seconds of the whole video; the segments are
    absolute.
    windows: how many segments one annotation gives for a sentence, where it gives several (QVHighlights).
    """

    duration: float | None = None
    spans: dict[str, list[Span]] = field(default_factory=dict)
    crops: dict[str, Span] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)


def video_id(path: str) -> str:
    """The name of a video without folder and without the ending of a video file: ids may hold dots (`x_60.0_210.0`)."""
    name = Path(path).name
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in VIDEO_SUFFIXES else name


def normalise(sentence: str) -> str:
    """Lower case, single spaces, no full stop at the end: two spellings of one annotation compare equal."""
    return " ".join(sentence.lower().split()).rstrip(" .")


def read_sources(paths: Sequence[str | Path]) -> dict[str, SourceVideo]:
    """Read source files into one table by video id. Raises InputError, naming the file, for an unknown layout."""
    videos: dict[str, SourceVideo] = {}
    for path in paths:
        table = _ratsg_table(path)
        if table is None:
            _add_annotations(videos, path)
        else:
            _add_ratsg(videos, path, table)
    return videos


def _ratsg_table(path: str | Path) -> dict | None:
    """The JSON object of a file in RaTSG's layout; None for any other file."""
    try:
        data = read_json(path)
    except MissingFileError:
        raise
    except InputError:
        return None  # text or JSON Lines
    rows = data.values() if isinstance(data, dict) else ()
    return data if any(isinstance(row, dict) and "sts" in row for row in rows) else None


def _add_annotations(videos: dict[str, SourceVideo], path: str | Path) -> None:
    samples = list(read_annotations(path, lambda problem: log.warning("left out: %s", problem), allow_empty=True))
    for sample in samples:
        video = videos.setdefault(video_id(sample.video), SourceVideo())
        sentence = normalise(sample.query)
        offset = sample.start or 0.0
        video.spans.setdefault(sentence, []).extend(Span(offset + s.start, offset + s.end) for s in sample.spans)
        if sample.start is None:
            video.duration = sample.duration or video.duration
        elif sample.end is not None:
            video.crops[sentence] = Span(sample.start, sample.end)
        if len(sample.spans) > 1:
            video.windows[sentence] = len(sample.spans)
    if not samples:
        raise InputError(
            f"{path}: not a source annotation file that is known; see the table in rarft/hivtg/annotations.py"
        )


def _add_ratsg(videos: dict[str, SourceVideo], path: str | Path, table: dict) -> None:
    for name, row in table.items():
        try:
            sentences = [(normalise(s["sentence"]), span_of(s["timestamp"])) for s in row["sts"] if not s["no_answer"]]
            duration = float(row["duration"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("left out: %s, %s: %r", path, name, error)
            continue
        video = videos.setdefault(video_id(name), SourceVideo())
        video.duration = duration
        for sentence, span in sentences:
            if span is not None:
                video.spans.setdefault(sentence, []).append(span)
