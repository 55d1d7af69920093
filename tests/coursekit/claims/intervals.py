"""95 % intervals of what the results files hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

Z = float(norm.ppf(0.975))
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval. `interval > 0.5` holds if all of the interval lies above 0.5."""

    value: float
    low: float
    high: float

    def __gt__(self, bound: float) -> bool:
        return self.low > bound

    def __lt__(self, bound: float) -> bool:
        return self.high < bound

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __sub__(self, other: Interval) -> Interval:
        """The difference of two estimates, as if they were independent: too wide where both were asked the same
        queries. The method is Newcombe's (1998)."""
        difference = self.value - other.value
        below = math.hypot(self.value - self.low, other.high - other.value)
        above = math.hypot(self.high - self.value, other.value - other.low)
        return Interval(difference, difference - below, difference + above)


def share(value: float, count: int) -> Interval:
    """Of a share of `count` queries, or of a mean of values in [0, 1], which vary less. The method is Wilson's."""
    middle = (value + Z**2 / 2 / count) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(value * (1 - value) / count + Z**2 / 4 / count**2)
    return Interval(value, min(value, middle - half), max(value, middle + half))


def auroc(value: float, irrelevant: int, relevant: int) -> Interval:
    """Of an AUROC over so many queries of either kind, after Hanley and McNeil (1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    pairs = value * (1 - value) + (irrelevant - 1) * (q1 - value**2) + (relevant - 1) * (q2 - value**2)
    half = Z * math.sqrt(max(0.0, pairs) / irrelevant / relevant)
    return Interval(value, value - half, value + half)


def repeated(values: Sequence[float]) -> Interval:
    """Of the mean of repetitions, such as seeds or steps, after Student."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Interval(float(np.mean(values)), float(np.mean(values) - half), float(np.mean(values) + half))


@dataclass(frozen=True)
class PerClip:
    """A share, counted for each clip: sums and counts (clips,). Queries of a clip fail together."""

    sums: np.ndarray
    counts: np.ndarray

    def __add__(self, other: PerClip) -> PerClip:
        return PerClip(self.sums + other.sums, self.counts + other.counts)

    def resampled(self) -> np.ndarray:
        """The share in each resample of the clips, the same resamples for all shares."""
        drawn = np.random.default_rng(0).integers(len(self.sums), size=(RESAMPLES, len(self.sums)))
        return self.sums[drawn].sum(1) / self.counts[drawn].sum(1)

    @property
    def value(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @property
    def interval(self) -> Interval:
        """By bootstrap over clips."""
        low, high = np.nanpercentile(self.resampled(), [2.5, 97.5])
        return Interval(self.value, float(low), float(high))

    def __sub__(self, other: PerClip) -> Interval:
        """The difference of two shares of the same clips, clip by clip."""
        low, high = np.nanpercentile(self.resampled() - other.resampled(), [2.5, 97.5])
        return Interval(self.value - other.value, float(low), float(high))


def average(values: Sequence[float]) -> float:
    """Of seeds that answered the same queries: its interval is that of one of them."""
    return sum(values) / len(values)
