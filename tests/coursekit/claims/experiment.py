"""README and chapters 09 and 11: the live run (400 queries, half of them relevant) and the experiment (40 clips, with a
relevant, a hard-irrelevant and a shuffled query about each; five seeds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from claims.intervals import PerClip, auroc, average, share
from claims.registry import WEATHERS, Data, Falsification, claim, select


def live(stage: str, figures: dict) -> Falsification:
    return lambda data: data[stage].update(figures)


@claim(
    "readme-live-run",
    "course",
    live("before", {"refused": 0.7}),
    live("after", {"refused": 0.4, "intervals": {"miou": [0.4, 0.6]}}),
)
def the_live_run_learns_to_refuse(data: Data) -> Iterator[bool]:
    half = data["before"]["n"] // 2
    yield share(data["before"]["refused"], half) < 0.5
    yield share(data["after"]["refused"], half) > 0.5
    yield data["after"]["intervals"]["miou"][0] > 0.8


OURS, AFTER_SHORT = "GRPO, + correction (RA-RFT)", "RA-RFT after the short cold start"
FULL_START, SHORT_START = "cold start alone", "short cold start alone"
SHOWN, SHUFFLED = "SFT on HI-VTG", "SFT on shuffled negatives"
OTHER_REWARDS = (
    "GRPO, relevant queries only",
    "GRPO, format + refuse-IoU",
    "GRPO, + explain",
    "RA-RFT, official rewards",
)
TRAINED = (OURS, AFTER_SHORT, FULL_START, SHORT_START, SHOWN, SHUFFLED, "GRPO, shuffled negatives", *OTHER_REWARDS)
OURS_IN_STORMS, SHOWN_IN_STORMS = "RA-RFT, in storms", "SFT on HI-VTG, in storms"
SEEDS = 5
BUDGET = 0.05  # of relevant queries that a limit may refuse
HARD = ("absent", "bound", "order")
RIGHT = {"relevant": "g", **dict.fromkeys((*HARD, "shuffled"), "r")}  # kind of a query → g(rounds) or r(efuses)


def kinds_of(data: Data, name: str) -> list[str]:
    return [query["kind"] for query in data["queries"][name]]


def per_clip(data: Data, arm: str, figure: str, weather: str = "rough", decide: Callable | None = None) -> PerClip:
    """A share of an arm's answers, over its seeds, clip by clip.

    Args:
        figure: "right" (the decision, of relevant and hard-irrelevant queries), "over-refusal", "miou", "refused hard",
            "refused bound", or a judgement of the refusals of hard-irrelevant queries.
        decide: of a run, which queries are refused, in place of what its answers do.
    """
    kinds = kinds_of(data, weather)
    clips = kinds.count("relevant")
    clip_of = [*(i // 2 for i in range(2 * clips)), *range(clips)]  # relevant and edited in turn, then the shuffled
    asked = {
        "right": ("relevant", *HARD),
        "over-refusal": ("relevant",),
        "miou": ("relevant",),
        "refused bound": ("bound",),
    }
    sums, counts = np.zeros(clips), np.zeros(clips)
    for run in select(data["runs"], arm=arm):
        said = run["said"][weather]
        verdicts = ["r" if refused else "g" for refused in decide(run)] if decide else said["verdict"]
        for i, (kind, verdict, clip) in enumerate(zip(kinds, verdicts, clip_of, strict=True)):
            if kind not in asked.get(figure, HARD):
                continue
            if figure == "right":
                value = float(verdict == RIGHT[kind])
            elif figure == "miou":
                value = (said["iou"][i] or 0.0) * (verdict == "g")
            elif figure in said:
                value = said[figure][i]
            else:
                value = float(verdict == "r")
            if value is not None:
                sums[clip] += value
                counts[clip] += 1
    return PerClip(sums, counts)


def above_limit(scores: Sequence[float | None], validation: Sequence[float | None], kinds: list[str]) -> list[bool]:
    """Whether each score lies above the lowest limit that at most BUDGET of the relevant validation queries exceed."""
    of_relevant = sorted(
        1.0 if s is None else s for s, kind in zip(validation, kinds, strict=True) if kind == "relevant"
    )
    limit = of_relevant[len(of_relevant) - 1 - int(BUDGET * len(of_relevant))]
    return [(1.0 if s is None else s) > limit for s in scores]


def by_score(data: Data, weather: str) -> Callable[[Data], list[bool]]:
    """Refuse above a limit on the model's own refusal score, chosen on other clips of this weather."""
    name, kinds = f"validation_{weather}", kinds_of(data, f"validation_{weather}")
    score = "refusal_probability"
    return lambda run: above_limit(run["said"][weather][score], run["said"][name][score], kinds)


