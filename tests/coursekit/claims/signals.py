"""Chapter 15: 600 questions with a shortcut, 570 sentences in 199 paragraphs, 200 queries after GRPO; three seeds."""

from __future__ import annotations

from collections.abc import Iterator

from claims.intervals import Interval, auroc, average, repeated, share
from claims.registry import Data, claim, put, select


def shots(data: Data, way: str, strength: float, figure: str, features: str = "regions") -> dict[int, float]:
    """A figure of IGV's tables, by seed."""
    rows = select(data["rows"], way=way, share=strength, features=features)
    return {row["seed"]: row[figure] for row in rows}


def answered(data: Data, way: str, strength: float, figure: str, features: str = "regions") -> Interval:
    """Its mean over seeds, with its interval over questions."""
    value = average(list(shots(data, way, strength, figure, features).values()))
    return auroc(value, data["tests"], data["tests"]) if figure.startswith("auroc") else share(value, data["tests"])


@claim("15-weak-shortcut", "igv", put({"none": 0.7, "other": 0.7}, way="plain", share=(0.7, 0.8)))
def the_plain_network_resists_a_weak_shortcut(data: Data) -> Iterator[bool]:
    for strength in (0.7, 0.8):
        for figure in ("none", "other"):
            yield answered(data, "plain", strength, figure) > 0.94


@claim("15-strong-shortcut", "igv", put({"none": 0.1, "other": 0.1, "asked shot, none": 0.1}, way="IGV", share=0.9))
def the_mask_helps_against_a_strong_one(data: Data) -> Iterator[bool]:
    for figure in ("none", "other", "asked shot, none"):
        plain, masked = (shots(data, way, 0.9, figure) for way in ("plain", "IGV"))
        yield len(plain) == 3 and all(masked[seed] > plain[seed] for seed in plain)
        yield answered(data, "IGV", 0.9, figure) - answered(data, "plain", 0.9, figure) > 0


@claim(
    "15-sure-shortcut", "igv", put({"other": 0.6}, way="IGV", share=1.0), put({"other": 0.7}, way="plain", share=1.0)
)
def the_mask_takes_a_shortcut_that_always_holds(data: Data) -> Iterator[bool]:
    masked, plain = (shots(data, way, 1.0, "other").values() for way in ("IGV", "plain"))
    yield len(masked) == 3 and all(share(value, data["tests"]) < 0.25 for value in masked)
    yield sum(share(value, data["tests"]) < 0.5 for value in plain) == 1


@claim("15-masked-worse", "igv", put({"other": 0.9}, way="IGV", share=1.0))
def the_mask_is_then_worse_than_none(data: Data) -> Iterator[bool]:
    masked, plain = (shots(data, way, 1.0, "other") for way in ("IGV", "plain"))
    yield all(share(masked[seed], data["tests"]) - share(plain[seed], data["tests"]) < 0 for seed in plain)


@claim(
    "15-no-budget",
    "igv",
    put({"none": 0.5, "other": 0.5}, way="IGV, no budget"),
    put({"none": 1.0, "other": 1.0}, way="IGV, no budget"),
)
def without_a_budget_igv_answers_as_the_plain_network(data: Data) -> Iterator[bool]:
    for strength in (0.7, 0.8, 0.9, 1.0):
        for figure in ("none", "other"):
            free, plain = (shots(data, way, strength, figure)[0] for way in ("IGV, no budget", "plain"))
            more = share(free, data["tests"]) - share(plain, data["tests"])
            yield more.low > -0.05 and more.value < 0.1


@claim("15-one-vector", "igv", put({"other": 0.8, "same": 0.3}, features="one vector"))
def with_one_vector_both_follow_the_rule(data: Data) -> Iterator[bool]:
    rows = select(data["rows"], features="one vector")
    yield len(rows) == 24 and all(share(row["other"], data["tests"]) < 0.5 for row in rows)
    yield all(share(row["same"], data["tests"]) > 0.7 for row in rows)


