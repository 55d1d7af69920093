"""What the official budget makes of videos: the same sizes as the official code, the same tokens by the real
processors, and the same settings in training, inference and evaluation."""

import dataclasses
import json
import random
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
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from coursekit import ROOT
from coursekit.base.tiny import CHAT_TEMPLATE, tiny_tokenizer
from rarft.models import PRESETS, VideoModel, keep_frame_sizes, video_kwargs
from rarft.models.load import settings_of
from rarft.models.presets import preset_of, revision_of
from rarft.models.settings import Settings, read_settings, save_settings
from rarft.prompts import STYLES, build_prompt
from rarft.schema import Crop
from rarft.system.files import BASE
from rarft.training import read_recipe, run_recipe
from rarft.video import Clip, frame_size, read_video


def processor_of(name):
    if name.startswith("qwen3"):
        geometry = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "do_sample_frames": False}
        return Qwen3VLProcessor(
            Qwen2VLImageProcessor(), tiny_tokenizer(), Qwen3VLVideoProcessor(**geometry), chat_template=CHAT_TEMPLATE
        )
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(),
        tiny_tokenizer(),
        Qwen2VLVideoProcessor(do_sample_frames=False),
        chat_template=CHAT_TEMPLATE,
    )


def tokens_of(processor, frames):
    clip = Clip(frames, np.arange(len(frames)) / 2, len(frames) / 2, 2.0, "x")
    grid = processor.video_processor(**video_kwargs([clip]), return_tensors="pt")["video_grid_thw"][0]
    return int(grid.prod()) // 4, int(grid[0])


def size_of(settings, height, width, frames):
    limits = {"max_pixels": settings.max_pixels, "min_frame_pixels": settings.min_frame_pixels}
    return frame_size(height, width, frames, settings.factor, **limits)


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "qwen3-vl-8b"])
@pytest.mark.parametrize("seconds, tokens", [(30, 3360), (60, 3000), (120, 3360), (150, 2700), (240, 3600)])
def test_tokens_of_the_official_code(name, seconds, tokens):
    settings = PRESETS[name].settings
    width, height = (640, 360) if settings.factor == 28 else (640 * 32 // 28, 360 * 32 // 28)
    frames = 2 * seconds
    size = size_of(settings, height, width, frames)
    assert frames // 2 * size[0] * size[1] // settings.factor**2 == tokens
    processor = processor_of(name)
    keep_frame_sizes(processor, settings.factor)
    few = np.zeros((4, *size, 3), np.uint8)  # the size of a frame does not depend on their number here
    assert tokens_of(processor, few) == (2 * size[0] * size[1] // settings.factor**2, 2), "neither enlarged nor shrunk"


def test_frame_sizes_equal_a_second_statement_of_the_official_rule():
    draw = random.Random(0)
    for _ in range(20_000):
        factor = draw.choice((28, 32))
        height, width = draw.randint(factor, 2200), draw.randint(factor, 4000)
        frames = 2 * draw.randint(1, 400)
        token = factor * factor
        most = max(min(768 * token, 3584 * token / frames * 2), int(16 * token * 1.05))
        expected = smart_resize(height, width, factor, 16 * token, most)
        assert (
            frame_size(height, width, frames, factor, max_pixels=3584 * token, min_frame_pixels=16 * token) == expected
        )


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "qwen3-vl-8b"])
def test_a_small_video_is_read_at_the_papers_minimum(name, world):
    settings, processor = PRESETS[name].settings, processor_of(name)
    keep_frame_sizes(processor, settings.factor)
    frames = read_video(world[0].path, **settings.video).frames
    assert len(frames) % 2 == 0 and frames.shape[1:] == (4 * settings.factor, 4 * settings.factor, 3)
    assert tokens_of(processor, frames) == (len(frames) // 2 * 16, len(frames) // 2)


def test_names_and_revisions():
    assert {
        "time-r1-7b",
        "videochat-r1-7b",
        "qwen2.5-vl-3b",
        "qwen2.5-vl-7b",
        "qwen3-vl-4b",
        "qwen3-vl-8b",
    } <= PRESETS.keys()
    for preset in PRESETS.values():
        assert preset.revision is None or re.fullmatch("[0-9a-f]{40}", preset.revision)
        assert preset_of(preset.repository) is preset_of(preset.name) is preset and preset.settings.style in STYLES
        assert settings_of(preset.repository) == preset.settings
    assert preset_of("somebody/else") is None


def test_a_preset_without_a_commit_warns_unless_one_is_given(caplog):
    pinned, free = PRESETS["qwen2.5-vl-7b"], PRESETS["time-r1-7b"]
    assert revision_of(pinned) == pinned.revision and revision_of(pinned, "abc") == revision_of(free, "abc") == "abc"
    assert not caplog.records
    assert revision_of(free) is None and "time-r1-7b" in caplog.text


def test_a_model_that_is_saved_takes_its_settings_along(tmp_path, caplog):
    """Read in full size, the timelines of the tiny base lose a fifth of their slots, and nothing else shows why."""
    model = VideoModel.load()
    model.save(tmp_path)
    again = VideoModel.load(tmp_path)
    assert settings_of(tmp_path) == again.settings == model.settings == settings_of(BASE).changed(style="plain")
    (tmp_path / "rarft_settings.json").unlink()
    assert VideoModel.load(tmp_path).settings == model.settings, "config.json has a copy"
    assert not caplog.records
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rarft_settings"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    VideoModel.load(tmp_path)
    assert "no rarft_settings.json" in caplog.text and str(tmp_path) in caplog.text


def test_settings_are_read_beside_a_model_a_checkpoint_and_an_adapter(tmp_path):
    assert read_settings(tmp_path) is None
    settings = Settings(fps=1.0, max_pixels=99, max_new_tokens=7)
    save_settings(tmp_path, settings)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tmp_path)})
    )
    assert settings_of(tmp_path) == settings_of(tmp_path / "checkpoint-20") == settings_of(adapter) == settings
    save_settings(adapter, settings.changed(fps=3.0, style=None))
    assert settings_of(adapter) == dataclasses.replace(settings, fps=3.0)
    (tmp_path / "rarft_settings.json").write_text('{"fbs": 2}')
    with pytest.raises(ValueError, match="rarft_settings.json.*fbs"):
        settings_of(tmp_path)


