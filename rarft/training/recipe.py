"""RA-RFT from a YAML recipe: any checkpoint, any HI-VTG data, one process or many.

    python -m rarft train rarft --config recipes/qwen2_5_vl_7b_lora.yaml --videos /data/charades
    accelerate launch --config_file recipes/accelerate/zero3.yaml -m rarft train rarft --config RECIPE

A recipe holds the fields of `RunArguments` below, of `trl.ModelConfig` (name, dtype, LoRA) and of `trl.GRPOConfig`
(everything else, for example `report_to: tensorboard`). TRL's own parser reads it, so each field can also be given on
the command line. A field that would have no effect is an error (`rarft.training.recipe_fields`).
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import set_seed
from trl import GRPOConfig, ModelConfig, TrlParser

from rarft.asking.dataset import open_dataset
from rarft.models import VideoModel, VisionCache
from rarft.models.lora import ALL, listed
from rarft.models.settings import check_on_bad_video
from rarft.models.vision_cache import readable_groups
from rarft.prompts import STYLES, read_style
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Group
from rarft.system.errors import InputError
from rarft.system.files import RECIPES, only_writer, read_text
from rarft.system.upstream.of_transformers import HfArg
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe_fields import check_fields, check_types
from rarft.training.run import train_and_save
from rarft.video import GuardedReader
from rarft.video.readers import PYAV, check_reader

log = logging.getLogger(__name__)


@dataclass
class RunArguments:
    """The fields of a recipe in addition to TRL's."""

    train_data: str = HfArg(help="an HI-VTG file, or a folder written by `python -m rarft world`")
    videos: str | None = HfArg(default=None, help="folder of the videos; a world folder brings its own")
    limit: int | None = HfArg(default=None, help="only the first N videos; all by default")
    variant: str = HfArg(default="robust", help="rewards: official, paper or robust")
    rewards: list[str] = HfArg(
        default_factory=lambda: list(NAMES), help="which of the four; module:function for one of your own"
    )
    features: str | None = HfArg(default=None, help="folder for the encoded videos; OUTPUT_DIR/features by default")
    features_in_memory: int = HfArg(default=256, help="encoded videos kept in memory by each process")
    encode_together: int = HfArg(default=1, help="videos that go through the vision tower at a time")
    on_bad_video: str = HfArg(default="skip", help="skip (log and leave out) or stop")
    decode_seconds: float = HfArg(default=120.0, help="seconds without a new frame after which a decoder is killed")
    reader: str = HfArg(default=PYAV, help="the library that decodes: pyav, decord or torchcodec")
    fps: float | None = HfArg(default=None, help="frames per second; the preset's, or 2")
    prompt_style: str | None = HfArg(
        default=None, help="a style of rarft/prompts.py or a JSON file; the preset's by default"
    )
    max_pixels: int | None = HfArg(default=None, help="budget for all frames of a video; the preset's, or none")

    def __post_init__(self) -> None:
        """Raises InputError, which names the field, for a value that cannot be used."""
        if isinstance(self.rewards, str):
            self.rewards = [self.rewards]
        check_on_bad_video(self.on_bad_video)
        check_reader(self.reader)
        if not all(isinstance(name, str) for name in self.rewards):
            raise InputError(f"rewards is {self.rewards}; a list of names was expected")
        if not self.rewards:
            raise InputError(f"rewards is empty; name at least one of {', '.join(NAMES)}, or module:function")
        make_rewards(self.variant, self.rewards)
        if self.prompt_style is not None and self.prompt_style not in STYLES:
            read_style(self.prompt_style)


CLASSES = (RunArguments, ModelConfig, GRPOConfig)
KNOWN = {field.name for kind in CLASSES for field in fields(kind)}


class Recipe(NamedTuple):
    """A recipe after all checks. run: data, rewards, videos. model: its name and LoRA. config: training."""

    run: RunArguments
    model: ModelConfig
    config: GRPOConfig


# -- reading -----------------------------------------------------------------------------------------------------------


def read_recipe(arguments: Sequence[str]) -> Recipe:
    """Parse `--config FILE --field value …`. Raises InputError, which names the field, for a field that is unknown or
    refused or has an unusable value; MissingFileError for a missing file. A command-line value of the wrong type ends
    the program with argparse's message."""
    edge = ArgumentParser(add_help=False, allow_abbrev=False)
    edge.add_argument("--config")
    options, line = edge.parse_known_args(list(arguments))
    written = read_fields(options.config) if options.config else {}
    given = {*written, *_names(line)}
    try:
        check_types(written, CLASSES)
        file = ["--config", options.config] if options.config else []
        recipe = Recipe(*TrlParser(CLASSES).parse_args_and_config([*file, *line]))
        check_fields(given, *recipe)
        return recipe
    except Exception as error:  # TRL and transformers raise errors of many kinds for bad values
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        raise InputError(f"{options.config or 'recipe'}: {kind}{reason}") from error


def as_arguments(fields: Mapping[str, Any]) -> list[str]:
    """Fields in command-line form."""
    given = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else str(value)]
        given += [f"--{name}", *values]
    return given