@claim("15-attention", "igv", put({"auroc nothing": 0.6}, way="IGV"))
def attention_to_nothing_recognises_absent_actors(data: Data) -> Iterator[bool]:
    for strength in (0.7, 0.8, 0.9):
        yield answered(data, "IGV", strength, "auroc nothing") > 0.85
        yield answered(data, "IGV", strength, "auroc nothing") - answered(data, "plain", strength, "auroc nothing") > 0


@claim("15-certainty", "igv", put({"auroc certainty": 0.99}))
def certainty_recognises_them_less_well(data: Data) -> Iterator[bool]:
    for strength in (0.7, 0.8, 0.9):
        for way in ("IGV", "plain"):
            yield answered(data, way, strength, "auroc nothing") - answered(data, way, strength, "auroc certainty") > 0


def paragraphs(data: Data, ordered: bool, negatives: str, figure: str) -> list[float]:
    return [row[figure] for row in select(data["rows"], ordered=ordered, negatives=negatives)]


def difference(data: Data, ordered: bool, negatives: str, more: str, less: str) -> Interval:
    """Of two ways to ask the same network, over seeds."""
    pairs = zip(*(paragraphs(data, ordered, negatives, figure) for figure in (more, less)), strict=True)
    return repeated([a - b for a, b in pairs])


@claim("15-paragraph", "prvg", put({"alone": 0.8}, ordered=True))
def a_paragraph_helps_its_sentences(data: Data) -> Iterator[bool]:
    for negatives in ("none", "all"):
        yield difference(data, True, negatives, "in order", "alone") > 0.02


@claim("15-reversed", "prvg", put({"reversed": 0.62}, ordered=True))
def a_reversed_one_costs_more_than_twice_as_much(data: Data) -> Iterator[bool]:
    for row in select(data["rows"], ordered=True):
        yield row["alone"] - row["reversed"] > 2 * (row["in order"] - row["alone"])


@claim("15-any-order", "prvg", put({"in order": 0.8}, ordered=False))
def trained_in_any_order_it_gains_nothing(data: Data) -> Iterator[bool]:
    rows = select(data["rows"], ordered=False)
    asked = [[row[way] for way in ("alone", "in order", "reversed")] for row in rows]
    yield len(rows) == 6 and all(max(values) - min(values) < 0.01 for values in asked)


@claim("15-wrong-neighbour", "prvg", put({"edited": 0.3, "shuffled": 0.3}))
def one_wrong_sentence_does_not_move_the_others(data: Data) -> Iterator[bool]:
    for wrong in ("edited", "shuffled"):
        yield len(data["rows"]) == 12 and all(abs(row[wrong] - row["in order"]) < 0.01 for row in data["rows"])


@claim("15-stands-out", "prvg", put({"auroc edited": 0.4, "auroc shuffled": 0.4}, negatives="all"))
def a_wrong_sentence_stands_out(data: Data) -> Iterator[bool]:
    for wrong in ("edited", "shuffled"):
        rows = select(data["rows"], negatives="all")
        yield len(rows) == 6 and all(row[f"auroc {wrong}"] > row[f"auroc {wrong} alone"] for row in rows)


@claim("15-without-negatives", "prvg", put({"auroc edited": 0.9, "auroc shuffled": 0.9}, negatives="none"))
def without_negatives_it_does_not(data: Data) -> Iterator[bool]:
    for wrong in ("edited", "shuffled"):
        rows = select(data["rows"], negatives="none")
        yield len(rows) == 6 and all(row[f"auroc {wrong}"] < 0.5 for row in rows)


@claim("15-edited-weak", "prvg", put({"auroc edited": 0.8}, negatives="all"))
def edited_sentences_stay_hard(data: Data) -> Iterator[bool]:
    sentences = round(data["paragraphs"]["count"] * data["paragraphs"]["sentences"])
    for ordered in (True, False):
        value = average(paragraphs(data, ordered, "all", "auroc edited"))
        yield auroc(value, sentences, sentences) < 0.65


