"""Chapter 13: 200 relevant, 200 hard-irrelevant and 200 shuffled queries, 200 pairs with an order; three seeds."""

from __future__ import annotations

from collections.abc import Iterator

from claims.intervals import Interval, auroc, average, share
from claims.registry import WEATHERS, Data, Falsification, claim, put, select

BASE, RA_RFT = {"system": "data/base"}, {"system": "build/rarft/model"}
FOREGROUND, SALIENCY = {"system": "UniVTG", "reading": "foreground"}, {"system": "UniVTG", "reading": "saliency"}
CYCLE, PHRASES, BOTH = {"system": "cycle"}, {"system": "phrase alignment"}, {"system": "RA-RFT and phrases"}
SCALED, UNSCALED = ({"system": "VTG-GPT", "reading": reading} for reading in ("scaled", "before scaling"))
CAPTIONS = {"system": "sub-questions"}
UNTRAINED = ("data/base", "build/rarft/model", "VTG-GPT", "sub-questions")
KINDS = ("shuffled", "absent", "bound")
NEGATIVES = ("none", "shuffled", "all")
ORDER_PAIRS = 200


def runs_of(data: Data, system: Data, negatives: str = "none", features: str = "regions") -> list[Data]:
    """The rows of a system, one for each seed."""
    where = {"reading": "", **system, "negatives": negatives}
    if system["system"] not in UNTRAINED:
        where["features"] = features
    return select(data["rows"], **where)


def seeds_of(data: Data, system: Data, figure: str, negatives: str = "none", **more: str) -> dict[int, float]:
    weather = more.pop("weather", "rough")
    return {run["seed"]: run["figures"][weather][figure] for run in runs_of(data, system, negatives, **more)}


def found(
    data: Data, system: Data, figure: str, negatives: str = "none", weather: str = "rough", **more: str
) -> Interval:
    """The mean over seeds of a figure, with its interval over queries."""
    counts = {"hard": 200, "turned": ORDER_PAIRS, **data["queries"][weather]}
    value = average(list(seeds_of(data, system, figure, negatives, weather=weather, **more).values()))
    if not figure.startswith("auroc"):
        return share(value, counts["relevant"])
    kind = figure.removeprefix("auroc").lstrip("_") or "hard"
    return auroc(value, counts[kind], ORDER_PAIRS if kind == "turned" else counts["relevant"])


def aurocs(value: float, *kinds: str) -> Data:
    return {f"auroc_{kind}": value for kind in kinds or KINDS}


@claim(
    "13-no-negatives",
    "related",
    put(aurocs(0.9), **FOREGROUND, negatives="none"),
    put(aurocs(0.9), system=("evidential, geom", "evidential, original"), negatives="none"),
)
def without_negatives_no_score_recognises_a_wrong_query(data: Data) -> Iterator[bool]:
    heads = [{"system": f"evidential, {kind}"} for kind in ("geom", "original")]
    widths = [{**head, "reading": width} for head in heads for width in ("epistemic", "aleatoric")]
    for system in (FOREGROUND, *widths):
        for kind in KINDS:
            yield found(data, system, f"auroc_{kind}") < 2 / 3


@claim("13-contrast", "related", *(put(aurocs(0.8), **system) for system in (SALIENCY, CYCLE, PHRASES)))
def contrast_works_like_negatives(data: Data) -> Iterator[bool]:
    for system in (SALIENCY, CYCLE, PHRASES):
        yield found(data, system, "auroc_shuffled") > 0.9


@claim("13-saliency-bound", "related", put(aurocs(0.8), **SALIENCY))
def one_score_for_a_sentence_cannot_bind(data: Data) -> Iterator[bool]:
    for negatives in NEGATIVES:
        yield found(data, SALIENCY, "auroc_bound", negatives) < 0.7


@claim("13-place-bound", "related", *(put(aurocs(0.6), **system) for system in (CYCLE, PHRASES)))
def what_compares_at_one_place_can_bind(data: Data) -> Iterator[bool]:
    for system in (CYCLE, PHRASES):
        for negatives in NEGATIVES:
            yield found(data, system, "auroc_bound", negatives) > 0.75


