"""A grounder in front of a long video: it looks at parts of it, or at all of it squeezed, and gives one answer.

What all ways share is the model that looks. What differs is where: at every window, or where retrieval says. The more
parts it looks at, the more chances it has to find what is asked for, and to see it where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rarft.related.bank import Bank
from rarft.related.long_video.clips import parts_of
from rarft.related.long_video.grounder import Grounder
from rarft.related.long_video.retrieval import Index
from rarft.related.protocol import Answer, Untrained
from rarft.schema import Crop, Sample, Span
from rarft.video import Clip, read_video


@dataclass(frozen=True)
class Choice:
    """A part to look at. doubt: in [0, 1], what has been found against the query there before any look."""

    crop: Crop
    doubt: float = 0.0


class Looking(Untrained):
    """Looks at the parts that `choose` names, none if nothing is worth a look, and takes the one that it doubts least.

    The doubt of a part is the model's, or that of the choice where it is higher; the least is the refusal score.
    """

    def __init__(self, grounder: Grounder, choose: Callable[[Sample], Sequence[Choice]]):
        self.grounder, self.choose = grounder, choose

    def answer(self, samples: Sequence[Sample], bank: Bank | None = None) -> list[Answer]:
        chosen = [self.choose(sample) for sample in samples]
        asked = [_about(sample, c.crop) for sample, choices in zip(samples, chosen, strict=True) for c in choices]
        looks = iter(self.grounder.answer(asked))
        answers = []
        for choices in chosen:
            pairs = zip(choices, islice(looks, len(choices)), strict=True)
            seen = [(max(choice.doubt, look.refusal), choice.crop, look) for choice, look in pairs]
            if not seen:
                answers.append(Answer(Span(0.0, 0.0), 1.0))
                continue
            doubt, crop, best = min(seen, key=lambda item: item[0])
            begin = crop.start or 0.0
            span = Span(begin + best.span.start, begin + best.span.end)
            answers.append(replace(best, span=span, refusal=doubt))
        return answers


def _about(sample: Sample, crop: Crop) -> Sample:
    """The same query about one part."""
    length = None if crop.end is None else crop.end - (crop.start or 0.0)
    return Sample(crop.video, sample.query, duration=length, start=crop.start, end=crop.end)


def every_window(sample: Sample) -> list[Choice]:
    """All parts of the video."""
    return [Choice(crop) for crop in parts_of(sample)]


@dataclass(frozen=True)
class Nearest:
    """Naive retrieval: the `count` parts of a video whose captions are most similar to the query.

    indexes: by the path of the video.
    """

    indexes: dict[str, Index]
    count: int = 3

    def __call__(self, sample: Sample) -> list[Choice]:
        index = self.indexes[sample.video]
        best = index.similarity([sample.query])[0].argsort(kind="stable")[::-1][: self.count]
        return [Choice(index.parts[part]) for part in best]


class Whole(Untrained):
    """All of the video at once, squeezed into as many seconds as the model can count.

    grounder: with a cache that reads by `squeezed(seconds)`.
    """

    def __init__(self, grounder: Grounder, seconds: float):
        self.grounder, self.seconds = grounder, seconds

    def answer(self, samples: Sequence[Sample], bank: Bank | None = None) -> list[Answer]:
        answers = []
        for sample, answer in zip(samples, self.grounder.answer(samples), strict=True):
            scale = float(sample.duration or 0) / self.seconds
            answers.append(replace(answer, span=Span(answer.span.start * scale, answer.span.end * scale)))
        return answers


def squeezed(seconds: float) -> Callable[..., Clip]:
    """A reader that shows a video of any length as one of `seconds`: as many frames as that has, spread evenly, with
    their times scaled down. For the `reader` of a `rarft.models.VisionCache`."""

    def read(path: str, *, fps: float, **video: Any) -> Clip:
        clip = read_video(path, fps, **{**video, "max_frames": round(fps * seconds), "max_seconds": None})
        return replace(clip, seconds=clip.seconds * (seconds / clip.duration), duration=seconds, fps=fps)

    return read