def answers(arm: str | tuple[str, ...], verdict: str, weathers: Sequence[str] = WEATHERS) -> Falsification:
    """Sets the answers of arms: all "g" or all "r", or those of an "oracle"."""

    def falsify(data: Data) -> None:
        for run in select(data["runs"], arm=arm):
            for weather in weathers:
                kinds = kinds_of(data, weather)
                said = "".join(RIGHT[kind] if verdict == "oracle" else verdict for kind in kinds)
                run["said"][weather] |= {"verdict": said, "iou": [float(kind == "relevant") for kind in kinds]}

    return falsify


def said(arm: str, field: str, value: float, weathers: Sequence[str] = WEATHERS) -> Falsification:
    """Sets a number of all answers of an arm."""

    def falsify(data: Data) -> None:
        for run in select(data["runs"], arm=arm):
            for weather in weathers:
                run["said"][weather][field] = [value] * len(run["said"][weather][field])

    return falsify


def won(data: Data, arm: str, other: str, weather: str) -> int:
    """The number of seeds with which one arm decides more queries rightly than the other."""

    def right(run: Data) -> int:
        kinds = kinds_of(data, weather)
        return sum(
            v == RIGHT[k] for v, k in zip(run["said"][weather]["verdict"], kinds, strict=True) if k != "shuffled"
        )

    theirs = {run["seed"]: right(run) for run in select(data["runs"], arm=other)}
    return sum(right(run) > theirs[run["seed"]] for run in select(data["runs"], arm=arm))


@claim("11-threshold", "experiment", answers(OURS, "g"))
def no_limit_makes_the_base_refuse(data: Data) -> Iterator[bool]:
    kinds = kinds_of(data, "validation_rough")

    def by_votes(run: Data) -> list[bool]:
        return above_limit(run["votes"]["rough"], run["votes"]["validation_rough"], kinds)

    for decide in (by_score(data, "rough"), by_votes):
        yield per_clip(data, OURS, "right") - per_clip(data, "base", "right", decide=decide) > 0.2


def sure(data: Data) -> None:
    """The base gives every hard-irrelevant query a higher refusal score than every relevant one."""
    [run] = select(data["runs"], arm="base")
    run["said"]["rough"]["refusal_probability"] = [float(kind in HARD) for kind in kinds_of(data, "rough")]


@claim("11-base-score", "experiment", sure)
def the_score_of_the_base_is_chance_on_hard_queries(data: Data) -> Iterator[bool]:
    [run] = select(data["runs"], arm="base")
    scored = list(zip(kinds_of(data, "rough"), run["said"]["rough"]["refusal_probability"], strict=True))
    relevant, hard = ([s for kind, s in scored if kind in kinds] for kinds in (("relevant",), HARD))
    above = average([(h > r) + 0.5 * (h == r) for h in hard for r in relevant])
    yield 0.5 in auroc(above, len(hard), len(relevant))


