"""A grounder in front of a long video: it looks at windows of it, or at all of it squeezed, and gives one answer.

What all ways share is the model that looks. What differs is where: at every window, or where retrieval says. The more
windows it looks at, the more chances it has to find what is asked for, and to see it where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rarft.related.features import FeatureBank
from rarft.related.long_video.grounder import Grounder
from rarft.related.long_video.retrieval import Index
from rarft.related.long_video.videos import parts_of
from rarft.related.protocol import Answer, UntrainedSystem
from rarft.schema import Crop, Sample, Span
from rarft.video import Clip, read_video

NOTHING_FOUND = Answer(Span(0.0, 0.0), 1.0)


@dataclass(frozen=True)
class Window:
    """A part to look at, and what has been found against the query there before any look."""

    crop: Crop
    refusal: float = 0.0  # refusal score in [0, 1]


class WindowedGrounder(UntrainedSystem):
    """Looks at the windows that `choose` names, none if nothing is worth a look, and takes the answer with the lowest
    refusal score: the model's, or that of the window where it is higher."""

    def __init__(self, grounder: Grounder, choose: Callable[[Sample], Sequence[Window]]):
        self.grounder, self.choose = grounder, choose

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """One answer from all windows of a query."""
        chosen = [self.choose(sample) for sample in samples]
        asked = [_about(sample, w.crop) for sample, windows in zip(samples, chosen, strict=True) for w in windows]
        looks = iter(self.grounder.answer(asked))
        answers = []
        for windows in chosen:
            pairs = zip(windows, islice(looks, len(windows)), strict=True)
            answers.append(min((_in_file(*pair) for pair in pairs), key=lambda a: a.refusal, default=NOTHING_FOUND))
        return answers


def _about(sample: Sample, crop: Crop) -> Sample:
    """The same query about one part."""
    length = None if crop.end is None else crop.end - (crop.start or 0.0)
    return Sample(crop.video, sample.query, duration=length, start=crop.start, end=crop.end)


def _in_file(window: Window, answer: Answer) -> Answer:
    """An answer about a window as one about the file."""
    begin = window.crop.start or 0.0
    span = Span(begin + answer.span.start, begin + answer.span.end)
    return replace(answer, span=span, refusal=max(window.refusal, answer.refusal))


def every_window(sample: Sample) -> list[Window]:
    """All parts of the video."""
    return [Window(crop) for crop in parts_of(sample)]


@dataclass(frozen=True)
class NearestWindows:
    """Naive retrieval: the `count` parts of a video whose captions are most similar to the query."""

    indexes: dict[str, Index]  # by the path of the video
    count: int = 3

    def __call__(self, sample: Sample) -> list[Window]:
        index = self.indexes[sample.video]
        best = index.similarity([sample.query])[0].argsort(kind="stable")[::-1][: self.count]
        return [Window(index.parts[part]) for part in best]


class SqueezedGrounder(UntrainedSystem):
    """All of the video at once, squeezed into as many seconds as the model can count.

    grounder: with a cache that reads by `squeezing_reader(seconds)`.
    """

    def __init__(self, grounder: Grounder, seconds: float):
        self.grounder, self.seconds = grounder, seconds

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """The model's answers, in seconds of the file."""
        answers = []
        for sample, answer in zip(samples, self.grounder.answer(samples), strict=True):
            scale = float(sample.duration or 0) / self.seconds
            answers.append(replace(answer, span=Span(answer.span.start * scale, answer.span.end * scale)))
        return answers


def squeezing_reader(seconds: float) -> Callable[..., Clip]:
    """A reader that shows a video of any length as one of `seconds`: as many frames as that has, spread evenly, with
    their times scaled down. For the `reader` of a `rarft.models.VisionCache`."""

    def read(path: str, *, fps: float, **video: Any) -> Clip:
        clip = read_video(path, fps, **{**video, "max_frames": round(fps * seconds), "max_seconds": None})
        return replace(clip, seconds=clip.seconds * (seconds / clip.duration), duration=seconds, fps=fps)

    return read
