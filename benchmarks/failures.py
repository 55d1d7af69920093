"""Failures on purpose: what breaks RA-RFT, one change at a time, each a short run with its curve.

    python benchmarks/failures.py                    # 3 to 4 minutes a run on two cores; resumes

Writes data/results/failures.json, which chapter 11 shows. All runs start from the short cold start of one seed, which
leaves reinforcement something to gain or to lose, and are measured on the same held-out clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from experiment_arms import Bench, short_start
from resume import digest, resumed
from transformers import PreTrainedModel

from rarft.course import BUILD, ROOT
from rarft.evaluation import predict, scores, summary, world_judge
from rarft.files import write_json
from rarft.machine import machine
from rarft.models import VisionCache, freeze_vision, load_model
from rarft.rewards import NAMES, make_rewards
from rarft.training import grpo_config, train_rarft
from rarft.world.dataset import make_world

RESULTS = ROOT / "data" / "results" / "failures.json"
# name → what is changed: `share`, `variant`, `names` of the run, anything else of `trl.GRPOConfig`.
RUNS: dict[str, dict[str, Any]] = {
    "before": {"max_steps": 0},
    "as it is": {},
    "official rewards, 90 % irrelevant": {"variant": "official", "share": 0.9},
    "official correction alone, 90 % irrelevant": {"variant": "official", "names": ["correction"], "share": 0.9},
    **{f"KL weight {beta}": {"beta": beta} for beta in (0.04, 0.1)},
    **{f"groups of {size}": {"num_generations": size} for size in (2, 4, 16)},
    **{f"temperature {t}": {"temperature": t} for t in (0.5, 1.5)},
    **{f"{100 * share:.0f} % irrelevant": {"share": share} for share in (0.1, 0.9)},
    "all tokens trained": {"top_entropy_quantile": 1.0},
    "no division by the spread": {"scale_rewards": "none"},
}
CURVES = ("reward", "reward_std", "frac_reward_zero_std", "completions/mean_length")
FIGURES = ("f1", "miou", "refused", "over_refusal", "explanation_true", "correction_true", "auroc")


def trained_with(changes: dict[str, Any], bench: Bench, options: argparse.Namespace) -> tuple[PreTrainedModel, list]:
    """The model after one run, and the entries of its log."""
    model = short_start(bench, options.seed)
    settings = {"max_steps": options.steps, "seed": options.seed, **changes}
    if settings["max_steps"] == 0:
        return model, []
    share, variant = settings.pop("share", 0.5), settings.pop("variant", "robust")
    rewards = make_rewards(variant, settings.pop("names", NAMES))
    trainer = train_rarft(
        model,
        bench.model()[1],
        [clip.samples for clip in bench.train],
        grpo_config(bench.folder / "grpo", **settings),
        rewards=rewards,
        irrelevant_share=share,
        vision_cache=bench.cache,
    )
    return model, [entry for entry in trainer.state.log_history if "reward" in entry]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    folder = BUILD / "experiment"
    train = make_world(BUILD / "world" / "train", "train", 800)
    test = make_world(folder / "failures", "test", options.clips, seed=13)
    samples = [sample for clip in test for sample in clip.samples]
    stories = [clip.story for clip in test for _ in clip.samples]
    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    cache = VisionCache(model, processor, folder=folder / "features")
    bench = Bench(train, folder, cache)
    setting = {"base": digest(), "steps": options.steps, "clips": options.clips, "seed": options.seed}
    stored = {**resumed(options.out, setting, {"runs": {}}), "machine": machine()}
    for name in options.runs:
        if name in stored["runs"]:
            continue
        trained, history = trained_with(RUNS[name], bench, options)
        row = summary(scores(world_judge(predict(trained, processor, samples, vision_cache=cache), stories)))
        stored["runs"][name] = {
            "figures": {figure: row.get(figure) for figure in FIGURES},
            "curves": {curve: [round(entry[curve], 4) for entry in history] for curve in CURVES},
        }
        write_json(options.out, stored)
        print(name, {k: v and round(v, 3) for k, v in stored["runs"][name]["figures"].items()}, flush=True)


if __name__ == "__main__":
    main()
