"""Does a paragraph help to find its sentences, and what does one wrong sentence do to the others?

    python benchmarks/prvg.py --seeds 0 1 2            # 10 minutes a seed on one core; goes on where it stopped

Writes data/results/prvg.json. Each network is asked for the sentences of the same paragraphs alone, in order, in
reverse, and with one of them replaced by a hard-irrelevant or a shuffled query.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.metrics import auroc, best_iou, mean
from rarft.models import VideoModel
from rarft.related import Answer, FeatureBank
from rarft.related.moments import query_groups
from rarft.related.moments.training import STEPS
from rarft.related.signals.prvg import MAX_SENTENCES, PRVG, paragraphs_of
from rarft.schema import Group, Sample
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.dataset import make_world

RESULTS = ROOT / "data" / "results" / "prvg.json"
TRAIN_CLIPS, TEST_CLIPS, TEST_SEED = 2400, 200, 13
SETTINGS = [(negatives, ordered) for negatives in ("none", "all") for ordered in (True, False)]
Groups = list[Group]


def iou_of(paragraph: Sequence[Sample], answers: Sequence[Answer]) -> list[float]:
    """Of its relevant sentences."""
    return [best_iou([a.span], s.spans) for s, a in zip(paragraph, answers, strict=True) if s.relevant]


def figures(system: PRVG, made: list[Groups], bank: FeatureBank) -> dict[str, float]:
    """mIoU of relevant sentences asked in each way, and the AUROC of the presence logit within wrong paragraphs."""
    right = [[group.relevant for group in groups] for groups in made]
    ways = {
        "alone": [[sentence] for paragraph in right for sentence in paragraph],
        "in order": right,
        "reversed": [paragraph[::-1] for paragraph in right],
    }
    # Of each paragraph, every sentence is wrong once; so all others are compared with themselves next to right ones.
    for name, number in (("edited", 0), ("shuffled", -1)):
        ways[name] = [
            [*paragraph[:wrong], groups[wrong].irrelevant[number], *paragraph[wrong + 1 :]]
            for paragraph, groups in zip(right, made, strict=True)
            for wrong in range(len(paragraph))
        ]
    found = {}
    for name, asked in ways.items():
        answers = system.answer_paragraphs(asked, bank)
        found[name] = mean([iou for p, a in zip(asked, answers, strict=True) for iou in iou_of(p, a)])
        if name in ("edited", "shuffled"):
            relevant = [sentence.relevant for paragraph in asked for sentence in paragraph]
            refusals = [answer.refusal for paragraph in answers for answer in paragraph]
            found[f"auroc {name}"] = auroc([not true for true in relevant], refusals)
            alone = [[sentence] for paragraph in asked for sentence in paragraph]
            refusals = [answer.refusal for [answer] in system.answer_paragraphs(alone, bank)]
            found[f"auroc {name} alone"] = auroc([not true for true in relevant], refusals)
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "related"
    setting = {"base": digest(), "steps": options.steps, "clips": TRAIN_CLIPS, "tests": TEST_CLIPS}
    stored = {**resumed(options.out, setting, {"rows": []}), "machine": machine()}
    bank = FeatureBank(VideoModel.load().with_cache(folder=folder / "features"))
    train = make_world(folder / "train", "train", TRAIN_CLIPS)
    test = make_world(folder / "paragraphs", "train", TEST_CLIPS, seed=TEST_SEED)
    made = paragraphs_of(query_groups(test, negatives="all", queries=MAX_SENTENCES, seed=TEST_SEED))
    stored["paragraphs"] = {"count": len(made), "sentences": mean([len(groups) for groups in made])}
    done = {(row["negatives"], row["ordered"], row["seed"]) for row in stored["rows"]}
    for seed in options.seeds:
        for negatives, ordered in SETTINGS:
            if (negatives, ordered, seed) in done:
                continue
            groups = query_groups(train, negatives=negatives, queries=MAX_SENTENCES, seed=seed)
            bank.videos([group.relevant for group in groups])
            system = PRVG(ordered=ordered, steps=options.steps, seed=seed)
            system.fit(groups, bank)
            row = {"negatives": negatives, "ordered": ordered, "seed": seed, **figures(system, made, bank)}
            stored["rows"].append(row)
            write_json(options.out, stored)
            print(row, flush=True)


if __name__ == "__main__":
    main()