def test_training_inference_and_evaluation_ask_alike(tmp_path, world, monkeypatch):
    """A recipe trains with a budget of its own; the folder that it leaves is opened with it by `infer` and
    `evaluate`."""
    from rarft import cli
    from rarft.asking import load_asker
    from rarft.models import vision_cache

    fields = [
        "--config",
        str(ROOT / "recipes" / "tiny.yaml"),
        "--use_cpu",
        "true",
        "--train_data",
        str(ROOT / "data" / "samples"),
        "--limit",
        "2",
        "--max_steps",
        "1",
        "--num_generations",
        "2",
        "--per_device_train_batch_size",
        "4",
        "--save_strategy",
        "no",
        "--fps",
        "1",
        "--max_pixels",
        "40000",
        "--max_completion_length",
        "40",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    video = Crop(str(world[0].path))
    trained = run_recipe(read_recipe(fields)).video_model.features([video])[0].embeds.shape
    opened = []
    get = vision_cache.VisionCache.get

    def watched(self, videos):
        found = get(self, videos)
        opened.append((found[0].embeds.shape, self.video_model.settings.max_new_tokens))
        return found

    monkeypatch.setattr(vision_cache.VisionCache, "get", watched)
    with pytest.raises(SystemExit):
        cli.main(
            [
                "infer",
                "--model",
                str(tmp_path / "run"),
                "--video",
                video.video,
                "--query",
                world[0].group.relevant.query,
            ]
        )
    sample = dataclasses.replace(world[0].group.relevant, video=video.video)
    list(load_asker(str(tmp_path / "run"), read_video).ask([sample.crop], [sample.query]))
    plain = VideoModel.load()
    assert plain.settings.max_new_tokens == 352 and plain.settings.style == "plain"
    assert opened == [(trained, 40), (trained, 40)]
    assert get(plain.cache, [video])[0].embeds.shape != trained, "the budget must matter for this test to mean anything"


@pytest.mark.parametrize("style", STYLES)
def test_styles_hold_the_query_and_one_video(style):
    messages = build_prompt("a {curly} query", style, video="v.mp4")
    parts = messages[-1]["content"]
    assert sorted(part["type"] for part in parts) == ["text", "video"]
    assert next(p for p in parts if p["type"] == "video")["video"] == "v.mp4"
    assert "a {curly} query" in next(p for p in parts if p["type"] == "text")["text"]
    assert [m["role"] for m in messages] == (["system", "user"] if STYLES[style].system else ["user"])


def test_a_style_of_ones_own(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"text": "Where is {query}?", "system": "Be brief.", "video_first": false}')
    system, user = build_prompt("a dog", str(path))
    assert system == {"role": "system", "content": "Be brief."} and user["content"][0] == {
        "type": "text",
        "text": "Where is a dog?",
    }
    for text in ('{"text": "no place"}', '{"txt": "{query}"}', "{"):
        other = tmp_path / f"{len(text)}.json"
        other.write_text(text)
        with pytest.raises(ValueError, match=other.name):
            build_prompt("a dog", str(other))
    for wrong in ("unknown", str(tmp_path / "missing.json")):
        with pytest.raises(ValueError, match="style"):
            build_prompt("a dog", wrong)
