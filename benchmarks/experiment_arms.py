"""The arms of `experiment.py`: what a refusing model can be made from, and with what. One function each.

All that is trained with reinforcement starts from the cold start of the same seed, so that a row differs from the next
in one thing. Supervised arms start from the base, and see as many completions as reinforcement samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from resume import digest

from rarft.models import VisionCache, freeze_vision, load_model
from rarft.models.settings import read_settings, save_settings
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Group, Sample
from rarft.system.files import BASE
from rarft.training import COLD_START_CLIPS, cold_start, grpo_config, sft_arguments, train_rarft, train_sft
from rarft.world.completions import demonstrations
from rarft.world.dataset import WorldClip, make_world, shuffled

if TYPE_CHECKING:  # rarft comes first: see TROUBLESHOOTING.md on torchvision
    from transformers import PreTrainedModel, ProcessorMixin

STEPS, COMPLETIONS = 50, 64  # of reinforcement: 8 prompts a step, 8 completions each
SFT_BATCH = 16  # for as many completions in all
SHORT = {"clips": 48, "steps": 80}  # a cold start that leaves more to reinforcement


@dataclass
class Bench:
    """What all arms share: the training clips, the folder for runs, the features of clips."""

    train: list[WorldClip]
    folder: Path
    cache: VisionCache
    steps: int = STEPS

    def model(self, path: Path = BASE) -> tuple[PreTrainedModel, ProcessorMixin]:
        return load_model(path, dtype="float32")


def base(bench: Bench, seed: int) -> PreTrainedModel:
    return bench.model()[0]


def started(bench: Bench, seed: int, clips: int = COLD_START_CLIPS, steps: int | None = None) -> PreTrainedModel:
    """The cold start of a seed, trained once."""
    path = bench.folder / f"cold_start_{digest()}_{seed}{'' if steps is None else f'_{clips}_{steps}'}"
    if (path / "model.safetensors").exists():
        return bench.model(path)[0]
    model, processor = bench.model()
    chosen = np.random.default_rng(seed).permutation(len(bench.train))[:clips]
    shown = demonstrations([(bench.train[i].story, bench.train[i].group) for i in chosen])
    torch.manual_seed(seed)
    cold_start(model, processor, shown, bench.folder / "sft", seed=seed, steps=steps, vision_cache=bench.cache)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    save_settings(path, read_settings(BASE))
    return model


def _supervised(bench: Bench, seed: int, pairs: Sequence[tuple[WorldClip, Sample]]) -> PreTrainedModel:
    model, processor = bench.model()
    freeze_vision(model)
    shown = demonstrations([(clip.story, [sample]) for clip, sample in pairs])
    steps = bench.steps * COMPLETIONS // SFT_BATCH
    arguments = sft_arguments(bench.folder / "sft", steps=steps, batch=SFT_BATCH, rate=1e-3, seed=seed)
    torch.manual_seed(seed)
    train_sft(model, processor, shown, arguments, vision_cache=bench.cache)
    return model


def short_start(bench: Bench, seed: int) -> PreTrainedModel:
    return started(bench, seed, **SHORT)


def sft_on_hi_vtg(bench: Bench, seed: int, clips: Sequence[WorldClip] | None = None) -> PreTrainedModel:
    rng, clips = np.random.default_rng(seed), clips or bench.train
    irrelevant = [(clip, clip.group.irrelevant[rng.integers(len(clip.group.irrelevant))]) for clip in clips]
    return _supervised(bench, seed, [*((clip, clip.group.relevant) for clip in clips), *irrelevant])


def sft_in_storms(bench: Bench, seed: int) -> PreTrainedModel:
    return sft_on_hi_vtg(bench, seed, in_storms(bench))


def sft_on_shuffled(bench: Bench, seed: int) -> PreTrainedModel:
    others = shuffled(bench.train, np.random.default_rng(seed))
    irrelevant = list(zip(bench.train, others, strict=True))
    return _supervised(bench, seed, [*((clip, clip.group.relevant) for clip in bench.train), *irrelevant])


def in_storms(bench: Bench) -> list[WorldClip]:
    """As many training clips as ever, in the weather that is otherwise for tests only."""
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
) -> PreTrainedModel:
    model = started(bench, seed, **start)
    _, processor = bench.model()
    clips = clips or bench.train
    groups = [clip.group for clip in clips]
    if with_shuffled:
        others = shuffled(list(clips), np.random.default_rng(seed))
        groups = [Group(clip.group.relevant, (other,)) for clip, other in zip(clips, others, strict=True)]
    torch.manual_seed(seed)
    train_rarft(
        model,
        processor,
        groups,
        grpo_config(bench.folder / "grpo", max_steps=bench.steps, seed=seed),
        rewards=make_rewards(variant, names),
        irrelevant_share=irrelevant_share,
        vision_cache=bench.cache,
    )
    return model


def grpo_relevant_only(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, names=NAMES[:2], irrelevant_share=0.0)


def grpo_shuffled(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, with_shuffled=True)


def grpo_refuse_iou(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, names=NAMES[:2])


def grpo_explain(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, names=NAMES[:3])


def ra_rft(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed)


def ra_rft_after_short(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, start=SHORT)


def ra_rft_official(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, variant="official")


def ra_rft_in_storms(bench: Bench, seed: int) -> PreTrainedModel:
    return _reinforced(bench, seed, clips=in_storms(bench))


ARMS: dict[str, Callable[[Bench, int], PreTrainedModel]] = {
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
