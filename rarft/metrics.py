"""Metrics of relevance-aware grounding, as pure functions of arrays; one value per sample where that makes sense.

Source: RA-RFT, the section on evaluation, and the official evaluation code, whose defects are not repeated:
RT-IoU is a plain mean and leaves out samples whose true categories are unknown. What the official code computes
instead depends on its number of workers, and is named `official_rt_iou`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import f1_score, roc_auc_score

from rarft.schema import Span, Verdict
from rarft.system.errors import InputError

THRESHOLDS = (0.3, 0.5, 0.7)
OFFICIAL_SPLITS = 27  # what the released evaluation script and its README use


def temporal_iou(a: Span, b: Span) -> float:
    """Intersection over union of two segments, in [0, 1]; 0 if either is empty or reversed."""
    if not (a.start < a.end and b.start < b.end):
        return 0.0
    overlap = min(a.end, b.end) - max(a.start, b.start)
    return max(0.0, overlap) / (max(a.end, b.end) - min(a.start, b.start))


def best_iou(predicted: Sequence[Span], true: Sequence[Span]) -> float:
    """IoU of the first predicted segment with the nearest of several true ones; 0 without a prediction."""
    if not predicted:
        return 0.0
    return max((temporal_iou(predicted[0], t) for t in true), default=0.0)


def is_right(relevant: ArrayLike, verdicts: ArrayLike) -> np.ndarray:
    """Whether each query's relevance was recognised: a relevant one grounded, an irrelevant one refused. What cannot be
    read is never right."""
    said = np.asarray(verdicts, str)
    return np.where(np.asarray(relevant, bool), said == Verdict.GROUNDS, said == Verdict.REFUSES)


def relevance_f1(relevant: ArrayLike, verdicts: ArrayLike) -> dict[str, float]:
    """F1 of "relevant" (grounded), of "irrelevant" (refused), their mean, and accuracy. An unreadable completion is of
    neither class: a miss, whatever the truth."""
    truth, said = np.asarray(relevant, bool), np.asarray(verdicts, str)
    f1_relevant = f1_score(truth, said == Verdict.GROUNDS, zero_division=0.0)
    f1_irrelevant = f1_score(~truth, said == Verdict.REFUSES, zero_division=0.0)
    return {
        "f1": float(np.mean([f1_relevant, f1_irrelevant])),
        "f1_relevant": float(f1_relevant),
        "f1_irrelevant": float(f1_irrelevant),
        "accuracy": float(np.mean(is_right(truth, said))),
    }


def ra_iou(relevant: ArrayLike, verdicts: ArrayLike, iou: ArrayLike) -> np.ndarray:
    """Relevance-aware IoU of each sample: a right refusal 1, a grounded relevant query its temporal IoU, all else 0."""
    right = is_right(relevant, verdicts)
    return np.where(right, np.where(np.asarray(relevant, bool), np.asarray(iou, float), 1.0), 0.0)


def recall_at(values: ArrayLike, thresholds: Iterable[float] = THRESHOLDS) -> dict[str, float]:
    """Share of values at or above each threshold: `R@0.5` and so on. NaN for no values."""
    array = np.asarray(values, float)
    return {f"R@{t}": float(np.mean(array >= t)) if len(array) else float("nan") for t in thresholds}


def rt_iou(true: set[str], predicted: set[str]) -> float:
    """Refusal-type IoU of one irrelevant query: Jaccard index of mismatch categories. NaN if `true` is empty."""
    if not true:
        return float("nan")
    return len(true & predicted) / len(true | predicted)


def official_jaccard(true: set[str], predicted: set[str]) -> float:
    """Jaccard index of mismatch categories as the official evaluator counts it: 1 if both are empty. If the truth
    has no categories, an irrelevant query that the model grounds earns 1, because no category is named."""
    return len(true & predicted) / len(true | predicted) if true | predicted else 1.0


def official_rt_iou(jaccards: ArrayLike, splits: int = OFFICIAL_SPLITS) -> float:
    """RT-IoU as the official evaluator merges it, for comparison with published figures. It depends on `splits` and on
    the order of the items.

    The items are cut into parts of ceil(n / splits), in their order. A part's value is the mean over its irrelevant
    items, or 0 if it has none. Its weight is the number of all its items, relevant ones included.

    Args:
        jaccards: (n,) `official_jaccard` of each item, NaN for a relevant one.

    Returns NaN for no items, or if all are relevant. Raises InputError for fewer than one split.
    """
    values = np.asarray(jaccards, float)
    if splits < 1:
        raise InputError(f"the number of splits has to be at least 1, got {splits}")
    if np.isnan(values).all():
        return float("nan")
    size = -(-len(values) // splits)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    return float(sum(np.nan_to_num(mean(part)) * len(part) for part in parts) / len(values))


def mean(values: ArrayLike) -> float:
    """Mean of the values that are known (not NaN); NaN if there is none."""
    array = np.asarray(values, float)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else float("nan")


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(indices)` over `count` samples."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(resamples)]
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def paired_difference(a: ArrayLike, b: ArrayLike, *, resamples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Mean of b - a over the same samples, its 95 % bootstrap interval, and the share of resamples at or below 0."""
    difference = np.asarray(b, float) - np.asarray(a, float)
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(len(difference), size=(resamples, len(difference)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "difference": float(difference.mean()),
        "low": float(low),
        "high": float(high),
        "p": float((means <= 0).mean()),
    }


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk (1 - mean correctness) when only the most confident share is answered; both (n,)."""
    order = np.argsort(-np.asarray(confidence, float), kind="stable")
    right = np.asarray(correct, float)[order]
    answered = np.arange(1, len(right) + 1)
    return answered / len(right), 1 - np.cumsum(right) / answered


def auroc(irrelevant: ArrayLike, refusal_score: ArrayLike) -> float:
    """Chance that an irrelevant query gets a higher refusal score than a relevant one. NaN with one class only."""
    truth = np.asarray(irrelevant, bool)
    return float(roc_auc_score(truth, refusal_score)) if truth.any() and not truth.all() else float("nan")


def fpr_at_tpr(irrelevant: ArrayLike, refusal_score: ArrayLike, tpr: float = 0.95) -> float:
    """Share of relevant queries refused by the threshold that catches at least `tpr` of the irrelevant ones.

    The false positive rate at 95 % true positives of work on out-of-distribution detection. NaN with one class only.
    """
    truth, score = np.asarray(irrelevant, bool), np.asarray(refusal_score, float)
    if truth.all() or not truth.any():
        return float("nan")
    caught = np.sort(score[truth])[::-1]
    threshold = caught[int(np.ceil(tpr * len(caught))) - 1]
    return float(np.mean(score[~truth] >= threshold))
