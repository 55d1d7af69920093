"""What a related system has to do, and how it is measured: fit on groups of samples, answer queries with a segment
*and* a refusal score, so that "when is it?" and "is it there at all?" can be asked of each in the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rarft.metrics import auroc, best_iou, fpr_at_tpr, mean, ra_iou, recall_at, relevance_f1
from rarft.related.features import FeatureBank
from rarft.schema import Group, Sample, Span, Verdict
from rarft.world.language import parse
from rarft.world.scenes import Story
from rarft.world.truth import explanation_is_true, happens


@dataclass(frozen=True)
class Answer:
    """What a system answers to one query."""

    span: Span  # its best segment, in seconds, whether or not it would refuse
    refusal: float  # refusal score in [0, 1], higher for queries that it takes for irrelevant
    explanation: str | None = None  # in the form of HI-VTG, where the mechanism gives one
    correction: str | None = None


class System(ABC):
    """A way to ground. `parameters` counts what was trained."""

    parameters: int = 0

    @abstractmethod
    def fit(self, groups: Sequence[Group], bank: FeatureBank) -> None:
        """Learn from groups. Where they have no irrelevant samples, the system never sees a negative."""

    @abstractmethod
    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """Answer each sample's query about its video. Nothing but video, query and duration is read of it."""


class UntrainedSystem(System):
    """A way to ground that learns nothing."""

    def fit(self, groups: Sequence[Group], bank: FeatureBank) -> None:
        """Nothing to fit."""


def choose_threshold(relevant: Sequence[bool], refusal: Sequence[float]) -> float:
    """The refusal score above which to refuse that gives the highest mean F1 of "relevant" and "irrelevant" on these
    (validation) queries; of equally good ones the lowest. It is one of their scores: where all are equal, nothing is
    refused."""
    scores = np.asarray(refusal, float)
    limits = np.unique(scores)
    values = [relevance_f1(relevant, _verdicts(scores, limit))["f1"] for limit in limits]
    return float(limits[int(np.argmax(values))])


def _verdicts(refusal: np.ndarray, limit: float) -> np.ndarray:
    return np.where(refusal > limit, Verdict.REFUSES.value, Verdict.GROUNDS.value)


def measure(
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    kinds: Sequence[str],
    threshold: float,
    stories: Sequence[Story] | None = None,
) -> dict[str, float]:
    """The figures of one system on one set of queries.

    Args:
        kinds: of each query: "relevant", "shuffled", or a kind of hard-irrelevant one (see
            `rarft.world.dataset.kind_of`).
        threshold: refuse above it; chosen on other queries, see `choose_threshold`.
        stories: of each query's clip, where they are known; then explanations and corrections are judged.

    Returns mIoU and R@k of relevant queries, where no refusal counts; AUROC and the FPR at 95 % TPR of each kind
    against the relevant ones; F1, RA-IoU, over-refusal over relevant and hard-irrelevant queries at the threshold;
    shares of refusals of hard-irrelevant queries with a true explanation, and with a correction that happens.
    """
    kind, refusal = np.asarray(kinds), np.array([answer.refusal for answer in answers])
    iou = np.array([best_iou([a.span], s.spans) for a, s in zip(answers, samples, strict=True)])
    relevant = kind == "relevant"
    figures = {"miou": mean(iou[relevant]), **recall_at(iou[relevant], (0.5, 0.7))}
    for name in sorted(set(kinds) - {"relevant"}):
        pair = relevant | (kind == name)
        figures[f"auroc_{name}"] = auroc(~relevant[pair], refusal[pair])
        figures[f"fpr95_{name}"] = fpr_at_tpr(~relevant[pair], refusal[pair])
    asked = kind != "shuffled"
    verdicts = _verdicts(refusal, threshold)
    figures["auroc"] = auroc(~relevant[asked], refusal[asked])
    figures["f1"] = relevance_f1(relevant[asked], verdicts[asked])["f1"]
    figures["ra_iou"] = mean(ra_iou(relevant[asked], verdicts[asked], iou[asked]))
    figures["over_refusal"] = mean(refusal[relevant] > threshold)
    if stories is not None:
        judged = np.array([_judge(s, a, story) for s, a, story in zip(samples, answers, stories, strict=True)])
        refused = judged[asked & ~relevant & (refusal > threshold)]
        figures["explanation_true"], figures["correction_true"] = mean(refused[:, 0]), mean(refused[:, 1])
    return figures


def _judge(sample: Sample, answer: Answer, story: Story) -> tuple[float, float]:
    """Whether the explanation is true and the correction happens; NaN for what was not given."""
    query = parse(sample.query)
    true = correct = float("nan")
    if answer.explanation is not None and query is not None:
        true = float(explanation_is_true(story, query, answer.explanation)[0])
    if answer.correction is not None:
        correct = float(happens(story, answer.correction))
    return true, correct
