"""AdaVideoRAG: how much retrieval does this question need? (Xue et al., arXiv 2506.13589).

Mechanism: a light classifier reads the intent of a question and sends it one of three ways: no retrieval, naive
retrieval by similarity, or retrieval over a graph. Easy questions so cost little.

Kept: the three ways, the classifier of the text alone, the cost of each question. Scaled down: the classifier is
trained (a language model is asked in the paper) on questions whose label is the cheapest way that answered right. "No
retrieval" looks at the part of a time that the question names, or else at the whole video. Ours: where a way finds
nothing, the query is refused; the fallback of such systems is an answer without evidence.

Does it refuse? As well as the way that it takes. A question whose one word is wrong reads like any other, so the
router cannot send it where refusals are better.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rarft.related.features import FeatureBank
from rarft.related.long_video.grounder import Grounder
from rarft.related.long_video.videos import PART_SECONDS, part_of
from rarft.related.long_video.windows import Window, WindowedGrounder
from rarft.related.moments.baselines import word_classifier
from rarft.related.protocol import Answer, System, UntrainedSystem
from rarft.schema import Sample

_TIME = re.compile(r"^at (\d+):(\d\d) (.+)$")


def add_time(query: str, seconds: float) -> str:
    """A query that says where to look: `at 3:20 the red ring grows`."""
    return f"at {int(seconds) // 60}:{int(seconds) % 60:02d} {query}"


def read_time(query: str) -> tuple[float | None, str]:
    """The time that a query names, in seconds, and the rest of it; None where it names none."""
    match = _TIME.match(query)
    return (60 * int(match[1]) + int(match[2]), match[3]) if match else (None, query)


def split_time(sample: Sample) -> Sample:
    """The same question with its time, if it names one, out of the query and in `extra["at"]`, in seconds."""
    seconds, query = read_time(sample.query)
    return replace(sample, query=query, extra={**sample.extra, "at": seconds})


class NoRetrieval(UntrainedSystem):
    """A look at the part of the time that a question names, or else at the whole video.

    whole: answers questions without a time. Samples as `split_time` makes them.
    """

    def __init__(self, grounder: Grounder, whole: System):
        self.named, self.whole = WindowedGrounder(grounder, _named_window), whole

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """One look for each question."""
        with_time = [sample.extra.get("at") is not None for sample in samples]
        return answer_by_route(samples, with_time, {True: self.named.answer, False: self.whole.answer})


def _named_window(sample: Sample) -> list[Window]:
    return [Window(part_of(sample.video, int(sample.extra["at"] // PART_SECONDS)))]


def answer_by_route(
    samples: Sequence[Sample], routes: Sequence[Hashable], ways: Mapping[Any, Callable[..., list[Answer]]]
) -> list[Answer]:
    """Each sample answered by the way of its route, in the order of the samples."""
    answers: dict[int, Answer] = {}
    for name, way in ways.items():
        rows = [i for i, route in enumerate(routes) if route == name]
        if rows:
            answers |= zip(rows, way([samples[i] for i in rows]), strict=True)
    return [answers[i] for i in range(len(samples))]


class Router:
    """Which way a question takes, read off its words."""

    def __init__(self, ways: Sequence[str]):
        """ways: names, the cheapest first."""
        self.ways = tuple(ways)

    def fit(self, questions: Sequence[str], right: Mapping[str, Sequence[bool]]) -> None:
        """Learn from questions, and for each way which of them it answered right. A question's label is the cheapest
        way that did, or the cheapest of all where none did."""
        labels = [next((way for way in self.ways if right[way][i]), self.ways[0]) for i in range(len(questions))]
        self.classifier = word_classifier()
        self.classifier.fit([_mask_time(question) for question in questions], labels)

    def __call__(self, questions: Sequence[str]) -> list[str]:
        """The way of each question."""
        return [str(way) for way in self.classifier.predict([_mask_time(question) for question in questions])]


def _mask_time(question: str) -> str:
    """Times are all the same word: which one it is does not matter."""
    seconds, rest = read_time(question)
    return rest if seconds is None else f"at TIME {rest}"


class AdaVideoRAG(UntrainedSystem):
    """Sends each question the way that the router says.

    ways: how each answers questions (as `split_time` makes them), by the router's names. `routes`: of the questions
    answered last.
    """

    def __init__(self, router: Router, ways: Mapping[str, Callable[..., list[Answer]]]):
        self.router, self.ways = router, ways

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """Each question by its own way."""
        self.routes = self.router([sample.query for sample in samples])
        return answer_by_route([split_time(sample) for sample in samples], self.routes, self.ways)
