"""Stand-ins: an experiment runs from a released file to its table without its videos or its model."""

import json
from dataclasses import replace

import pytest

from coursekit import sample_world
from rarft.asking.dataset import read_samples
from rarft.cli import main
from rarft.models import VideoModel
from rarft.models.presets import PRESETS
from rarft.paper import lengths_of, small_model, write_stand_ins
from rarft.schema import Sample, Span
from rarft.system.errors import InputError
from rarft.training.recipe import read_recipe, run_recipe
from rarft.video import read_video


def rows(world):
    """The shipped clips' rows under other names: a path of another disk, another container, no duration."""
    samples = []
    for number, clip in enumerate(world[:3]):
        name = ("/data/elsewhere/one.mp4", "two.mkv", "three.mp4")[number]
        relevant = clip.group.relevant
        row = {
            "video": name,
            "query_text": relevant.query,
            "timestamp": list(relevant.spans[0]),
            "duration": None if number == 2 else relevant.duration,
            "think": relevant.think,
            "GRPO": [
                {
                    "q": s.query,
                    "a": s.answer,
                    "r": s.relevant,
                    "difficulty": s.difficulty.value,
                    "correction": s.correction,
                    "category": [category.value for category in s.categories],
                }
                for s in clip.group
            ],
        }
        samples.append(row)
    return samples


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    file = folder / "hi_vtg.json"
    file.write_text(json.dumps(rows(sample_world())))
    with pytest.raises(SystemExit) as done:
        main(
            [
                *("rehearse", str(file), "--processes", "1"),
                *("--videos", str(folder / "videos"), "--model", str(folder / "model")),
            ]
        )
    assert done.value.code == 0
    return folder, file


def test_a_video_is_as_long_as_its_rows_ask(rehearsed):
    folder, file = rehearsed
    lengths = lengths_of(read_samples(file))
    assert set(lengths) == {"/data/elsewhere/one.mp4", "two.mkv", "three.mp4"}
    assert {path.name for path in (folder / "videos").iterdir()} == {"one.mp4", "two.mkv", "three.mp4"}
    for video, seconds in lengths.items():
        clip = read_video(folder / "videos" / video.rsplit("/", 1)[-1])
        assert clip.duration == pytest.approx(seconds, abs=0.25)


def test_what_is_there_is_kept_and_content_depends_on_the_name_alone(rehearsed, tmp_path):
    folder, file = rehearsed
    samples = read_samples(file)
    mine = tmp_path / "one.mp4"
    mine.write_bytes(b"mine")
    assert write_stand_ins(samples, tmp_path, processes=1) == 2 and mine.read_bytes() == b"mine"
    for name in ("two.mkv", "three.mp4"):
        assert (tmp_path / name).read_bytes() == (folder / "videos" / name).read_bytes()
    assert write_stand_ins(samples, tmp_path, processes=1) == 0


def test_lengths_out_of_crops_and_segments():
    plain = Sample("a.mp4", "q", [Span(1.0, 9.0)], duration=8.0)
    crop = Sample("b.mp4", "q", [Span(1.0, 2.0)], duration=4.0, start=30.0, end=34.0)
    assert lengths_of([plain, crop, replace(crop, start=50.0, end=53.5)]) == {"a.mp4": 9.0, "b.mp4": 53.5}
    with pytest.raises(InputError, match="c.mp4: neither a duration nor a segment"):
        lengths_of([plain, Sample("c.mp4", "q")])


def test_the_small_model_reads_as_many_tokens_as_the_real_one(rehearsed):
    """A step of two frames has a token for every 28 by 28 pixels."""
    folder, _ = rehearsed
    video_model = VideoModel.load(folder / "model", device="cpu")
    processor, settings = video_model.processor, video_model.settings
    assert settings.video == PRESETS["qwen2.5-vl-7b"].settings.video
    clip = read_video(folder / "videos" / "one.mp4", **settings.video)
    frames, height, width = clip.frames.shape[:3]
    said = processor(
        text=["<|vision_start|><|video_pad|><|vision_end|>"],
        videos=[clip.frames],
        do_sample_frames=False,
        do_resize=False,
        return_tensors="pt",
    )
    tokens = int((said["input_ids"] == processor.video_token_id).sum())
    assert tokens == frames // 2 * (height // 28) * (width // 28)


def test_any_text_can_be_written_and_read():
    tokenizer = small_model(["the red ring grows"])[1].tokenizer
    for text in ("the red ring grows", "<answer>3.5 to 7</answer>", "Ünïcode 时间 \U0001f600", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_from_the_file_to_the_table(rehearsed, tmp_path):
    folder, file = rehearsed
    run_recipe(
        read_recipe(
            [
                *("--model_name_or_path", str(folder / "model"), "--train_data", str(file)),
                *("--videos", str(folder / "videos"), "--output_dir", str(tmp_path / "run"), "--max_steps", "1"),
                *("--num_generations", "2", "--per_device_train_batch_size", "2", "--max_completion_length", "8"),
                *("--report_to", "none", "--use_cpu", "true", "--bf16", "false", "--dtype", "float32"),
                *("--remove_unused_columns", "false"),
            ]
        )
    )
    with pytest.raises(SystemExit) as done:
        main(
            [
                *(
                    "evaluate",
                    "--model",
                    str(tmp_path / "run"),
                    "--data",
                    str(file),
                    "--videos",
                    str(folder / "videos"),
                ),
                *("--out", str(tmp_path / "table"), "--max-new-tokens", "8"),
            ]
        )
    assert done.value.code == 0
    report = json.loads((tmp_path / "table" / "report.json").read_text())
    assert report and (tmp_path / "table" / "report.md").exists()


def test_an_unknown_preset_is_named(rehearsed, capsys):
    folder, file = rehearsed
    with pytest.raises(SystemExit) as done:
        main(["rehearse", str(file), "--videos", str(folder / "videos"), "--preset", "gpt"])
    assert done.value.code == 1 and "choose one of" in capsys.readouterr().err
