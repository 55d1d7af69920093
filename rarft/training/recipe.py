"""RA-RFT out of a YAML recipe: any checkpoint, any HI-VTG data, one process or many, by one call.

    python -m rarft train rarft --config recipes/qwen2_5_vl_7b_lora.yaml --videos /data/charades
    accelerate launch --config_file recipes/accelerate/zero3.yaml -m rarft train rarft --config RECIPE

A recipe holds the fields of `RunArguments` below, of `trl.ModelConfig` (name, dtype, LoRA) and of `trl.GRPOConfig`
(everything else, `report_to: tensorboard` for example). TRL's own parser reads it, so each field can be given on the
command line, too. A field that would have no effect is an error that names it (`rarft.training.recipe_fields`).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import set_seed
from trl import GRPOConfig, ModelConfig, TrlParser

from rarft.hivtg.official import group_samples, released_samples
from rarft.models import VideoModel, VisionCache
from rarft.models.lora import ALL, listed
from rarft.models.settings import check_on_bad_video
from rarft.models.vision_cache import readable_groups
from rarft.prompts import STYLES, read_style
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Group, is_finite_number
from rarft.system.errors import InputError
from rarft.system.files import only_writer, read_text
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe_fields import check_fields, check_yaml
from rarft.training.run import save_run, train_rarft
from rarft.video import GuardedReader
from rarft.video.find import base_name, find_video
from rarft.video.readers import PYAV, check_reader

log = logging.getLogger(__name__)


@dataclass
class RunArguments:
    """What a recipe says beside TRL's settings."""

    train_data: str = field(metadata={"help": "an HI-VTG file, or a folder written by `python -m rarft world`"})
    videos: str | None = field(default=None, metadata={"help": "folder of the videos; a world folder brings its own"})
    limit: int | None = field(default=None, metadata={"help": "the first so many videos; all by default"})
    variant: str = field(default="robust", metadata={"help": "rewards: official, paper or robust"})
    rewards: list[str] = field(
        default_factory=lambda: list(NAMES), metadata={"help": "which of the four; module:function for one of your own"}
    )
    features: str | None = field(
        default=None, metadata={"help": "folder for the encoded videos; OUTPUT_DIR/features by default"}
    )
    features_in_memory: int = field(default=256, metadata={"help": "encoded videos kept in memory by each process"})
    encode_together: int = field(default=1, metadata={"help": "videos that go through the vision tower at a time"})
    on_bad_video: str = field(default="skip", metadata={"help": "skip (log and leave out) or stop"})
    decode_seconds: float = field(
        default=120.0, metadata={"help": "a decoder that gives no frame for so long is ended"}
    )
    reader: str = field(default=PYAV, metadata={"help": "the library that decodes: pyav, decord or torchcodec"})
    fps: float | None = field(default=None, metadata={"help": "frames a second; the preset's, or 2"})
    prompt_style: str | None = field(
        default=None, metadata={"help": "a style of rarft/prompts.py or a JSON file; the preset's by default"}
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "budget for all frames of a video; the preset's, or none"}
    )

    def __post_init__(self) -> None:
        """Raises InputError, which names the field, for a value that cannot be used."""
        if isinstance(self.rewards, str):
            self.rewards = [self.rewards]
        for name in ("limit", "features_in_memory", "encode_together", "decode_seconds", "fps", "max_pixels"):
            value = getattr(self, name)
            if value is not None and not (is_finite_number(value) and value > 0):
                raise InputError(f"{name} is {value}; a number above 0 was expected")
        check_on_bad_video(self.on_bad_video)
        check_reader(self.reader)
        if not all(isinstance(name, str) for name in self.rewards):
            raise InputError(f"rewards is {self.rewards}; a list of names was expected")
        if not self.rewards:
            raise InputError(f"rewards is empty; name at least one of {', '.join(NAMES)}, or module:function")
        make_rewards(self.variant, self.rewards)
        if self.prompt_style is not None and self.prompt_style not in STYLES:
            read_style(self.prompt_style)


def read_recipe(arguments: Sequence[str]) -> tuple[RunArguments, ModelConfig, GRPOConfig]:
    """Parse `--config FILE --field value …`. Raises InputError that names the field for one that is unknown or refused,
    or has a value that cannot be used; MissingFileError for a missing file. A value of the wrong type ends the program
    with argparse's message."""
    arguments = [
        part for text in arguments for part in (text.split("=", 1) if text.startswith("--config=") else [text])
    ]
    classes = (RunArguments, ModelConfig, GRPOConfig)
    written = _fields_of_file(arguments)
    given = set(written) | _fields_of_line(arguments)
    try:
        check_yaml(written, classes)
        parsed = TrlParser(classes).parse_args_and_config(list(arguments))
        run, model_config, config = parsed
        check_fields(given, len(run.rewards), model_config, config)
        return parsed
    except Exception as error:  # TRL and transformers check values in ways of their own, and raise whatever comes of it
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        raise InputError(f"{_recipe_of(arguments) or 'recipe'}: {kind}{reason}") from error


