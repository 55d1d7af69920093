"""How `data/base` is made, in five stages, each with real `transformers` training on videos read from files.

vision: the vision tower learns what a second of a video in calm weather shows (`coursekit.base.vision`).
weather: it learns the same in rough weather, and is frozen. Begun in rough weather, it learns neither.
captioning: the language model learns to describe whole clips, second by second.
tasks: to ground a query, and, under a prompt of its own, to compare a sentence with the clip
    (`coursekit.base.lessons`).
describing: the same, and after a comparison it finds and describes what comes closest.

Starting with captions instead, a model of this size learns when things change, never what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model
from transformers import PreTrainedModel, TrainingArguments, set_seed

from coursekit.base.lessons import draw_lesson
from coursekit.base.tiny import FRAME, LONGEST_SECONDS, tiny_model, tiny_processor
from coursekit.base.vision import train_vision
from rarft.models import Settings, VideoModel, VisionFeatures
from rarft.models.families import plan_of
from rarft.prompts import DESCRIBE
from rarft.system.cores import threads
from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json
from rarft.system.machine import machine
from rarft.system.progress import progress
from rarft.training.checkpoints import resume_training
from rarft.training.sft import Example, ExampleDataset, VideoSFTTrainer, sft_arguments
from rarft.video.reader import Clip, read_video
from rarft.world.dataset import WorldClip, make_world
from rarft.world.timelines import timeline

CLIPS = {"align": 8000, "train": 8000}
STAGES = {  # steps, batch, peak learning rate
    "vision": (1400, 48, 1.5e-3),
    "weather": (2700, 48, 1e-3),
    "captioning": (800, 32, 3e-3),
    "tasks": (3600, 32, 2e-3),
    "describing": (2000, 32, 1e-3),
}
BF16_STAGES = ("captioning", "tasks", "describing")  # where the processor has units for it
SAVE_STEPS = 200
# Every clip is read at 64×64 pixels, whatever its size: what the tower was trained on.
SETTINGS = Settings(
    max_pixels=FRAME**2,
    min_frame_pixels=FRAME**2,
    factor=32,
    max_seconds=LONGEST_SECONDS,
    max_new_tokens=352,
    style="plain",
)


def make_base(data: str | Path, output: str | Path, *, seed: int = 0) -> VideoModel:
    """Train the base model from nothing and save it with its log.

    Stages that are saved already are not repeated; one that was interrupted goes on from its last checkpoint.

    Args:
        data: folder for the world's videos; made if missing (24,000 clips, about 1 GB).
        output: folder of the model in the Hugging Face layout, with `training_log.json`.
    """
    data, output = Path(data), Path(output)
    calm = make_world(data / "align-calm", "align", CLIPS["align"], weather="calm")
    rough = make_world(data / "align-rough", "align", CLIPS["align"], weather="rough")
    whole = make_world(data / "train-rough", "train", CLIPS["train"], weather="rough")
    set_seed(seed)
    processor = tiny_processor()
    model = tiny_model(processor)
    log: dict = {"machine": machine(), "seed": seed, "clips": CLIPS, "stages": {}}

    def timed(stage: str, run: Callable[[TrainingArguments, int], list[dict]], clips: int) -> None:
        folder = output / "stages" / stage
        if not (folder / "log.json").exists():
            steps, batch, rate = STAGES[stage]
            bf16 = stage in BF16_STAGES and has_bf16_units()
            arguments = sft_arguments(
                folder, steps=steps, batch=batch, rate=rate, seed=seed, bf16=bf16, save_steps=SAVE_STEPS
            )
            begin = time.perf_counter()
            history = run(arguments, -(-steps * batch // clips))
            minutes = (time.perf_counter() - begin) / 60
            model.save_pretrained(folder)
            entry = {"steps": steps, "batch": batch, "rate": rate, "bf16": bf16, "minutes": minutes, "history": history}
            write_json(folder / "log.json", entry)
        load_model_weights(model, folder / "model.safetensors")
        log["stages"][stage] = read_json(folder / "log.json")

    for stage, world in (("vision", calm), ("weather", rough)):

        def see(arguments: TrainingArguments, repeat: int, world: list[WorldClip] = world) -> list[dict]:
            stories = [clip.story for clip in world]
            return train_vision(model, processor, read_clips(world), stories, arguments, repeat)

        timed(stage, see, len(world))
    video_model = VideoModel(model, processor, SETTINGS)
    examples = Examples(video_model, whole, seed)
    for stage, make in (
        ("captioning", examples.captioning),
        ("tasks", partial(examples.task, describe=False)),
        ("describing", partial(examples.task, describe=True)),
    ):

        def speak(arguments: TrainingArguments, repeat: int, make: Callable[[int, int], Example] = make) -> list[dict]:
            return sft(video_model, make, examples.lengths, arguments, repeat)

        timed(stage, speak, len(whole))
    video_model.save(output)
    write_json(output / "training_log.json", log)
    return video_model


def load_model_weights(model: PreTrainedModel, path: Path) -> None:
    """Load safetensors into a model in place; tied weights may be missing from the file."""
    missing, unexpected = load_model(model, path, strict=False)
    if unexpected or any("lm_head" not in name for name in missing):
        raise InputError(f"{path}: not weights of this model (missing {missing}, unexpected {unexpected})")


def has_bf16_units() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.8 has no such function
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def read_clips(world: list[WorldClip], threads: int = 2) -> list[Clip]:
    """Decode every clip into memory (about 12 kB a frame)."""

    def read(clip: WorldClip) -> Clip:
        return read_video(clip.path, **SETTINGS.video)

    with ThreadPoolExecutor(threads) as pool:
        return list(progress(pool.map(read, world), total=len(world), desc="decode"))


def encode_world(video_model: VideoModel, world: list[WorldClip]) -> list[VisionFeatures]:
    """Vision features of every clip, computed once; for a frozen vision tower."""
    features: list[VisionFeatures] = []
    for start in progress(range(0, len(world), 32), desc="encode"):
        clips = [read_video(clip.path, **SETTINGS.video) for clip in world[start : start + 32]]
        features += video_model.encode(clips)
    return features


class Examples:
    """Training examples about each whole clip, with the clip's vision features, computed once."""

    def __init__(self, video_model: VideoModel, world: list[WorldClip], seed: int):
        self.features = encode_world(video_model, world)
        self.stories = [clip.story for clip in world]
        self.lengths = [story.duration for story in self.stories]
        self.seed = seed

    def captioning(self, index: int, epoch: int) -> Example:
        """The timeline alone."""
        return Example(self.features[index], DESCRIBE, f"<think> {timeline(self.stories[index])} </think>")

    def task(self, index: int, epoch: int, *, describe: bool) -> Example:
        """A lesson; another one each epoch. In three of four the timeline is masked: it is known by now and would
        otherwise be most of the loss."""
        rng = np.random.default_rng([self.seed, epoch, index])
        lesson = draw_lesson(self.stories[index], self.stories, rng, describe=describe)
        known = len(f"<think> {timeline(self.stories[index])}")
        masked = ((0, known),) if rng.random() < 0.75 else ()
        return Example(self.features[index], lesson.prompt, lesson.completion, masked)


def sft(
    video_model: VideoModel,
    make: Callable[[int, int], Example],
    lengths: list[int],
    arguments: TrainingArguments,
    repeat: int,
) -> list[dict]:
    """Train for `repeat` epochs on the examples that `make` gives. Returns the log."""
    trainer = VideoSFTTrainer(video_model, arguments, ExampleDataset(make, lengths, repeat))
    with threads(plan_of(video_model).threads):
        resume_training(trainer)
    return trainer.state.log_history
