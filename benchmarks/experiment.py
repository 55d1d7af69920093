"""What makes a model refuse: every arm of `experiment_arms.py`, over seeds, in calm, rough and storm.

    python benchmarks/experiment.py --seeds 0 1 2 3 4          # 3 to 5 minutes an arm and seed on two cores; resumes

Every run is added to data/results/experiment.json as soon as it is measured: what it said to each of the same queries,
with its own probability of refusing. `experiment_tables.py` makes the tables out of them, which chapter 11 shows;
run it at the end, for README's table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from experiment_arms import ARMS, STEPS, Bench
from experiment_tables import tables
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.evaluation import predict, scores
from rarft.models import VideoModel
from rarft.reading.completion import parse_response
from rarft.schema import Sample
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.dataset import WorldClip, kind_of, make_world, shuffled_samples
from rarft.world.judge import claimed_categories, world_judge

RESULTS = ROOT / "data" / "results" / "experiment.json"
TRAIN_CLIPS, TEST_SEED, VALIDATION_SEED = 800, 11, 12
VALIDATION = {"rough": 40, "storm": 16}  # clips: a threshold reads their relevant queries
VOTES, VOTING = 8, ("base",)
WEATHERS = ("calm", "rough", "storm")


def queries_of(world: list[WorldClip]) -> list[tuple[Sample, WorldClip]]:
    """The queries that every arm is asked about these clips: relevant, hard-irrelevant, shuffled."""
    pairs = [(sample, clip) for clip in world for sample in clip.group]
    return pairs + list(zip(shuffled_samples(world, np.random.default_rng(0)), world, strict=True))


def said(video_model: VideoModel, asked: list[tuple[Sample, WorldClip]]) -> dict:
    """What a model says to each query, in the order asked: verdict (its first letter), IoU, its own probability of
    refusing, RT-IoU, and for refusals of irrelevant queries whether explanation and correction are true."""
    samples, stories = [sample for sample, _ in asked], [clip.story for _, clip in asked]
    predictions = world_judge(predict(video_model, samples), stories)
    values = scores(predictions, categories={"exact": claimed_categories})

    def digits(name: str, places: int) -> list[float | None]:
        return [None if np.isnan(v) else round(float(v), places) for v in values.get(name, np.full(len(asked), np.nan))]

    return {
        "verdict": "".join(verdict[0] for verdict in values["verdict"]),
        "iou": digits("iou", 3),
        "refusal_probability": digits("refusal_probability", 4),
        "explanation_true": digits("explanation_true", 0),
        "correction_true": digits("correction_true", 0),
        "rt_iou": digits("rt_iou_exact", 3),
    }


def votes(video_model: VideoModel, asked: list[tuple[Sample, WorldClip]]) -> list[float]:
    """Share of refusals among eight sampled answers to each query."""
    torch.manual_seed(0)
    shares: list[float] = []
    for start in range(0, len(asked), 8):
        samples = [sample for sample, _ in asked[start : start + 8]]
        crops, queries = [sample.crop for sample in samples], [sample.query for sample in samples]
        texts = video_model.generate(crops, queries, num_generations=VOTES, temperature=1.0)
        refused = [parse_response(text).refused for text in texts]
        shares += np.reshape(refused, (-1, VOTES)).mean(1).tolist()
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--clips", type=int, default=100, help="test clips in each weather")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "experiment"
    train = make_world(BUILD / "world" / "train", "train", TRAIN_CLIPS)
    made = {w: make_world(folder / f"test_{w}", "test", options.clips, seed=TEST_SEED, weather=w) for w in WEATHERS}
    for weather, clips in VALIDATION.items():
        place = folder / f"validation_{weather}"
        made[place.name] = make_world(place, "train", clips, seed=VALIDATION_SEED, weather=weather)
    asked = {name: queries_of(world) for name, world in made.items()}
    setting = {"base": digest(), "steps": options.steps, "clips": options.clips, "train_clips": TRAIN_CLIPS}
    stored = {**resumed(options.out, setting, {"runs": []}), "machine": machine()}
    stored["queries"] = {
        name: [{"kind": kind_of(s), "unseen": bool(s.extra.get("unseen"))} for s, _ in pairs]
        for name, pairs in asked.items()
    }
    bench = Bench(train, folder, options.steps)
    done = {(run["arm"], run["seed"]) for run in stored["runs"]}
    for seed in options.seeds:
        for arm in options.arms:
            if (arm, seed) in done or (arm == "base" and any(run == "base" for run, _ in done)):  # it has no seed
                continue
            trained = ARMS[arm](bench, seed)
            answers = {name: said(trained, pairs) for name, pairs in asked.items()}
            run = {"arm": arm, "seed": seed, "said": answers}
            if arm in VOTING:
                run["votes"] = {n: votes(trained, asked[n]) for n in ("validation_rough", "rough")}
            stored["runs"].append(run)
            write_json(options.out, {**stored, "tables": tables(stored)})
            rough = answers["rough"]["verdict"]
            kinds = [q["kind"] for q in stored["queries"]["rough"]]
            refused = {k: np.mean([v == "r" for v, kind in zip(rough, kinds, strict=True) if kind == k]) for k in kinds}
            print(arm, seed, {k: round(float(v), 3) for k, v in refused.items()}, flush=True)


if __name__ == "__main__":
    main()