@claim("11-short-start", "experiment", answers(AFTER_SHORT, "g"))
@claim("09-short-start", "experiment", answers(SHORT_START, "oracle"))
def reinforcement_improves_a_weak_start(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield per_clip(data, AFTER_SHORT, "right", weather) - per_clip(data, SHORT_START, "right", weather) > 0
        yield won(data, AFTER_SHORT, SHORT_START, weather) == SEEDS


@claim("11-makes-up", "experiment", answers(AFTER_SHORT, "g"))
def it_makes_up_for_demonstrations(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield 0 in per_clip(data, AFTER_SHORT, "right", weather) - per_clip(data, FULL_START, "right", weather)


@claim("11-full-start", "experiment", answers(OURS, "g"))
def it_adds_nothing_that_shows_to_a_strong_start(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield 0 in per_clip(data, OURS, "right", weather) - per_clip(data, FULL_START, "right", weather)


@claim("11-false-reasons", "experiment", *(said(arm, "explanation_true", 1.0) for arm in (SHORT_START, AFTER_SHORT)))
def most_reasons_stay_false(data: Data) -> Iterator[bool]:
    for arm in (SHORT_START, AFTER_SHORT):
        yield per_clip(data, arm, "explanation_true").interval < 0.5


@claim("11-true-reasons", "experiment", said(FULL_START, "explanation_true", 0.0))
def demonstrations_make_most_reasons_true(data: Data) -> Iterator[bool]:
    yield per_clip(data, FULL_START, "explanation_true").interval > 0.5


@claim("11-sft", "experiment", answers(SHOWN, "g"), answers(SHOWN, "r"))
def supervised_fine_tuning_does_as_well(data: Data) -> Iterator[bool]:
    yield 0 in per_clip(data, SHOWN, "right") - per_clip(data, OURS, "right")
    yield per_clip(data, SHOWN, "miou") - per_clip(data, OURS, "miou") > 0


@claim("11-rewards", "experiment", answers(OURS, "g"))
def no_reward_stands_out(data: Data) -> Iterator[bool]:
    for arm in OTHER_REWARDS:
        yield 0 in per_clip(data, OURS, "right") - per_clip(data, arm, "right")


@claim("11-shuffled-refuse", "experiment", answers(SHUFFLED, "g"))
def shuffled_negatives_teach_to_refuse(data: Data) -> Iterator[bool]:
    for figure in ("refused hard", "refused bound"):
        yield 0 in per_clip(data, SHOWN, figure) - per_clip(data, SHUFFLED, figure)


@claim("11-shuffled-reasons", "experiment", said(SHUFFLED, "explanation_true", 1.0))
def shuffled_negatives_do_not_teach_to_say_why(data: Data) -> Iterator[bool]:
    yield per_clip(data, SHOWN, "explanation_true") - per_clip(data, SHUFFLED, "explanation_true") > 0


@claim("11-storm", "experiment", answers(TRAINED, "g"), answers("base", "r"))
def trained_arms_refuse_relevant_queries_in_a_storm(data: Data) -> Iterator[bool]:
    for arm in TRAINED:
        yield per_clip(data, arm, "over-refusal", "storm").interval > 0
    yield per_clip(data, "base", "over-refusal", "storm").value == 0


@claim("11-storm-rise", "experiment", answers(TRAINED, "g", ["storm"]), answers(TRAINED, "r", ["storm"]))
def they_refuse_more_than_in_rough_weather(data: Data) -> Iterator[bool]:
    def refused(run: Data, weather: str) -> int:
        said, kinds = run["said"][weather]["verdict"], kinds_of(data, weather)
        return sum(v == "r" for v, kind in zip(said, kinds, strict=True) if kind == "relevant")

    rises = [refused(run, "storm") - refused(run, "rough") for run in select(data["runs"], arm=TRAINED)]
    yield len(rises) == SEEDS * len(TRAINED) and sum(rise > 0 for rise in rises) >= 0.9 * len(rises)
    yield min(rises) >= 0
    storm, rough = (sum_of(per_clip(data, arm, "over-refusal", w) for arm in TRAINED) for w in ("storm", "rough"))
    yield 0 in storm - rough


def sum_of(parts: Iterator[PerClip]) -> PerClip:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


@claim("11-calibrated", "experiment", said(OURS, "refusal_probability", 2.0), answers("base", "u"))
def a_limit_of_the_storm_gives_up_refusing(data: Data) -> Iterator[bool]:
    decide = by_score(data, "storm")
    yield per_clip(data, OURS, "over-refusal", "storm", decide).value <= BUDGET
    yield share(per_clip(data, OURS, "refused hard", "storm", decide).value, 40) < 0.1
    yield per_clip(data, OURS, "right", "storm", decide) - per_clip(data, "base", "right", "storm") < 0.05


@claim("11-in-storms", "experiment", answers((OURS_IN_STORMS, SHOWN_IN_STORMS), "oracle"))
def training_in_storms_does_not_improve_the_decision(data: Data) -> Iterator[bool]:
    for arm, end in ((OURS, OURS_IN_STORMS), (SHOWN, SHOWN_IN_STORMS)):
        yield 0 in per_clip(data, end, "right", "storm") - per_clip(data, arm, "right", "storm")


@claim("11-in-storms-budget", "experiment", answers((OURS_IN_STORMS, SHOWN_IN_STORMS), "g"))
def over_refusal_stays_above_the_budget(data: Data) -> Iterator[bool]:
    yield per_clip(data, OURS_IN_STORMS, "over-refusal", "storm").interval > BUDGET
    yield BUDGET in per_clip(data, SHOWN_IN_STORMS, "over-refusal", "storm").interval


@claim("11-in-storms-miou", "experiment", answers((OURS_IN_STORMS, SHOWN_IN_STORMS), "r"))
def miou_rises_in_storms(data: Data) -> Iterator[bool]:
    yield per_clip(data, OURS_IN_STORMS, "miou", "storm") - per_clip(data, OURS, "miou", "storm") > 0
    risen = per_clip(data, SHOWN_IN_STORMS, "miou", "storm") - per_clip(data, SHOWN, "miou", "storm")
    yield risen.value > 0 and 0 in risen
