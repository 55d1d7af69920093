"""The paper's ablation on the world, and supervised fine-tuning on the same data: what a user would try first.

    python benchmarks/ablation.py --seeds 0 1 2          # some minutes a run on two cores; resumes

Every run is added to data/results/ablation.json as soon as it is measured, with its seed and steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from rarft.course import BUILD, ROOT
from rarft.encoder import default_encoder
from rarft.evaluation import claimed_categories, predict, scores, summary, world_judge
from rarft.files import write_json
from rarft.machine import machine
from rarft.models import VisionCache, freeze_vision, load_model
from rarft.response import NIL, format_completion
from rarft.rewards import make_rewards
from rarft.training import grpo_config, sft_arguments, train_rarft, train_sft
from rarft.world.completions import reasoning
from rarft.world.dataset import make_world
from rarft.world.language import parse

RESULTS = ROOT / "data" / "results" / "ablation.json"
REWARDS = {
    "GRPO, relevant queries only: format + IoU": ("format", "refuse_iou"),
    "+ irrelevant queries: format + refuse-IoU": ("format", "refuse_iou"),
    "+ explain": ("format", "refuse_iou", "explain"),
    "+ correction (RA-RFT)": ("format", "refuse_iou", "explain", "correction"),
}
SFT = "SFT on the same data"
SETTINGS = ("base", SFT, *REWARDS)
KEPT = ("f1", "miou", "ra_iou", "refused", "over_refusal", "rt_iou", "explanation_true", "correction_true", "format")


def supervised(model, processor, train: list, cache, seed: int, steps: int) -> None:
    """Train on the reference completions of the samples that GRPO sees, as many prompts a step."""
    pairs = [(s, clip.story) for clip in train for s in (*clip.samples[:1] * 3, *clip.samples[1:])]  # half are relevant
    demonstrations = []
    for sample, story in pairs:
        answer, correction = (str(sample.spans[0]), NIL) if sample.relevant else (sample.answer, sample.correction)
        thought = reasoning(story, parse(sample.query))
        demonstrations.append((sample, format_completion(thought, answer, correction)))
    arguments = sft_arguments(BUILD / "ablation" / "sft", steps=steps, batch=12, rate=2e-4, seed=seed)
    train_sft(model, processor, demonstrations, arguments, vision_cache=cache)


def run(setting: str, seed: int, steps: int, train: list, test: list) -> dict:
    """One training and its measurement."""
    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    cache = VisionCache(model, processor, folder=BUILD / "features")
    torch.manual_seed(seed)
    if setting == SFT:
        supervised(model, processor, train, cache, seed, steps)
    elif setting != "base":
        train_rarft(
            model,
            processor,
            [clip.samples for clip in train],
            grpo_config(BUILD / "ablation" / "grpo", max_steps=steps, seed=seed),
            rewards=make_rewards("robust", REWARDS[setting]),
            relevant_only=setting.startswith("GRPO, relevant"),
            vision_cache=cache,
        )
    samples = [s for clip in test for s in clip.samples]
    predictions = predict(model, processor, samples, vision_cache=cache)
    predictions = world_judge(predictions, [clip.story for clip in test for _ in clip.samples])
    row = summary(scores(predictions, encoder=default_encoder(), categories=claimed_categories))
    found = {k: None if np.isnan(row.get(k, np.nan)) else float(row[k]) for k in KEPT}
    return {"setting": setting, "seed": seed, "steps": steps if setting != "base" else 0, "scores": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    train = make_world(BUILD / "world" / "train", "train", 800)
    test = make_world(BUILD / "world" / "test", "test", 200)
    stored = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    stored |= {"machine": machine(), "steps": options.steps, "held_out_queries": 2 * len(test)}
    done = {(r["setting"], r["seed"]) for r in stored["runs"]}
    measured_base = any(setting == "base" for setting, _ in done)  # it is not trained: no seed changes it
    for seed in options.seeds:
        for setting in options.settings:
            if (setting, seed) in done or (setting == "base" and measured_base):
                continue
            measured_base |= setting == "base"
            stored["runs"].append(run(setting, seed, options.steps, train, test))
            write_json(options.out, stored)
            print(stored["runs"][-1], flush=True)


if __name__ == "__main__":
    main()
