"""RA-RFT out of a YAML recipe: any checkpoint, any HI-VTG data, one process or many, by one call.

    python -m rarft train rarft --config recipes/qwen2_5_vl_7b_lora.yaml --videos /data/charades
    accelerate launch --config_file recipes/accelerate/zero3.yaml -m rarft train rarft --config RECIPE

A recipe holds the fields of `RunArguments` below, of `trl.ModelConfig` (name, dtype, LoRA) and of `trl.GRPOConfig`
(everything else, `report_to: tensorboard` for example). TRL's own parser reads it, so each field can be given on the
command line, too. A field that would have no effect is an error that names it (`rarft.training.recipe_fields`).
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
    """What a recipe says in addition to TRL's settings."""

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
    decode_seconds: float = HfArg(default=120.0, help="a decoder that gives no frame in this time is ended")
    reader: str = HfArg(default=PYAV, help="the library that decodes: pyav, decord or torchcodec")
    fps: float | None = HfArg(default=None, help="frames a second; the preset's, or 2")
    prompt_style: str | None = HfArg(
        default=None, help="a style of rarft/prompts.py or a JSON file; the preset's by default"
    )
    max_pixels: int | None = HfArg(default=None, help="budget for all frames of a video; the preset's, or none")

    def __post_init__(self) -> None:
        """Raises InputError, which names the field, for a text that cannot be used."""
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
    """A recipe that was read and checked. run: data, rewards, videos. model: its name and LoRA. config: training."""

    run: RunArguments
    model: ModelConfig
    config: GRPOConfig


# -- reading -----------------------------------------------------------------------------------------------------------


def read_recipe(arguments: Sequence[str]) -> Recipe:
    """Parse `--config FILE --field value …`. Raises InputError that names the field for one that is unknown or refused,
    or has a value that cannot be used; MissingFileError for a missing file. A value of the wrong type ends the program
    with argparse's message."""
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
    except Exception as error:  # TRL and transformers check values in ways of their own, and raise whatever comes of it
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        raise InputError(f"{options.config or 'recipe'}: {kind}{reason}") from error


def as_arguments(fields: Mapping[str, Any]) -> list[str]:
    """Fields as they are written on a command line."""
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
    """The fields in a recipe's file, as YAML has them.

    Raises MissingFileError, or InputError that names the file, if it is not a YAML file of fields."""
    text = read_text(path)
    try:
        written = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: no YAML that can be read ({type(error).__name__}: {error})") from error
    if not isinstance(written, dict):
        raise InputError(f"{path}: a recipe has a field and its value on each line; this is {type(written).__name__}")
    other = next((name for name in written if not isinstance(name, str)), None)
    if other is not None:
        raise InputError(f"{path}: the name of a field is a text, not {other!r}")
    return written


def grpo_config(output: str | Path, **changes: Any) -> GRPOConfig:
    """The settings of the course's live run, recipes/tiny.yaml, without checkpoints; `changes` override any of
    `trl.GRPOConfig`."""
    known = {field.name for field in fields(GRPOConfig)}
    settings = {name: value for name, value in read_fields(RECIPES / "tiny.yaml").items() if name in known}
    return GRPOConfig(**{**settings, "save_strategy": "no", "seed": 0, **changes, "output_dir": str(output)})


# -- training ----------------------------------------------------------------------------------------------------------


def run_recipe(recipe: Recipe, *, resume: bool = False) -> VideoGRPOTrainer:
    """Train as a recipe says, and save the model (or its adapter), the processor and log.json into its output_dir.

    Args:
        recipe: of `read_recipe`.
        resume: continue from the last whole checkpoint; start from the beginning if there is none.
    """
    set_seed(recipe.config.seed)  # for the random weights of a new adapter
    state = PartialState()
    with only_writer(recipe.config.output_dir) if state.is_main_process else nullcontext():
        video_model, groups = model_and_groups(recipe, state)
        rewards = make_rewards(recipe.run.variant, recipe.run.rewards)
        return train_and_save(video_model, groups, recipe.config, rewards=rewards, resume=resume)


def model_and_groups(recipe: Recipe, state: PartialState) -> tuple[VideoModel, list[Group]]:
    """The model of a recipe, and the samples of its data whose videos can be read, encoded ahead of the training."""
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
    """The model that a recipe names, with its changes of how it is asked. Raises InputError if it names none."""
    run, model, config = recipe
    if not model.model_name_or_path:
        raise InputError("the recipe names no model: model_name_or_path is missing")
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

    A video that is not there keeps the path at which it was looked for: `on_bad_video` says what to do about it.
    """
    return open_dataset(run.train_data, run.videos, on_bad_video="skip").groups()[: run.limit]


def everywhere_readable(groups: list[Group], cache: VisionCache, on_bad_video: str, state: PartialState) -> list[Group]:
    """`readable_groups`, shared out among the processes; all of them get the same groups in the same order."""
    mine = readable_groups(
        groups, cache, on_bad_video=on_bad_video, rank=state.process_index, world_size=state.num_processes
    )
    if state.num_processes == 1:
        return mine
    kept = set(gather_object([group.crop for group in mine]))
    return [group for group in groups if group.crop in kept]


def add_adapter(video_model: VideoModel, config: ModelConfig) -> None:
    """Put a LoRA adapter around the model as a recipe's fields say; one that has an adapter continues it."""
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
