"""Chapter 14: three videos of 40 parts; 36 relevant, 36 edited and 36 shuffled questions about them."""

from __future__ import annotations

from collections.abc import Iterator

from claims.intervals import Interval, auroc, share
from claims.registry import WEATHERS, Data, Falsification, claim, put, select

PARTS = 120
ASKED = 36
WHOLE, WINDOWS, GRAPH, ALONE = "whole video", "every window", "graph and sub-questions", "sub-questions alone"
NEAREST = {count: f"nearest {count}" for count in (1, 3, 5)}
MODEL = "build/rarft/model"


def way(data: Data, name: str, figure: str, weather: str = "rough", model: str = MODEL) -> Interval:
    """A figure of a way to answer; F1 decides between relevant and edited questions."""
    [row] = select(data["rows"], way=name, weather=weather, model=model)
    value = row["figures"][figure]
    return (
        auroc(value, ASKED, ASKED)
        if figure.startswith("auroc")
        else share(value, ASKED * (1 + figure.startswith("f1")))
    )


def looks_of(data: Data, weather: str, model: str = MODEL) -> Data:
    [row] = select(data["looks"], weather=weather, model=model)
    return row


def chances_put(first: float, last: float) -> Falsification:
    def falsify(data: Data) -> None:
        for row in select(data["looks"], model=MODEL):
            row["chances"][0]["answered"], row["chances"][-1]["answered"] = first, last

    return falsify