@claim("13-one-vector", "related", *(put(aurocs(0.85), **s, features="one vector") for s in (CYCLE, PHRASES)))
def one_vector_loses_bound_queries(data: Data) -> Iterator[bool]:
    for system in (CYCLE, PHRASES):
        bound, shuffled = (
            found(data, system, f"auroc_{kind}", "all")
            - found(data, system, f"auroc_{kind}", "all", features="one vector")
            for kind in ("bound", "shuffled")
        )
        yield bound > 0.1
        yield bound - shuffled > 0


@claim("13-scaled", "related", put(aurocs(0.8), **SCALED))
def scaling_leaves_no_refusal_score(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        for kind in KINDS:
            yield found(data, SCALED, f"auroc_{kind}", weather=weather).value == 0.5


@claim("13-before-scaling", "related", put(aurocs(0.5), **UNSCALED))
def captions_beat_the_foreground_score_before_scaling(data: Data) -> Iterator[bool]:
    for kind in KINDS:
        for negatives in NEGATIVES:
            yield found(data, UNSCALED, f"auroc_{kind}") - found(data, FOREGROUND, f"auroc_{kind}", negatives) > 0


@claim("13-cycle", "related", put({**aurocs(0.4), "miou": 0.9}, **CYCLE))
def the_cycle_refuses_better_and_finds_worse(data: Data) -> Iterator[bool]:
    for kind in KINDS:
        yield found(data, CYCLE, f"auroc_{kind}") - found(data, SALIENCY, f"auroc_{kind}") > 0
    yield found(data, CYCLE, "miou") - found(data, SALIENCY, "miou") < 0


@claim("13-base", "related", put({"miou": 0.5, "auroc": 0.9}, **BASE))
def the_base_finds_and_does_not_refuse(data: Data) -> Iterator[bool]:
    yield found(data, BASE, "miou") > 0.95
    yield found(data, BASE, "auroc") < 2 / 3


def trained_heads(data: Data) -> list[Data]:
    return [row for row in data["rows"] if row["parameters"] and row["system"] not in (BOTH["system"], "query only")]


@claim("13-both", "related", put({**aurocs(0.6), "miou": 0.6}, **RA_RFT), put({"miou": 0.95}, **CYCLE))
def only_ra_rft_finds_and_refuses(data: Data) -> Iterator[bool]:
    lowest = found(data, RA_RFT, "miou")
    for kind in KINDS:
        yield found(data, RA_RFT, f"auroc_{kind}") > 0.85
    heads = [row["figures"]["rough"]["miou"] for row in trained_heads(data)]
    yield lowest - share(max(heads), 200) > 0


@claim(
    "13-order-chance",
    "related",
    *(put({"auroc_turned": 0.9}, **s) for s in (FOREGROUND, SALIENCY, CYCLE, SCALED, UNSCALED, BASE)),
)
def most_systems_do_not_know_an_order(data: Data) -> Iterator[bool]:
    for system in (FOREGROUND, SALIENCY, CYCLE):
        rows = select(data["rows"], **system)
        values = [value for row in rows if (value := row["figures"]["rough"].get("auroc_turned")) is not None]
        yield len(values) >= 8 and auroc(max(values), ORDER_PAIRS, ORDER_PAIRS) < 2 / 3
    for system in (SCALED, UNSCALED, BASE):
        yield 0.5 in found(data, system, "auroc_turned")


@claim("13-order-phrases", "related", put({"auroc_turned": 0.9}, **PHRASES))
def phrase_alignment_knows_an_order(data: Data) -> Iterator[bool]:
    for negatives in NEGATIVES:
        yield found(data, PHRASES, "auroc_turned", negatives) > 0.98


@claim("13-order-rarft", "related", put({"auroc_turned": 0.6}, **RA_RFT), put({"auroc_turned": 1.0}, **RA_RFT))
def ra_rft_learns_most_orders(data: Data) -> Iterator[bool]:
    yield found(data, RA_RFT, "auroc_turned") > 0.85
    yield found(data, RA_RFT, "auroc_turned") - found(data, PHRASES, "auroc_turned") < 0


@claim("13-two-scores", "related", put({"auroc": 0.9, "miou": 0.5}, **BOTH))
def two_scores_are_better_than_one(data: Data) -> Iterator[bool]:
    for weather in ("calm", "rough"):
        both, phrases = (seeds_of(data, system, "auroc", "all", weather=weather) for system in (BOTH, PHRASES))
        alone = found(data, RA_RFT, "auroc", weather=weather).value
        yield len(both) >= 2 and all(both[seed] > max(phrases[seed], alone) for seed in both)
    yield found(data, BOTH, "miou", "all").value == found(data, RA_RFT, "miou").value


@claim("13-captions", "related", put({**aurocs(0.9), "auroc": 0.9, "miou": 0.7, "f1": 0.8}, **CAPTIONS))
def captions_need_only_logic(data: Data) -> Iterator[bool]:
    for figure in ("miou", "auroc", "f1"):
        alone = found(data, CAPTIONS, figure)
        yield alone - found(data, RA_RFT, figure) > 0
        yield alone.value > max(row["figures"]["rough"][figure] for row in trained_heads(data))


@claim(
    "13-storm-heads", "related", lambda data: [row["figures"]["storm"].update(miou=0.2) for row in trained_heads(data)]
)
def heads_find_as_well_in_a_storm(data: Data) -> Iterator[bool]:
    lost = [row["figures"]["rough"]["miou"] - row["figures"]["storm"]["miou"] for row in trained_heads(data)]
    yield len(lost) > 40 and max(lost) < 0.08


def storm_put(figures: Data, system: Data) -> Falsification:
    return lambda data: [row["figures"]["storm"].update(figures) for row in select(data["rows"], **system)]


@claim("13-storm-rarft", "related", storm_put({"miou": 0.92}, RA_RFT), storm_put({"miou": 0.5}, BASE))
def ra_rft_loses_most_in_a_storm(data: Data) -> Iterator[bool]:
    yield found(data, RA_RFT, "miou") - found(data, RA_RFT, "miou", weather="storm") > 0.1
    yield found(data, BASE, "miou", weather="storm") > 0.85


@claim("13-storm-score", "related", storm_put({"auroc": 0.94}, RA_RFT))
def its_score_suffers_more_than_that_of_phrases(data: Data) -> Iterator[bool]:
    def lost(system: Data, negatives: str = "none") -> Interval:
        return found(data, system, "auroc", negatives) - found(data, system, "auroc", negatives, "storm")

    for negatives in NEGATIVES:
        yield lost(RA_RFT) - lost(PHRASES, negatives) > 0


@claim("13-reasons", "related", put({"explanation_true": 0.5}, **PHRASES, features="regions"))
def the_reasons_of_phrase_alignment_are_true_most_often(data: Data) -> Iterator[bool]:
    reasons = [(row["system"], row["features"], row["figures"]["rough"]["explanation_true"]) for row in data["rows"]]
    skipped = (PHRASES["system"], BOTH["system"], CAPTIONS["system"])
    others = [value or 0.0 for system, _, value in reasons if system not in skipped]
    own = [value for system, features, value in reasons if system == PHRASES["system"] and features == "regions"]
    yield len(own) == 9 and min(own) > max(others)


@claim("13-corrections", "related", put({"correction_true": 0.5}, **PHRASES, features="regions"))
def its_corrections_mostly_fail(data: Data) -> Iterator[bool]:
    for negatives in NEGATIVES:
        values = seeds_of(data, PHRASES, "correction_true", negatives).values()
        yield share(average(list(values)), 100) < 0.5  # at least half of the 200 irrelevant queries are refused


@claim("13-more-negatives", "related", put({"miou": 0.99}, negatives=("shuffled", "all"), features="regions"))
def negatives_cost_grounding(data: Data) -> Iterator[bool]:
    heads = {
        ("UniVTG", "foreground"): 2,
        ("cycle", ""): 2,
        ("phrase alignment", ""): 2,
        ("evidential, geom", "epistemic"): 1,
    }
    for (name, reading), count in heads.items():
        system = {"system": name, "reading": reading}
        without = seeds_of(data, system, "miou")
        for negatives in NEGATIVES[-count:]:
            yield all(value < without[seed] for seed, value in seeds_of(data, system, "miou", negatives).items())


@claim(
    "13-foreground-gain",
    "related",
    put(aurocs(0.55), **FOREGROUND, negatives="shuffled"),
    put(aurocs(0.8), **FOREGROUND, negatives="shuffled"),
)
def the_foreground_score_gains_on_shuffled_queries_only(data: Data) -> Iterator[bool]:
    shuffled, bound = (
        found(data, FOREGROUND, f"auroc_{kind}", "shuffled") - found(data, FOREGROUND, f"auroc_{kind}")
        for kind in ("shuffled", "bound")
    )
    yield shuffled > 0.1
    yield 0 in bound
