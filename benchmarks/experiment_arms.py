"""The arms of `experiment.py`: what a refusing model can be made from, and with what. One function each.

All that is trained with reinforcement starts from the cold start of the same seed, so that a row differs from the next
in one thing. Supervised arms start from the base, and see as many completions as reinforcement samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from resume import digest

from rarft.models import VideoModel
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Group, Sample
from rarft.system.files import BASE
from rarft.training import COLD_START_CLIPS, cold_start, grpo_config, sft_arguments, train_rarft, train_sft
from rarft.world.completions import demonstrations
from rarft.world.dataset import WorldClip, make_world, shuffled_samples

STEPS, COMPLETIONS = 50, 64  # of reinforcement: 8 prompts a step, 8 completions each
SFT_BATCH = 16  # for as many completions in all
SHORT = {"clips": 48, "steps": 80}  # a cold start that leaves more to reinforcement


@dataclass
class Bench:
    """What all arms share: the training clips, the folder for runs and features, how the clips are read.

    reading: options of `rarft.models.VisionCache`; features in `folder` by default."""

    train: list[WorldClip]
    folder: Path
    steps: int = STEPS
    reading: Mapping[str, Any] = field(default_factory=dict)

    def model(self, path: Path = BASE) -> VideoModel:
        """A model that reads clips as all others of this bench do."""
        return VideoModel.load(path).with_cache(**(self.reading or {"folder": self.folder / "features"}))


def base(bench: Bench, seed: int) -> VideoModel:
    return bench.model()


def started(bench: Bench, seed: int, clips: int = COLD_START_CLIPS, steps: int | None = None) -> VideoModel:
    """The cold start of a seed, trained once."""
    path = bench.folder / f"cold_start_{digest()}_{seed}{'' if steps is None else f'_{clips}_{steps}'}"
    if (path / "model.safetensors").exists():
        return bench.model(path)
    video_model = bench.model()
    chosen = np.random.default_rng(seed).permutation(len(bench.train))[:clips]
    shown = demonstrations([(bench.train[i].story, bench.train[i].group) for i in chosen])
    torch.manual_seed(seed)
    cold_start(video_model, shown, path, seed=seed, steps=steps)
    return video_model


def _supervised(bench: Bench, seed: int, pairs: Sequence[tuple[WorldClip, Sample]]) -> VideoModel:
    video_model = bench.model()
    shown = demonstrations([(clip.story, [sample]) for clip, sample in pairs])
    steps = bench.steps * COMPLETIONS // SFT_BATCH
    arguments = sft_arguments(bench.folder / "sft", steps=steps, batch=SFT_BATCH, rate=1e-3, seed=seed)
    torch.manual_seed(seed)
    train_sft(video_model, shown, arguments)
    return video_model


def short_start(bench: Bench, seed: int) -> VideoModel:
    return started(bench, seed, **SHORT)


def sft_on_hi_vtg(bench: Bench, seed: int, clips: Sequence[WorldClip] | None = None) -> VideoModel:
    rng, clips = np.random.default_rng(seed), clips or bench.train
    irrelevant = [(clip, clip.group.irrelevant[rng.integers(len(clip.group.irrelevant))]) for clip in clips]
    return _supervised(bench, seed, [*((clip, clip.group.relevant) for clip in clips), *irrelevant])


def sft_in_storms(bench: Bench, seed: int) -> VideoModel:
    return sft_on_hi_vtg(bench, seed, in_storms(bench))


def sft_on_shuffled(bench: Bench, seed: int) -> VideoModel:
    others = shuffled_samples(bench.train, np.random.default_rng(seed))
    irrelevant = list(zip(bench.train, others, strict=True))
    return _supervised(bench, seed, [*((clip, clip.group.relevant) for clip in bench.train), *irrelevant])


def in_storms(bench: Bench) -> list[WorldClip]:
    """The same number of training clips, in the weather that only tests have elsewhere."""
    return make_world(bench.folder / "train_storm", "train", len(bench.train), weather="storm")


def _reinforced(
    bench: Bench,
    seed: int,
    *,
    clips: Sequence[WorldClip] | None = None,
    names: Sequence[str] = NAMES,
    variant: str = "robust",
    irrelevant_share: float = 0.5,
    with_shuffled: bool = False,
    start: Mapping[str, int] = MappingProxyType({}),
) -> VideoModel:
    video_model = started(bench, seed, **start)
    clips = clips or bench.train
    groups = [clip.group for clip in clips]
    if with_shuffled:
        others = shuffled_samples(list(clips), np.random.default_rng(seed))
        groups = [Group(clip.group.relevant, (other,)) for clip, other in zip(clips, others, strict=True)]
    torch.manual_seed(seed)
    train_rarft(
        video_model,
        groups,
        grpo_config(bench.folder / "grpo", max_steps=bench.steps, seed=seed),
        rewards=make_rewards(variant, names),
        irrelevant_share=irrelevant_share,
    )
    return video_model


def grpo_relevant_only(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, names=NAMES[:2], irrelevant_share=0.0)


def grpo_shuffled(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, with_shuffled=True)


def grpo_refuse_iou(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, names=NAMES[:2])


def grpo_explain(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, names=NAMES[:3])


def ra_rft(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed)


def ra_rft_after_short(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, start=SHORT)


def ra_rft_official(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, variant="official")


def ra_rft_in_storms(bench: Bench, seed: int) -> VideoModel:
    return _reinforced(bench, seed, clips=in_storms(bench))


ARMS: dict[str, Callable[[Bench, int], VideoModel]] = {
    "base": base,
    "cold start alone": started,
    "SFT on HI-VTG": sft_on_hi_vtg,
    "SFT on shuffled negatives": sft_on_shuffled,
    "GRPO, relevant queries only": grpo_relevant_only,
    "GRPO, shuffled negatives": grpo_shuffled,
    "GRPO, format + refuse-IoU": grpo_refuse_iou,
    "GRPO, + explain": grpo_explain,
    "GRPO, + correction (RA-RFT)": ra_rft,
    "RA-RFT, official rewards": ra_rft_official,
    "short cold start alone": short_start,
    "RA-RFT after the short cold start": ra_rft_after_short,
    "SFT on HI-VTG, in storms": sft_in_storms,
    "RA-RFT, in storms": ra_rft_in_storms,
}
