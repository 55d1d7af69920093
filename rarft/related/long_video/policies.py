"""What a system has to beat: policies that do not look."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from rarft.related.bank import Bank
from rarft.related.protocol import Answer, System, Untrained
from rarft.schema import Group, Sample, Span


def whole_video(sample: Sample) -> Span:
    """The segment that overlaps with every other."""
    return Span(0.0, float(sample.duration or 0))


class Constant(Untrained):
    """The whole video, and one refusal score for every query."""

    def __init__(self, refusal: float):
        self.refusal = refusal

    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        return [Answer(whole_video(sample), self.refusal) for sample in samples]


class QueryOnly(System):
    """The whole video, and a classifier of words and word pairs: what can be refused without a look."""

    def fit(self, groups: Sequence[Group], bank: Bank) -> None:
        samples = [sample for group in groups for sample in group]
        self.classifier = make_pipeline(
            CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"),
            LogisticRegression(max_iter=1000, class_weight="balanced"),
        )
        self.classifier.fit([sample.query for sample in samples], [not sample.relevant for sample in samples])
        self.parameters = len(self.classifier[0].vocabulary_) + 1

    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        doubts = self.classifier.predict_proba([sample.query for sample in samples])[:, 1]
        return [Answer(whole_video(sample), float(doubt)) for sample, doubt in zip(samples, doubts, strict=True)]
