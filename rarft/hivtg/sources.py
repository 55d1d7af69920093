"""Source annotations: what a video's own data set says happens in it, to check released labels against."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.official import Problem
from rarft.schema import Span
from rarft.system.errors import InputError
from rarft.video.find import video_id

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


def normalise(sentence: str) -> str:
    """Lower case, single spaces, no full stop at the end: two spellings of one annotation compare equal."""
    return " ".join(sentence.lower().split()).rstrip(" .")


def read_sources(paths: Sequence[str | Path]) -> dict[str, SourceVideo]:
    """Read source files, in any layout of `rarft.hivtg.annotations`, into one table by video id. Raises InputError,
    naming the file, for an unknown layout."""
    videos: dict[str, SourceVideo] = {}
    for path in paths:
        samples = [sample for sample in read_annotations(path, _warn, allow_empty=True) if sample.relevant]
        if not samples:
            raise InputError(
                f"{path}: not a source annotation file that is known; see the table in rarft/hivtg/annotations.py"
            )
        for sample in samples:
            video = videos.setdefault(video_id(sample.video), SourceVideo())
            sentence, offset = normalise(sample.query), sample.start or 0.0
            spans = [Span(offset + span.start, offset + span.end) for span in sample.spans]
            video.spans.setdefault(sentence, []).extend(spans)
            if sample.start is None and sample.end is None:
                video.duration = sample.duration or video.duration
            elif sample.end is not None:
                video.crops[sentence] = Span(offset, sample.end)
            if len(spans) > 1:
                video.windows[sentence] = len(spans)
    return videos


def _warn(problem: Problem) -> None:
    log.warning("left out: %s", problem)