@claim("14-one-window", "long_video", chances_put(0.4, 0.3))
def one_window_is_answered_seldom_and_forty_nearly_always(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        one, *_, every = looks_of(data, weather)["chances"]
        yield 1 / 8 in share(one["answered"], 2 * ASKED)
        yield share(every["answered"], 2 * ASKED) > 0.75


@claim("14-not-independent", "long_video", chances_put(0.1, 0.999))
def windows_are_not_independent(data: Data) -> Iterator[bool]:
    every = looks_of(data, "rough")["chances"][-1]
    yield share(every["answered"], 2 * ASKED) < every["independent"]


@claim("14-threshold", "long_video", put({"f1": 0.5}, way=WINDOWS))
def a_threshold_repairs_most_of_it(data: Data) -> Iterator[bool]:
    yield way(data, WINDOWS, "f1") - way(data, WINDOWS, "f1_own") > 0.25
    yield way(data, WINDOWS, "f1") > 0.75


@claim("14-squeezed", "long_video", put({"miou": 0.5, "over_refusal_own": 0.2, "auroc_edited": 0.9}, way=WHOLE))
def a_squeezed_video_says_nothing(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield way(data, WHOLE, "miou", weather) < 0.1
        yield way(data, WHOLE, "over_refusal_own", weather) > 0.5
        yield 0.5 in way(data, WHOLE, "auroc_edited", weather)


@claim("14-nearest-one", "long_video", put({"over_refusal_own": 0.05}, way=NEAREST[1]))
def the_nearest_part_alone_refuses_a_third(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield 1 / 3 in way(data, NEAREST[1], "over_refusal_own", weather)


@claim("14-nearest-three", "long_video", put({"f1_own": 0.4, "miou": 0.2}, way=NEAREST[3]))
def three_parts_decide_better_than_all_windows(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield way(data, NEAREST[3], "f1_own", weather) - way(data, WINDOWS, "f1_own", weather) > 0
        yield way(data, NEAREST[3], "miou", weather).value >= way(data, WINDOWS, "miou", weather).value


@claim("14-nearest-five", "long_video", put({"f1_own": 0.99, "miou": 0.99}, way=NEAREST[5]))
def five_parts_are_no_better(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        for figure in ("miou", "f1_own"):
            yield way(data, NEAREST[5], figure, weather).value <= way(data, NEAREST[3], figure, weather).value


def retrieved(data: Data, weather: str, versions: str, captions: str = "all that is seen") -> Data:
    [row] = select(data["retrieval"], weather=weather, versions=versions, captions=captions)
    return row


QUERY, ENRICHED = "the query", ("drifted, first 4", "drifted, farthest 4", "drifted, all")


@claim("14-similarity-finds", "long_video", put({"r3": 0.5}, "retrieval"))
def the_right_part_is_among_the_nearest_three(data: Data) -> Iterator[bool]:
    rows = select(data["retrieval"], versions=QUERY)
    yield len(rows) == 6 and min(round(row["r3"] * ASKED) for row in rows) >= 32


@claim("14-similarity-refuses", "long_video", put({"auroc_edited": 0.9}, "retrieval", versions=QUERY))
def similarity_does_not_recognise_edited_queries(data: Data) -> Iterator[bool]:
    for row in select(data["retrieval"], versions=QUERY):
        yield 0.5 in auroc(row["auroc_edited"], ASKED, ASKED)
        others = select(data["retrieval"], weather=row["weather"], captions=row["captions"])
        values = [auroc(other["auroc_edited"], ASKED, ASKED) for other in others]
        yield all(0 in value - auroc(row["auroc_edited"], ASKED, ASKED) for value in values)


def drift_put(**figures: float) -> Falsification:
    return lambda data: looks_of(data, "rough")["drift"].update(figures)


@claim("14-drift-happens", "long_video", drift_put(drifted_that_happen=0.5))
def few_enriched_queries_still_happen(data: Data) -> Iterator[bool]:
    yield share(looks_of(data, "rough")["drift"]["drifted_that_happen"], 3 * ASKED) < 0.2


@claim("14-drift-refused", "long_video", drift_put(refused_drifted=0.3, refused_paraphrases=0.3))
def most_of_the_others_are_refused_and_few_paraphrases(data: Data) -> Iterator[bool]:
    drift = looks_of(data, "rough")["drift"]
    yield share(drift["refused_drifted"], 2 * ASKED) > 0.7
    yield share(drift["refused_paraphrases"], 2 * ASKED) < 0.2


OTHER_WAYS = (WINDOWS, *NEAREST.values())


@claim(
    "14-graph",
    "long_video",
    put({"f1_own": 0.3}, way=GRAPH),
    put({"right": 0.5}, "routes", way=GRAPH),
    put({"looks": 9.0}, way=GRAPH),
)
def sub_questions_decide_best(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        own = way(data, GRAPH, "f1_own", weather)
        yield all(own.value > way(data, other, "f1_own", weather).value for other in OTHER_WAYS)
        yield route(data, GRAPH, weather) - route(data, NEAREST[3], weather) > 0
        [row] = select(data["rows"], way=GRAPH, weather=weather, model=MODEL)
        yield row["looks"] <= 3


def route(data: Data, name: str, weather: str, figure: str = "right") -> Interval:
    [row] = select(data["routes"], way=name, weather=weather)
    return share(row[figure], 3 * ASKED)


@claim("14-graph-base", "long_video", put({"f1_own": 0.3, "over_refusal_own": 0.3}, model="data/base"))
def the_base_refuses_with_sub_questions(data: Data) -> Iterator[bool]:
    yield way(data, GRAPH, "f1_own", model="data/base") > 0.9
    yield way(data, NEAREST[3], "over_refusal_own", model="data/base").value == 0


@claim("14-storm-captions", "long_video", put({"parts_read": 0.9}, "retrieval"))
def half_of_the_parts_are_described_in_a_storm(data: Data) -> Iterator[bool]:
    yield 0.5 in share(retrieved(data, "storm", QUERY)["parts_read"], PARTS)


@claim("14-storm-alone", "long_video", put({"f1_own": 0.75}, way=ALONE), put({"f1_own": 1.0}, way=ALONE))
def sub_questions_fall_in_a_storm(data: Data) -> Iterator[bool]:
    yield way(data, ALONE, "f1_own") > 0.9
    yield 0.9 in way(data, ALONE, "f1_own", "storm")
    yield way(data, ALONE, "f1_own") - way(data, ALONE, "f1_own", "storm") > 0


@claim(
    "14-storm-both", "long_video", put({"over_refusal_own": 0.01}, way=GRAPH), put({"over_refusal_own": 0.8}, way=GRAPH)
)
def a_look_on_top_refuses_a_few_more(data: Data) -> Iterator[bool]:
    for other in (NEAREST[3], ALONE):
        more = way(data, GRAPH, "over_refusal_own", "storm") - way(data, other, "over_refusal_own", "storm")
        yield more.value > 0
        yield 0 in more


@claim("14-router", "long_video", put({"right": 0.5, "looks": 3.0}, "routes", way="router"))
def the_router_saves_a_third_of_the_looks(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        [router], [near] = (select(data["routes"], way=name, weather=weather) for name in ("router", NEAREST[3]))
        yield 0 in route(data, "router", weather) - route(data, NEAREST[3], weather)
        yield router["looks"] < 0.67 * near["looks"]


@claim("14-router-times", "long_video", put({"to_no retrieval": 0.1}, "routes", way="router"))
def the_router_finds_questions_with_a_time(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield 0.5 in route(data, "router", weather, "to_no retrieval")


@claim(
    "14-router-graph",
    "long_video",
    put({"to_graph and sub-questions": 0.5}, "routes", way="router"),
    put({"right": 0.6}, "routes", way=GRAPH),
)
def the_router_hardly_uses_the_graph(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        yield route(data, "router", weather, "to_graph and sub-questions") < 0.15
        yield route(data, GRAPH, weather) - route(data, NEAREST[3], weather) > 0


@claim("14-enriched", "long_video", put({"r1": 1.0, "r3": 0.3}, "retrieval", versions=QUERY))
def enriched_queries_find_first_more_often(data: Data) -> Iterator[bool]:
    for weather in WEATHERS:
        plain = retrieved(data, weather, QUERY)
        for versions in ENRICHED[:2]:
            row = retrieved(data, weather, versions)
            first, third = (share(row[k], ASKED) - share(plain[k], ASKED) for k in ("r1", "r3"))
            yield first.value > 0
            yield third.value <= 0
            yield 0 in first and 0 in third
