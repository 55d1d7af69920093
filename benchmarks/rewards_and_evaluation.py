"""How fast are the rewards, and how does offline evaluation grow?

    python benchmarks/rewards_and_evaluation.py            # about two minutes; writes data/results/speed.json

Rewards: 1,024 completions of the world, the best of five runs. Evaluation: `report` with sentence similarity, category
overlap, intervals and the reference rows, on stored predictions (a mix of right and wrong answers). They are about
5,000 clips: beyond 10,000 predictions sentences come again, and their embeddings out of the cache."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from coursekit import ROOT
from rarft.evaluation import REFERENCE_ROWS, Answer, Prediction, report
from rarft.rewards import make_rewards
from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Group, Sample
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.training import refusal_dataset
from rarft.world.dataset import draw_clip, group_of
from rarft.world.judge import claimed_categories

COMPLETIONS = 1024


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def time_rewards(groups: list[Group], encoder: SentenceEncoder) -> dict[str, float]:
    rows = refusal_dataset(groups, "plain", epochs=-(-COMPLETIONS // (2 * len(groups))))
    rows = [rows[i] for i in range(COMPLETIONS)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    think = groups[0].relevant.think
    completions = [
        f"<think> {think} </think><answer> {row['answer']} </answer><correction> {row['correction']} </correction>"
        for row in rows
    ]

    def pay(names: tuple[str, ...]) -> None:
        for function in make_rewards("robust", names, encoder):
            function(completions, **columns)

    without, every = ("format", "refuse_iou"), ("format", "refuse_iou", "explain", "correction")
    return {
        "without_encoder": seconds(lambda: pay(without), 5),
        "all_four_cold": seconds(lambda: pay(every)),
        "all_four_warm": seconds(lambda: pay(every), 5),
    }


def time_evaluation(samples: list[Sample], count: int, encoder: SentenceEncoder) -> float:
    rng = np.random.default_rng(0)
    names = list(REFERENCE_ROWS)
    predictions = [
        Prediction(sample, Answer(REFERENCE_ROWS[names[rng.integers(len(names))]](sample)))
        for sample in (samples[i % len(samples)] for i in range(count))
    ]
    return seconds(lambda: report({"model": predictions}, encoder=encoder, categories={"exact": claimed_categories}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "speed.json")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    torch.set_num_threads(2)
    groups = [group_of(f"{index}.mp4", *draw_clip(0, "test", index)) for index in tqdm(range(5000), desc="draw")]
    samples = [sample for group in groups for sample in group]
    found = {"machine": machine(), "completions": COMPLETIONS, "rewards_s": time_rewards(groups, SentenceEncoder())}
    evaluation = {}
    for count in options.counts:
        evaluation[str(count)] = time_evaluation(samples, count, SentenceEncoder())  # a cold cache each
        print(f"{count:>7,} predictions: {evaluation[str(count)]:.1f} s", flush=True)
    write_json(options.out, {**found, "evaluation_s": evaluation})
    print(found["rewards_s"])


if __name__ == "__main__":
    main()
