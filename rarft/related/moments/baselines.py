"""What a system has to beat: baselines that never look at the video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from rarft.related.features import FeatureBank
from rarft.related.protocol import Answer, System, UntrainedSystem
from rarft.schema import Group, Sample, Span


def word_classifier(*, longest: int = 1, **options: Any) -> Pipeline:
    """Logistic regression on the counts of words, and of runs of up to `longest` words."""
    words = CountVectorizer(ngram_range=(1, longest), token_pattern=r"\S+")
    return make_pipeline(words, LogisticRegression(max_iter=1000, **options))


def whole_video(sample: Sample) -> Span:
    """The segment that overlaps with every other."""
    return Span(0.0, float(sample.duration or 0))


class ConstantBaseline(UntrainedSystem):
    """The whole video, and one refusal score for every query."""

    def __init__(self, refusal: float):
        self.refusal = refusal

    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The same answer for every query."""
        return [Answer(whole_video(sample), self.refusal) for sample in samples]


class QueryOnlyBaseline(System):
    """The whole video, and a classifier of words and word pairs: what can be refused without a look."""

    def fit(self, groups: Sequence[Group], bank: FeatureBank) -> None:
        """Learn which words are those of irrelevant queries."""
        samples = [sample for group in groups for sample in group]
        self.classifier = word_classifier(longest=2, class_weight="balanced")
        self.classifier.fit([sample.query for sample in samples], [not sample.relevant for sample in samples])
        self.parameters = len(self.classifier[0].vocabulary_) + 1

    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The classifier's probability is the refusal score."""
        refusals = self.classifier.predict_proba([sample.query for sample in samples])[:, 1]
        return [Answer(whole_video(s), float(refusal)) for s, refusal in zip(samples, refusals, strict=True)]
