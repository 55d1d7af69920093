"""Does a mask find what causes an answer, or what goes with it (`rarft.related.signals.igv`)?

    python benchmarks/igv.py --seeds 0 1 2             # 10 minutes a seed on one core; goes on where it stopped

Writes data/results/igv.json. Training questions follow a rule in a share of the cases
(`rarft.related.signals.shortcut`); tests follow the same rule, none, or another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.metrics import auroc, mean
from rarft.models import VideoModel
from rarft.related import FeatureBank
from rarft.related.signals import IGV, TwoShotQuestion, draw_absent_questions, draw_questions
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.dataset import make_world

RESULTS = ROOT / "data" / "results" / "igv.json"
TRAIN_CLIPS, TEST_CLIPS, TEST_SEED = 800, 300, 5
TRAIN_QUESTIONS, TEST_QUESTIONS = 6000, 600
STEPS = 600
SHARES = (0.7, 0.8, 0.9, 1.0)
TESTS = {"same": 0, "none": None, "other": 1}  # the rule that each follows; training follows rule 0
WAYS = {"plain": {"invariant": False}, "IGV": {}, "IGV, no budget": {"budget": None}}


def figures(
    system: IGV, tests: dict[str, list[TwoShotQuestion]], absent: Sequence[TwoShotQuestion], bank: FeatureBank
) -> dict[str, float]:
    """Accuracy on each test, the share of attention (all that goes to the video) in the asked shot, and AUROC of both
    refusal scores for actors that are not there."""
    found = {}
    for name, asked in tests.items():
        answers = system.answer(asked, bank)
        right = answers.probabilities.argmax(1) == torch.tensor([question.answer for question in asked])
        found[name] = mean(right.float().tolist())
        rows = torch.arange(len(asked))
        paid = answers.shots[rows, torch.tensor([question.asked for question in asked])]
        found[f"asked shot, {name}"] = float(paid.sum() / answers.shots.sum())
    for reading in ("nothing", "certainty"):
        system.refuse_by = reading
        refusals = [system.answer(asked, bank).refusals.tolist() for asked in (tests["none"], absent)]
        found[f"auroc {reading}"] = auroc(
            [False] * len(refusals[0]) + [True] * len(refusals[1]), refusals[0] + refusals[1]
        )
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=["plain", "IGV"], choices=WAYS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "igv"
    setting = {"base": digest(), "steps": options.steps, "clips": TRAIN_CLIPS, "tests": TEST_QUESTIONS}
    stored = {**resumed(options.out, setting, {"rows": []}), "machine": machine()}
    train = make_world(folder / "train", "align", TRAIN_CLIPS)
    test = make_world(folder / "test", "align", TEST_CLIPS, seed=TEST_SEED)
    tests = {name: draw_questions(test, TEST_QUESTIONS, rule=rule, seed=TEST_SEED) for name, rule in TESTS.items()}
    absent = draw_absent_questions(test, TEST_QUESTIONS, seed=TEST_SEED)
    video_model = VideoModel.load().with_cache(folder=folder / "features")
    done = {(row["way"], row["features"], row["share"], row["seed"]) for row in stored["rows"]}
    for seed in options.seeds:
        for features in ("regions", "one vector"):
            bank = FeatureBank(video_model, regions=features == "regions")
            for share in SHARES:
                asked = draw_questions(train, TRAIN_QUESTIONS, rule=0, share=share, seed=seed)
                for way in options.ways:
                    if (way, features, share, seed) in done:
                        continue
                    system = IGV(steps=options.steps, seed=seed, **WAYS[way])
                    system.fit(asked, bank)
                    row = {"way": way, "features": features, "share": share, "seed": seed}
                    stored["rows"].append({**row, **figures(system, tests, absent, bank)})
                    write_json(options.out, stored)
                    print(stored["rows"][-1], flush=True)


if __name__ == "__main__":
    main()