COLD_START, GROUNDING, INVERSE = "cold start", "RA-RFT", "RA-RFT, inverse tasks"
CONSISTENT, LABELLESS = "RA-RFT, consistency", "consistency and format alone"


def arms(data: Data, arm: str, figure: str) -> dict[int, float]:
    """A figure of the last table, in rough weather, by seed."""
    return {row["seed"]: row["figures"]["rough"][figure] for row in select(data["rows"], arm=arm)}


def over_queries(data: Data, arm: str, figure: str) -> Interval:
    """Its mean over seeds; F1 counts relevant and hard-irrelevant queries."""
    return share(average(list(arms(data, arm, figure).values())), data["tests"] * (1 + (figure == "f1")))


@claim("15-forgets", "inversion", put({"actions": 0.95}, arm=GROUNDING))
def grounding_alone_forgets_actions(data: Data) -> Iterator[bool]:
    before, after = (arms(data, arm, "actions") for arm in (COLD_START, GROUNDING))
    yield len(before) == 3 and all(after[seed] < before[seed] for seed in before)


@claim("15-keeps", "inversion", put({"actions": 0.5}, arm=INVERSE))
def inverse_tasks_keep_more_of_them(data: Data) -> Iterator[bool]:
    after, kept = (arms(data, arm, "actions") for arm in (GROUNDING, INVERSE))
    yield len(kept) == 3 and all(kept[seed] > after[seed] for seed in after)


@claim("15-no-help", "inversion", put({"f1": 0.5, "miou": 0.5}, arm=INVERSE))
def naming_actions_does_not_help_to_refuse(data: Data) -> Iterator[bool]:
    for figure in ("f1", "miou"):
        yield 0 in over_queries(data, GROUNDING, figure) - over_queries(data, INVERSE, figure)


@claim("15-no-labels", "inversion", put({"f1": 0.5}, arm=LABELLESS))
def without_labels_it_refuses_as_well(data: Data) -> Iterator[bool]:
    yield 0 in over_queries(data, GROUNDING, "f1") - over_queries(data, LABELLESS, "f1")


@claim("15-few-hundredths", "inversion", put({"f1": 0.99}, arm=GROUNDING))
def reinforcement_adds_a_few_hundredths(data: Data) -> Iterator[bool]:
    start, trained = (arms(data, arm, "f1") for arm in (COLD_START, GROUNDING))
    yield len(start) == 3 and all(0 < trained[seed] - start[seed] < 0.05 for seed in start)


@claim("15-fifth-reward", "inversion", put({"f1": 0.99}, arm=CONSISTENT))
def a_fifth_reward_changes_little(data: Data) -> Iterator[bool]:
    four, five = (arms(data, arm, "f1") for arm in (GROUNDING, CONSISTENT))
    yield len(four) == 3 and all(abs(five[seed] - four[seed]) < 0.02 for seed in four)


@claim("15-corrections-lost", "inversion", put({"correction_true": 0.6}, arm=LABELLESS))
def one_seed_loses_its_corrections(data: Data) -> Iterator[bool]:
    corrected = arms(data, LABELLESS, "correction_true")
    yield len(corrected) == 3 and sum(share(value, data["tests"]) < 0.05 for value in corrected.values()) == 1


@claim("15-corrections-kept", "inversion", put({"correction_true": 0.1}, arm=LABELLESS))
def another_keeps_them(data: Data) -> Iterator[bool]:
    start, corrected = (arms(data, arm, "correction_true") for arm in (COLD_START, LABELLESS))
    differences = [share(corrected[seed], data["tests"]) - share(start[seed], data["tests"]) for seed in start]
    yield sum(0 in difference for difference in differences) == 2