def _names(line: Sequence[str]) -> set[str]:
    """The names of the fields on the command line. Raises InputError for one that is unknown or abbreviated; argparse
    would accept an abbreviation."""
    names = {text[2:].partition("=")[0].replace("-", "_") for text in line if text.startswith("--")}
    names = {name.removeprefix("no_") if name.removeprefix("no_") in KNOWN else name for name in names}
    unknown = sorted(names - KNOWN)
    if unknown:
        raise InputError(f"--{', --'.join(unknown)}: not a field of a recipe")
    return names


def read_fields(path: str | Path) -> dict[str, Any]:
    """The fields in a recipe's file, as YAML values.

    Raises MissingFileError, or InputError, which names the file, if it is not a YAML file of fields."""
    text = read_text(path)
    try:
        written = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML ({type(error).__name__}: {error})") from error
    if not isinstance(written, dict):
        raise InputError(f"{path}: expected `field: value` on each line, got {type(written).__name__}")
    other = next((name for name in written if not isinstance(name, str)), None)
    if other is not None:
        raise InputError(f"{path}: the name of a field is a text, not {other!r}")
    return written


def grpo_config(output: str | Path, **changes: Any) -> GRPOConfig:
    """The settings of the course's live run, recipes/tiny.yaml, without checkpoints; `changes` override any field of
    `trl.GRPOConfig`."""
    known = {field.name for field in fields(GRPOConfig)}
    settings = {name: value for name, value in read_fields(RECIPES / "tiny.yaml").items() if name in known}
    return GRPOConfig(**{**settings, "save_strategy": "no", "seed": 0, **changes, "output_dir": str(output)})


# -- training ----------------------------------------------------------------------------------------------------------


def run_recipe(recipe: Recipe, *, resume: bool = False) -> VideoGRPOTrainer:
    """Train by a recipe, and save the model (or its adapter), the processor and log.json into its output_dir.

    Args:
        recipe: from `read_recipe`.
        resume: continue from the last whole checkpoint; start from the beginning if there is none.
    """
    set_seed(recipe.config.seed)  # for the random weights of a new adapter
    state = PartialState()
    with only_writer(recipe.config.output_dir) if state.is_main_process else nullcontext():
        video_model, groups = model_and_groups(recipe, state)
        rewards = make_rewards(recipe.run.variant, recipe.run.rewards)
        return train_and_save(video_model, groups, recipe.config, rewards=rewards, resume=resume)


def model_and_groups(recipe: Recipe, state: PartialState) -> tuple[VideoModel, list[Group]]:
    """The model of a recipe, and the groups of its data whose videos can be read, already encoded."""
    run = recipe.run
    with GuardedReader(run.decode_seconds, run.reader) as reader:
        video_model = open_model(recipe, state).with_cache(
            folder=run.features or Path(recipe.config.output_dir) / "features",
            in_memory=run.features_in_memory,
            batch_size=run.encode_together,
            reader=reader,
        )
        groups = everywhere_readable(recipe_groups(run), video_model.cache, run.on_bad_video, state)
    add_adapter(video_model, recipe.model)
    return video_model, groups


def open_model(recipe: Recipe, state: PartialState) -> VideoModel:
    """The model that a recipe names, with the recipe's settings. Raises InputError if it names none."""
    run, model, config = recipe
    if not model.model_name_or_path:
        raise InputError("the recipe names no model; set model_name_or_path")
    return VideoModel.load(
        model.model_name_or_path,
        revision=None if model.model_revision == "main" else model.model_revision,
        dtype=model.dtype or "auto",
        device=state.device,
        changes={
            "fps": run.fps,
            "max_pixels": run.max_pixels,
            "style": run.prompt_style,
            "max_new_tokens": config.max_completion_length,
        },
        **({"attn_implementation": model.attn_implementation} if model.attn_implementation else {}),
    )


def recipe_groups(run: RunArguments) -> list[Group]:
    """The groups of a recipe's data, with the paths of their videos.

    A missing video keeps the path where it was expected; `on_bad_video` says what to do with it later.
    """
    return open_dataset(run.train_data, run.videos, on_bad_video="skip").groups()[: run.limit]


def everywhere_readable(groups: list[Group], cache: VisionCache, on_bad_video: str, state: PartialState) -> list[Group]:
    """`readable_groups`, divided among the processes; all of them return the same groups in the same order."""
    mine = readable_groups(
        groups, cache, on_bad_video=on_bad_video, rank=state.process_index, world_size=state.num_processes
    )
    if state.num_processes == 1:
        return mine
    kept = set(gather_object([group.crop for group in mine]))
    return [group for group in groups if group.crop in kept]


def add_adapter(video_model: VideoModel, config: ModelConfig) -> None:
    """Add the LoRA adapter that a recipe asks for; a model that already has an adapter keeps it."""
    if not config.use_peft or isinstance(video_model.model, PeftModel):
        return
    video_model.add_lora(
        rank=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        targets=config.lora_target_modules or ALL,
        modules_to_save=listed(config.lora_modules_to_save or []) or None,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
    )
