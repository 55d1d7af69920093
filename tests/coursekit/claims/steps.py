"""Chapter 12: a step of GRPO on a GPU, each part repeated once or twice, and on two cores, in seven turns."""

from __future__ import annotations

from collections.abc import Iterator

from claims.intervals import share
from claims.registry import Data, Falsification, claim

SEVEN, THREE = "qwen2.5-vl-7b", "qwen2.5-vl-3b"


def seconds(data: Data, size: str, part: str) -> list[float]:
    """Of each repetition."""
    measured = data[size]["parts"][part]
    return [s - measured.get("prefill", 0) for s in measured["seconds"]]


def part_put(size: str | tuple[str, ...], part: str, **values: object) -> Falsification:
    return lambda data: [data[s]["parts"][part].update(values) for s in ([size] if isinstance(size, str) else size)]


@claim("12-kernels", "step_at_size", part_put(THREE, "sampling", seconds=[5.0, 6.0]))
def the_small_model_samples_more_slowly(data: Data) -> Iterator[bool]:
    yield min(seconds(data, THREE, "sampling")) > max(seconds(data, SEVEN, "sampling"))


@claim("12-graph", "step_at_size", part_put(SEVEN, "sampling, graph", seconds=[6.0, 7.0]))
def a_graph_takes_less_than_half_of_the_time(data: Data) -> Iterator[bool]:
    yield 2 * max(seconds(data, SEVEN, "sampling, graph")) < min(seconds(data, SEVEN, "sampling"))


@claim("12-floor", "step_at_size", part_put(SEVEN, "sampling, graph", seconds=[2.1, 2.2]))
def it_stays_above_the_floor(data: Data) -> Iterator[bool]:
    yield min(seconds(data, SEVEN, "sampling, graph")) > 2 * data[SEVEN]["sampling_floor_seconds"]


@claim("12-checkpoints", "step_at_size", part_put((SEVEN, THREE), "training, checkpoints", seconds=[9.0], peak_gb=50.0))
def checkpoints_trade_time_for_memory(data: Data) -> Iterator[bool]:
    for size in (SEVEN, THREE):
        plain, kept = "training", "training, checkpoints"
        yield 1.2 < min(seconds(data, size, kept)) / min(seconds(data, size, plain)) < 1.45
        yield data[size]["parts"][kept]["peak_gb"] < data[size]["parts"][plain]["peak_gb"] / 2


@claim("12-vision", "step_at_size", part_put((SEVEN, THREE), "vision", decoding=0.1, tower=0.1))
def vision_takes_longest(data: Data) -> Iterator[bool]:
    for size in (SEVEN, THREE):
        for part in ("sampling", "training", "training, checkpoints"):
            yield sum(data[size]["parts"]["vision"].values()) > min(seconds(data, size, part))


BASE_STEP, COLD_START_STEP, PAPER_STEP = "chapter 09, base", "chapter 09, cold start", "paper's proportions"


def sampled_put(setting: str, **counts: int) -> Falsification:
    return lambda data: data["measured"][setting]["sampled"]["shared"].update(counts)


@claim("12-answers-differ", "grpo_step", sampled_put(BASE_STEP, distinct_completions=40, distinct_tokens=9000))
def answers_after_the_cold_start_differ_more(data: Data) -> Iterator[bool]:
    base, cold = (data["measured"][setting]["sampled"]["shared"] for setting in (BASE_STEP, COLD_START_STEP))
    differing = [share(row["distinct_completions"] / row["completions"], row["completions"]) for row in (cold, base)]
    yield differing[0] - differing[1] > 0
    yield base["distinct_tokens"] / base["tokens"] < cold["distinct_tokens"] / cold["tokens"] < 0.25


@claim("12-random-answers", "grpo_step", sampled_put(PAPER_STEP, distinct_completions=3))
def random_weights_make_every_answer_different(data: Data) -> Iterator[bool]:
    sampled = data["measured"][PAPER_STEP]["sampled"]["shared"]
    yield sampled["distinct_completions"] == sampled["completions"]


@claim(
    "12-speedup", "grpo_step", lambda data: [row.update(speedup_range=[1.1, 5.0]) for row in data["measured"].values()]
)
def a_step_is_faster_in_every_turn(data: Data) -> Iterator[bool]:
    assert data["turns"] == 7
    for setting in (BASE_STEP, COLD_START_STEP, PAPER_STEP):
        yield data["measured"][setting]["speedup_range"][0] > 2.5
