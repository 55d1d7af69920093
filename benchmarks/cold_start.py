"""How long a cold start has to be: the base after demonstrations about few and many clips, measured on held-out ones.

python benchmarks/cold_start.py            # writes data/results/cold_start.json; 1 to 3 minutes a size, resumes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from resume import digest, resumed

from rarft.course import BUILD, ROOT
from rarft.evaluation import predict, scores, summary, world_judge
from rarft.files import write_json
from rarft.machine import machine
from rarft.models import VisionCache, freeze_vision, load_model
from rarft.training import COLD_START, cold_start
from rarft.world.completions import demonstrations
from rarft.world.dataset import make_world

RESULTS = ROOT / "data" / "results" / "cold_start.json"
SIZES = ((48, 80), (96, 160), (160, 300))  # clips, steps
FIGURES = ("f1", "auroc", "miou", "over_refusal", "explanation_true", "correction_true", "format")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="held-out clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    train = make_world(BUILD / "world" / "train", "train", max(clips for clips, _ in SIZES))
    test = make_world(BUILD / "experiment" / "cold_start", "test", options.clips, seed=14)
    samples = [sample for clip in test for sample in clip.samples]
    stories = [clip.story for clip in test for _ in clip.samples]
    setting = {"base": digest(), "seed": options.seed, "clips": options.clips}
    setting |= {"batch": COLD_START["batch"], "rate": COLD_START["rate"]}
    stored = {**resumed(options.out, setting, {"rows": {}}), "machine": machine()}
    for clips, steps in SIZES:
        name = f"{clips} clips, {steps} steps"
        if name in stored["rows"]:
            continue
        model, processor = load_model(dtype="float32")
        freeze_vision(model)
        cache = VisionCache(model, processor, folder=BUILD / "experiment" / "features")
        shown = demonstrations([(clip.story, clip.samples) for clip in train[:clips]])
        torch.manual_seed(options.seed)
        folder = BUILD / "experiment" / "sft"
        cold_start(model, processor, shown, folder, seed=options.seed, steps=steps, vision_cache=cache)
        row = summary(scores(world_judge(predict(model, processor, samples, vision_cache=cache), stories)))
        stored["rows"][name] = {figure: row.get(figure) for figure in FIGURES}
        write_json(options.out, stored)
        print(name, {k: round(v, 3) for k, v in stored["rows"][name].items() if v is not None}, flush=True)


if __name__ == "__main__":
    main()
