"""What else can be in the GRPO mix: inverse tasks (`rarft.related.signals.invert4tvg`), and a reward for
agreeing with the model's own timeline (`rarft.related.signals.consistency`).

    python benchmarks/inversion.py --seeds 0 1 2       # 35 minutes a seed on one core; goes on where it stopped

Writes data/results/inversion.json. All arms of a seed start from the same cold start, which shows grounding, refusing
and the inverse tasks; then each takes as many steps of GRPO.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from experiment import queries_of, said
from experiment_arms import STEPS
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.metrics import auroc, mean, relevance_f1
from rarft.models import VideoModel
from rarft.related.features import in_batches
from rarft.related.signals.consistency import consistency_reward
from rarft.related.signals.invert4tvg import (
    SHARE,
    TASKS,
    inverse_demonstrations,
    inverse_reward,
    invert_sample,
    mix_dataset,
    restrict_to_grounding,
)
from rarft.rewards import Reward, make_rewards
from rarft.system.cores import use_cores
from rarft.system.files import BASE, write_json
from rarft.system.machine import machine
from rarft.training import COLD_START_CLIPS, cold_start, grpo_config
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer
from rarft.world.completions import demonstrations
from rarft.world.dataset import WorldClip, kind_of, make_world

RESULTS = ROOT / "data" / "results" / "inversion.json"
TRAIN_CLIPS, TEST_CLIPS, TEST_SEED = 800, 100, 11
COLD_STEPS = 400  # more than the course's: there are more tasks to show
WEATHERS = ("rough", "storm")


@dataclass(frozen=True)
class Arm:
    """share: of inverse tasks among the prompts. rewards: those of grounding."""

    rewards: Callable[[], Sequence[Reward]] = make_rewards
    share: float = 0.0


ARMS = {
    "cold start": None,
    "RA-RFT": Arm(),
    "RA-RFT, inverse tasks": Arm(share=SHARE),
    "RA-RFT, consistency": Arm(lambda: [*make_rewards(), consistency_reward]),
    "consistency and format alone": Arm(lambda: [*make_rewards(names=("format",)), consistency_reward]),
}


class Bench:
    """Clips, tests, and the cold start of each seed."""

    def __init__(self) -> None:
        self.folder = BUILD / "inversion"
        self.train = make_world(BUILD / "world" / "train", "train", TRAIN_CLIPS)
        self.tests = {
            weather: make_world(self.folder / f"test_{weather}", "test", TEST_CLIPS, seed=TEST_SEED, weather=weather)
            for weather in WEATHERS
        }

    def model(self, path: Path = BASE) -> VideoModel:
        """A model with the features that all models of this benchmark share."""
        return VideoModel.load(path).with_cache(folder=self.folder / "features")

    def started(self, seed: int) -> VideoModel:
        """The cold start of a seed, trained once."""
        path = self.folder / f"cold_start_{digest()}_{seed}"
        if not (path / "model.safetensors").exists():
            video_model = self.model()
            chosen = [self.train[i] for i in np.random.default_rng(seed).permutation(TRAIN_CLIPS)[:COLD_START_CLIPS]]
            shown = demonstrations([(clip.story, clip.group) for clip in chosen])
            shown += inverse_demonstrations([(clip.story, clip.group.relevant) for clip in chosen])
            torch.manual_seed(seed)
            cold_start(video_model, shown, path, seed=seed, steps=COLD_STEPS)
        return self.model(path)

    def trained(self, arm: Arm | None, seed: int, steps: int) -> VideoModel:
        """The model of one arm and seed; without an arm, its cold start."""
        video_model = self.started(seed)
        if arm is None:
            return video_model
        style = video_model.style
        rows = refusal_dataset([clip.group for clip in self.train], style, seed=seed)
        inverses = [(*made, task) for clip in self.train for task in TASKS if (made := inverse_of(clip, task))]
        torch.manual_seed(seed)
        trainer = VideoGRPOTrainer(
            video_model,
            reward_funcs=[*(restrict_to_grounding(reward) for reward in arm.rewards()), inverse_reward],
            args=grpo_config(self.folder / "grpo", max_steps=steps, seed=seed),
            train_dataset=mix_dataset(rows, inverses, style, share=arm.share, seed=seed),
        )
        trainer.train()
        video_model.model.eval()
        return video_model

    def figures(self, video_model: VideoModel, world: list[WorldClip]) -> dict[str, float]:
        """Of grounding and refusing, and the mean reward of each inverse task."""
        asked = queries_of(world)
        answers = said(video_model, asked)
        kinds = np.array([kind_of(sample) for sample, _ in asked])
        relevant, hard = kinds == "relevant", kinds != "shuffled"
        verdicts = np.array(
            [{"g": "grounds", "r": "refuses"}.get(letter, "unreadable") for letter in answers["verdict"]]
        )
        # An answer that says neither has no probability of refusing.
        refusals = np.nan_to_num(np.array(answers["refusal_probability"], float), nan=0.5)
        found = {
            "miou": mean(np.array(answers["iou"], float)[relevant]),
            "f1": relevance_f1(relevant[hard], verdicts[hard])["f1"],
            "over_refusal": mean(verdicts[relevant] == "refuses"),
            "auroc": auroc(~relevant[hard], refusals[hard]),
            "explanation_true": mean(np.array(answers["explanation_true"], float)[hard & ~relevant]),
            "correction_true": mean(np.array(answers["correction_true"], float)[hard & ~relevant]),
        }
        for kind in ("absent", "bound"):
            found[f"caught_{kind}"] = mean(verdicts[kinds == kind] == "refuses")
        for task in TASKS:
            pairs = [made for clip in world if (made := inverse_of(clip, task))]
            texts: list[str] = []
            for part in in_batches(pairs):
                texts += video_model.generate([sample.crop for sample, _ in part], [s.query for s, _ in part])
            found[task] = mean(inverse_reward(texts, [task] * len(pairs), [words for _, words in pairs]))
        return {name: round(float(value), 4) for name, value in found.items()}


def inverse_of(clip: WorldClip, task: str):
    return invert_sample(clip.group.relevant, clip.story, task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    use_cores(options.threads)
    bench = Bench()
    setting = {"base": digest(), "steps": options.steps, "cold_steps": COLD_STEPS, "tests": TEST_CLIPS}
    stored = {**resumed(options.out, setting, {"rows": []}), "machine": machine()}
    done = {(row["arm"], row["seed"]) for row in stored["rows"]}
    for seed in options.seeds:
        for name in options.arms:
            if (name, seed) in done:
                continue
            trained = bench.trained(ARMS[name], seed, options.steps)
            figures = {weather: bench.figures(trained, world) for weather, world in bench.tests.items()}
            stored["rows"].append({"arm": name, "seed": seed, "figures": figures})
            write_json(options.out, stored)
            print(name, seed, figures["rough"], flush=True)


if __name__ == "__main__":
    main()
