"""Chapter 11, failures on purpose: one seed, 60 relevant and 60 hard-irrelevant queries, curves of 40 steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from claims.intervals import Interval, repeated, share
from claims.registry import Data, Falsification, claim

QUERIES = 60
USUAL, FLAT, SCRAMBLED = "as it is", "frac_reward_zero_std", "frames in random order, "
SIXTEEN_RUNS = 16
UNEVEN = (
    "10 % irrelevant",
    "90 % irrelevant",
    "official rewards, 90 % irrelevant",
    "official correction alone, 90 % irrelevant",
)


def outcome(data: Data, run: str, figure: str) -> Interval:
    count = {"f1": 2 * QUERIES}.get(figure, QUERIES)
    return share(data["runs"][run]["figures"][figure], count)


def curve(data: Data, run: str, name: str = FLAT) -> Interval:
    """The mean over the steps of a run."""
    return repeated(data["runs"][run]["curves"][name])


def sighted(data: Data) -> list[str]:
    runs = [name for name in data["runs"] if not name.startswith(SCRAMBLED)]
    assert len(runs) == SIXTEEN_RUNS
    return runs


def run_put(runs: str | Sequence[str], figures: Data, curves: Data | None = None) -> Falsification:
    """Sets figures of runs, and the values of their curves at all steps."""

    def falsify(data: Data) -> None:
        for name in [runs] if isinstance(runs, str) else runs:
            run = data["runs"][name]
            run["figures"] |= figures
            run["curves"] |= {curve: [value] * len(run["curves"][curve]) for curve, value in (curves or {}).items()}

    return falsify


def all_runs_put(figures: Data) -> Falsification:
    return lambda data: run_put([name for name in data["runs"] if name != "before"], figures)(data)


@claim("11-nothing-breaks", "failures", all_runs_put({"f1": 0.5, "over_refusal": 0.6}))
def nothing_breaks(data: Data) -> Iterator[bool]:
    for run in (run for run in sighted(data) if run != "before"):
        yield 0 in outcome(data, run, "f1") - outcome(data, "before", "f1")
        yield outcome(data, run, "over_refusal") < 0.2


@claim("11-no-difference", "failures", run_put(USUAL, {"f1": 0.5}))
def kl_spread_and_tokens_make_no_difference(data: Data) -> Iterator[bool]:
    for run in ("KL weight 0.04", "KL weight 0.1", "no division by the spread", "all tokens trained"):
        yield 0 in outcome(data, run, "f1") - outcome(data, USUAL, "f1")


@claim(
    "11-larger-groups",
    "failures",
    run_put(("groups of 4", "groups of 16"), {}, {FLAT: 0.9}),
    run_put(USUAL, {}, {FLAT: 0.9}),
)
def larger_groups_are_flat_less_often(data: Data) -> Iterator[bool]:
    for small, large in pairwise(("groups of 2", "groups of 4", USUAL, "groups of 16")):
        yield curve(data, small) - curve(data, large) > 0


@claim("11-low-temperature", "failures", run_put("temperature 0.5", {}, {FLAT: 0.2}))
def more_groups_are_flat_at_a_low_temperature(data: Data) -> Iterator[bool]:
    yield curve(data, "temperature 0.5") - curve(data, USUAL) > 0


@claim("11-high-temperature", "failures", run_put("temperature 1.5", {}, {FLAT: 0.2, "reward": 2.6}))
def at_a_high_temperature_all_groups_differ_and_rewards_are_low(data: Data) -> Iterator[bool]:
    yield curve(data, "temperature 1.5") < 0.02
    for run in (run for run in sighted(data) if run not in ("before", "temperature 1.5", *UNEVEN)):
        yield curve(data, run, "reward") - curve(data, "temperature 1.5", "reward") > 0.5


@claim("11-irrelevant-groups", "failures", run_put("90 % irrelevant", {}, {FLAT: 0.3}))
def groups_of_irrelevant_prompts_differ(data: Data) -> Iterator[bool]:
    yield curve(data, "90 % irrelevant") < 0.05


@claim("11-filter", "failures", run_put("prompts whose answers differ", {}, {FLAT: 0.02}))
def a_filter_made_before_the_run_ages(data: Data) -> Iterator[bool]:
    yield 0 in curve(data, "prompts whose answers differ") - curve(data, USUAL)


@claim("11-reasons-lost", "failures", run_put("temperature 0.5", {"explanation_true": 0.25}))
def reasons_are_lost_at_a_low_temperature(data: Data) -> Iterator[bool]:
    lost = outcome(data, "before", "explanation_true") - outcome(data, "temperature 0.5", "explanation_true")
    yield lost > 0
    yield min(sighted(data), key=lambda run: outcome(data, run, "explanation_true").value) == "temperature 0.5"


@claim("11-uneven-mix", "failures", run_put(UNEVEN, {"miou": 0.95}))
def an_uneven_mix_wins_less_grounding_back(data: Data) -> Iterator[bool]:
    even = [run for run in sighted(data) if run not in ("before", *UNEVEN)]
    best = max(outcome(data, run, "miou").value for run in UNEVEN)
    yield sum(outcome(data, run, "miou").value > best for run in even) >= 9 and len(even) == 11


@claim("11-uneven-f1", "failures", run_put("10 % irrelevant", {"f1": 0.99}), run_put("10 % irrelevant", {"f1": 0.7}))
def f1_is_lowest_where_few_prompts_are_irrelevant(data: Data) -> Iterator[bool]:
    yield min(sighted(data), key=lambda run: outcome(data, run, "f1").value) == "10 % irrelevant"
    yield 0 in outcome(data, "10 % irrelevant", "f1") - outcome(data, "before", "f1")


def scrambled(data: Data) -> tuple[str, list[str]]:
    begun, *runs = [name for name in data["runs"] if name.startswith(SCRAMBLED)]
    assert begun == f"{SCRAMBLED}before" and len(runs) == 6
    return begun, runs


@claim("11-scrambled", "failures", run_put(f"{SCRAMBLED}before", {"over_refusal": 0.05}))
def no_run_changes_over_refusal(data: Data) -> Iterator[bool]:
    begun, runs = scrambled(data)
    yield 0.4 in outcome(data, begun, "over_refusal")
    for run in runs:
        yield 0 in outcome(data, run, "over_refusal") - outcome(data, begun, "over_refusal")


def scrambled_put(figures: Data, which: str = "") -> Falsification:
    return lambda data: run_put([run for run in scrambled(data)[1] if which in run], figures)(data)


@claim("11-rewards-alike", "failures", scrambled_put({"over_refusal": 0.9}, "robust"))
def the_rewards_do_not_differ(data: Data) -> Iterator[bool]:
    robust = [run for run in scrambled(data)[1] if "robust" in run]
    official = [run.replace("robust", "official without explain") for run in robust]
    pairs = [[outcome(data, run, "over_refusal") for run in pair] for pair in zip(robust, official, strict=True)]
    yield sorted(np.sign((a - b).value) for a, b in pairs) == [-1, 0, 1]
    for a, b in pairs:
        yield 0 in a - b


@claim("11-still-misses", "failures", scrambled_put({"miou": 0.8}))
def grounding_stays_poor(data: Data) -> Iterator[bool]:
    begun, runs = scrambled(data)
    for run in runs:
        yield outcome(data, run, "miou") < 0.3
        yield 0 in outcome(data, run, "miou") - outcome(data, begun, "miou")
