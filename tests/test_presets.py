"""Presets: what the paper's budget makes of real videos, through the real processors of both Qwen generations."""

import re

import numpy as np
import pytest
from transformers import (
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from rarft.inputs import video_kwargs
from rarft.presets import PRESETS, apply_budget, revision_of, video_options
from rarft.tiny import CHAT_TEMPLATE, tiny_tokenizer
from rarft.video import Clip, read_video


def processor_of(name):
    if name.startswith("qwen3"):
        geometry = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "do_sample_frames": False}
        return Qwen3VLProcessor(Qwen2VLImageProcessor(), tiny_tokenizer(), Qwen3VLVideoProcessor(**geometry), chat_template=CHAT_TEMPLATE)
    return Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), tiny_tokenizer(), Qwen2VLVideoProcessor(do_sample_frames=False), chat_template=CHAT_TEMPLATE)


def tokens_of(processor, frames):
    clip = Clip(frames, np.arange(len(frames)) / 2, len(frames) / 2, 2.0, "x")
    grid = processor.video_processor(**video_kwargs([clip]), return_tensors="pt")["video_grid_thw"][0]
    return int(grid.prod()) // 4, int(grid[0])


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "qwen3-vl-8b"])
def test_frames_are_taken_as_the_budget_made_them(name):
    preset, processor = PRESETS[name], processor_of(name)
    apply_budget(preset, processor)
    side = 28 if preset.max_pixels == 3584 * 28 * 28 else 32
    for frames, height, width in ((20, 10 * side, 16 * side), (40, 4 * side, 6 * side)):
        found, pairs = tokens_of(processor, np.zeros((frames, height, width, 3), np.uint8))
        assert pairs == frames // 2 and found == pairs * (height // side) * (width // side), "neither enlarged nor shrunk"


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "qwen3-vl-8b"])
def test_a_small_video_costs_the_papers_minimum_and_no_more(name, world):
    preset, processor = PRESETS[name], processor_of(name)
    apply_budget(preset, processor)
    frames = read_video(world[0].path, **preset.video).frames
    assert frames.shape[1:] == (64, 64, 3), "within the budget: read as it is"
    found, pairs = tokens_of(processor, frames)
    least = 16 if name.startswith("qwen2.5") else 4  # a frame's 16 tokens; Qwen3-VL's budget is of the whole video
    assert least <= found / pairs <= 25 and found <= 3584


def test_names_and_revisions():
    assert {"time-r1-7b", "videochat-r1-7b", "qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen3-vl-4b", "qwen3-vl-8b"} <= PRESETS.keys()
    assert all(p.revision is None or re.fullmatch("[0-9a-f]{40}", p.revision) for p in PRESETS.values())
    assert video_options("time-r1-7b") == {"fps": 2.0, "max_pixels": 3584 * 784, "min_frame_pixels": 16 * 784}
    assert video_options("data/base") == {"fps": 2.0}


def test_a_preset_without_a_commit_warns_unless_one_is_given(caplog):
    pinned, free = PRESETS["qwen2.5-vl-7b"], PRESETS["time-r1-7b"]
    assert revision_of(pinned) == pinned.revision and revision_of(pinned, "abc") == revision_of(free, "abc") == "abc"
    assert not caplog.records
    assert revision_of(free) is None and "time-r1-7b" in caplog.text