def _fields_of_line(arguments: Sequence[str]) -> set[str]:
    """The names of the fields on the command line. Raises InputError for one that is unknown or abbreviated;
    argparse would accept an abbreviation."""
    known = {field.name for kind in (RunArguments, ModelConfig, GRPOConfig) for field in dataclasses.fields(kind)}
    given = {text[2:].partition("=")[0].replace("-", "_") for text in arguments if text.startswith("--")}
    given = {name.removeprefix("no_") if name.removeprefix("no_") in known else name for name in given} - {"config"}
    unknown = sorted(given - known)
    if unknown:
        raise InputError(f"--{', --'.join(unknown)}: not a field of a recipe")
    return given


def _recipe_of(arguments: Sequence[str]) -> str | None:
    """The file that `--config` names."""
    places = [i for i, argument in enumerate(arguments[:-1]) if argument == "--config"]
    return arguments[places[-1] + 1] if places else None


def _fields_of_file(arguments: Sequence[str]) -> dict[str, Any]:
    """The fields in the recipe's file. Raises MissingFileError, or InputError that names the file, if
    it is not a YAML file of fields."""
    path = _recipe_of(arguments)
    if path is None:
        return {}
    try:
        fields = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: no YAML that can be read ({type(error).__name__}: {error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a recipe has a field and its value on each line; this is {type(fields).__name__}")
    other = next((name for name in fields if not isinstance(name, str)), None)
    if other is not None:
        raise InputError(f"{path}: the name of a field is a text, not {other!r}")
    return fields


def run_recipe(arguments: Sequence[str], *, resume: bool = False) -> VideoGRPOTrainer:
    """Train as a recipe says, and save the model (or its adapter), the processor and log.json into its output_dir.

    Args:
        resume: continue from the last whole checkpoint; start from the beginning where there is none.
    """
    run, model_config, config = read_recipe(arguments)
    set_seed(config.seed)  # for the random weights of a new adapter
    state = PartialState()
    with only_writer(config.output_dir) if state.is_main_process else nullcontext():
        return _run(run, model_config, config, state, resume=resume)


def _run(
    run: RunArguments, model_config: ModelConfig, config: GRPOConfig, state: PartialState, *, resume: bool
) -> VideoGRPOTrainer:
    video_model = open_recipe_model(run, model_config, config, state)
    if state.is_main_process:
        video_model.write_settings(config.output_dir)  # now: a checkpoint of a run that was killed has them, too
    with GuardedReader(run.decode_seconds, run.reader) as reader:
        video_model = video_model.with_cache(
            folder=run.features or Path(config.output_dir) / "features",
            in_memory=run.features_in_memory,
            batch_size=run.encode_together,
            reader=reader,
        )
        groups = everywhere_readable(recipe_groups(run), video_model.cache, run.on_bad_video, state)
    add_recipe_lora(video_model, model_config)
    trainer = train_rarft(video_model, groups, config, resume=resume, rewards=make_rewards(run.variant, run.rewards))
    save_run(trainer)
    return trainer


def open_recipe_model(
    run: RunArguments, model_config: ModelConfig, config: GRPOConfig, state: PartialState
) -> VideoModel:
    """The model that a recipe names, with its changes of how it is asked. Raises InputError if it names none."""
    if not model_config.model_name_or_path:
        raise InputError("the recipe names no model: model_name_or_path is missing")
    attention = model_config.attn_implementation
    return VideoModel.load(
        model_config.model_name_or_path,
        revision=None if model_config.model_revision == "main" else model_config.model_revision,
        dtype=model_config.dtype or "auto",
        device=state.device,
        changes={
            "fps": run.fps,
            "max_pixels": run.max_pixels,
            "style": run.prompt_style,
            "max_new_tokens": config.max_completion_length,
        },
        **({"attn_implementation": attention} if attention else {}),
    )


def recipe_groups(run: RunArguments) -> list[Group]:
    """The groups of a recipe's data, with the paths of their videos.

    A video that is not there keeps the path at which it was looked for: what to do about it, `on_bad_video` says.
    """
    data = Path(run.train_data)
    file, folder = (data / "hi_vtg.json", data) if data.is_dir() else (data, run.videos)
    if folder is None:
        raise InputError(f"{data}: a released file needs the folder of its videos (videos: FOLDER)")
    if data.is_dir() and run.videos:
        log.warning("videos: %s is not used; the folder %s has its own", run.videos, data)
    groups = group_samples(released_samples(file))[: run.limit]
    if not groups:
        raise InputError(f"{file}: no row has both a relevant and an irrelevant query")
    located = []
    for group in groups:
        path = str(find_video(folder, group.video) or Path(folder) / base_name(group.video))
        located.append(Group.of(dataclasses.replace(sample, video=path) for sample in group))
    return located


def everywhere_readable(groups: list[Group], cache: VisionCache, on_bad_video: str, state: PartialState) -> list[Group]:
    """`readable_groups`, shared out among the processes; all of them get the same groups in the same order."""
    mine = readable_groups(
        groups, cache, on_bad_video=on_bad_video, rank=state.process_index, world_size=state.num_processes
    )
    kept = set(gather_object([group.crop for group in mine])) if state.num_processes > 1 else None
    return [group for group in groups if group.crop in kept] if kept is not None else mine


def add_recipe_lora(video_model: VideoModel, config: ModelConfig) -> None:
    """Wrap the model as a recipe's LoRA fields say; one that has an adapter continues it."""
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
