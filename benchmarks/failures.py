"""Failures on purpose: what breaks RA-RFT, one change at a time, each a short run with its curve.

    python benchmarks/failures.py                    # 3 to 4 minutes a run on two cores; resumes

Writes data/results/failures.json, which chapter 11 shows. All runs start from the short cold start of one seed, which
leaves reinforcement something to gain or to lose, and are measured on the same held-out clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiment_arms import Bench, short_start
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.asking.asker import ChangingReader
from rarft.evaluation import predict, scores, summary
from rarft.evaluation.probes import frames_shuffled
from rarft.models import VideoModel
from rarft.rewards import NAMES, Reward, make_rewards
from rarft.schema import Group
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.training import grpo_config, train_rarft
from rarft.training.dataset import row_of
from rarft.video import read_video
from rarft.world.dataset import make_world
from rarft.world.judge import world_judge

RESULTS = ROOT / "data" / "results" / "failures.json"
WITHOUT_EXPLAIN = {"variant": "official", "names": ["format", "refuse_iou", "correction"]}
# name → what is changed: `share`, `variant`, `names` of the run, `scrambled` frames, only prompts `differing` in
# reward; anything else is of `trl.GRPOConfig`.
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
    "prompts whose answers differ": {"differing": True},
    # Eyes that cannot tell when: the segment is missed nearly always, as by a model that has just begun to learn.
    "frames in random order, before": {"max_steps": 0, "scrambled": True},
    **{
        f"frames in random order, {rewards}, {how}": {**changes, **more, "scrambled": True}
        for how, more in (
            ("50 % irrelevant", {}),
            ("90 % irrelevant", {"share": 0.9}),
            ("four times as long", {"max_steps": 160}),
        )
        for rewards, changes in (("robust", {}), ("official without explain", WITHOUT_EXPLAIN))
    },
}
CURVES = ("reward", "reward_std", "frac_reward_zero_std", "completions/mean_length")
DRAWN = 320  # clips that the filter of prompts looks at
FIGURES = ("f1", "miou", "refused", "over_refusal", "explanation_true", "correction_true", "auroc")


def trained_with(changes: dict[str, Any], bench: Bench, options: argparse.Namespace) -> tuple[VideoModel, list]:
    """The model after one run, and the entries of its log."""
    video_model = short_start(bench, options.seed)
    settings = {"max_steps": options.steps, "seed": options.seed, **changes}
    share, variant = settings.pop("share", 0.5), settings.pop("variant", "robust")
    rewards = make_rewards(variant, settings.pop("names", NAMES))
    groups = [clip.group for clip in bench.train]
    if settings.pop("differing", False):
        groups = differing(video_model, bench, rewards, options.seed)
    if settings["max_steps"] == 0:
        return video_model, []
    trainer = train_rarft(
        video_model,
        groups,
        grpo_config(bench.folder / "grpo", **settings),
        rewards=rewards,
        irrelevant_share=share,
    )
    return video_model, [entry for entry in trainer.state.log_history if "reward" in entry]


def differing(video_model: VideoModel, bench: Bench, rewards: list[Reward], seed: int) -> list[Group]:
    """Pairs of a relevant and an irrelevant query whose groups of eight sampled answers both differ in reward before
    training: a filter on prompts, as an offline stand-in for drawing new ones during the run."""
    rng = np.random.default_rng(seed)
    pairs = [
        Group(clip.group.relevant, (clip.group.irrelevant[rng.integers(len(clip.group.irrelevant))],))
        for clip in bench.train
    ]
    torch.manual_seed(seed)
    kept: list[Group] = []
    for start in range(0, DRAWN, 8):
        chunk = pairs[start : start + 8]
        asked = [sample for pair in chunk for sample in pair]
        crops, queries = [sample.crop for sample in asked], [sample.query for sample in asked]
        texts = video_model.generate(crops, queries, num_generations=8, temperature=1.0)
        rows = [row_of(*couple, video_model.style) for pair in chunk for couple in (tuple(pair), tuple(pair)[::-1])]
        columns = {name: [row[name] for row in rows for _ in range(8)] for name in rows[0] if name != "prompt"}
        sums = np.sum([reward(texts, **columns) for reward in rewards], axis=0).reshape(len(chunk), 2, 8)
        kept += [pair for pair, spread in zip(chunk, sums.std(-1), strict=True) if (spread > 1e-6).all()]
    print(f"{len(kept)} of {DRAWN} pairs differ", flush=True)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "experiment"
    train = make_world(BUILD / "world" / "train", "train", 800)
    test = make_world(folder / "failures", "test", options.clips, seed=13)
    samples = [sample for clip in test for sample in clip.group]
    stories = [clip.story for clip in test for _ in clip.group]
    scrambled = {"reader": ChangingReader(read_video, frames_shuffled)}
    benches = {False: Bench(train, folder), True: Bench(train, folder, reading=scrambled)}
    setting = {"base": digest(), "steps": options.steps, "clips": options.clips, "seed": options.seed}
    stored = {**resumed(options.out, setting, {"runs": {}}), "machine": machine()}
    for name in options.runs:
        if name in stored["runs"]:
            continue
        changes = dict(RUNS[name])
        bench = benches[changes.pop("scrambled", False)]
        trained, history = trained_with(changes, bench, options)
        row = summary(scores(world_judge(predict(trained, samples), stories)))
        stored["runs"][name] = {
            "figures": {figure: row.get(figure) for figure in FIGURES},
            "curves": {curve: [round(entry[curve], 4) for entry in history] for curve in CURVES},
        }
        write_json(options.out, stored)
        print(name, {k: v and round(v, 3) for k, v in stored["runs"][name]["figures"].items()}, flush=True)


if __name__ == "__main__":
    main()
