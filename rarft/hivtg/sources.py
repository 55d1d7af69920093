"""Source annotations: what a video's own data set says happens in it, to check released labels against.

Read are TVGBench (a JSON array with `path`, `question`, `answer`, `start`, `end`), RaTSG's Charades-STA (a JSON
object video → `sts`, `duration`) and every layout of `rarft.hivtg.annotations`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from rarft.hivtg.annotations import read_annotations
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
    """The name of a video file without folder and ending."""
    return Path(path).stem


def normalise(sentence: str) -> str:
    """Lower case, single spaces, no full stop at the end: two spellings of one annotation compare equal."""
    return " ".join(sentence.lower().split()).rstrip(" .")


def read_sources(paths: list[str | Path]) -> dict[str, SourceVideo]:
    """Read source files into one table by video id. Raises ValueError, naming the file, for an unknown layout."""
    videos: dict[str, SourceVideo] = {}
    for path in paths:
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            data = None  # text or JSON Lines
        if isinstance(data, list) and data and {"path", "question", "answer"} <= data[0].keys():
            _add_tvgbench(videos, data)
        elif isinstance(data, dict) and data and "sts" in next(iter(data.values())):
            _add_ratsg(videos, data)
        else:
            _add_annotations(videos, path)
    return videos


def _add_annotations(videos: dict[str, SourceVideo], path: str | Path) -> None:
    samples = list(read_annotations(path, lambda problem: log.warning("left out: %s", problem)))
    for sample in samples:
        video = videos.setdefault(video_id(sample.video), SourceVideo())
        video.duration = sample.duration or video.duration
        sentence = normalise(sample.query)
        video.spans.setdefault(sentence, []).extend(sample.spans)
        if len(sample.spans) > 1:
            video.windows[sentence] = len(sample.spans)
    if not samples:
        raise ValueError(f"{path}: not a source annotation file that is known; see the table in rarft/hivtg/annotations.py")


def _add_tvgbench(videos: dict[str, SourceVideo], rows: list[dict]) -> None:
    for row in rows:
        video = videos.setdefault(video_id(row["path"]), SourceVideo())
        start, end = (float(part) for part in row["answer"].split("-"))
        offset = row["start"] or 0.0
        sentence = normalise(row["question"])
        video.spans.setdefault(sentence, []).append(Span(offset + start, offset + end))
        if row["start"] is None:
            video.duration = row["duration"]
        else:
            video.crops[sentence] = Span(row["start"], row["end"])


def _add_ratsg(videos: dict[str, SourceVideo], table: dict) -> None:
    for name, row in table.items():
        video = videos.setdefault(name, SourceVideo())
        video.duration = row["duration"]
        for sentence in row["sts"]:
            if not sentence["no_answer"]:
                video.spans.setdefault(normalise(sentence["sentence"]), []).append(Span(*sentence["timestamp"]))
