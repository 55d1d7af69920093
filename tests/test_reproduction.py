"""`rarft reproduce` on stand-ins: from the paper's files to its table; what is missing is named, kills are survived."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import yaml

from rarft.cli import main
from rarft.cli.reproduce import NAMES
from rarft.course import ROOT, sample_world
from rarft.errors import InputError
from rarft.files import RECIPES, read_json
from rarft.hivtg.official import rows_of
from rarft.models import PRESETS
from rarft.rehearsal import write_small_model, write_stand_ins
from rarft.reproduction import (
    BASES,
    FoundVideo,
    Plan,
    check_videos,
    estimate,
    experiments,
    prepare,
    stages,
    video_tokens,
)
from rarft.schema import Sample, Span
from rarft.training import read_recipe

ROWS = 20  # of each file, a relevant and an irrelevant query in each
QUICK = "--max_steps 1 --max_completion_length 8 --num_generations 2 --per_device_train_batch_size 2 --report_to none"
QUICK += " --gradient_accumulation_steps 1 --gradient_checkpointing false"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty rows in two files under the released names, with stand-ins of 12 s for the three videos of each."""
    folder = tmp_path_factory.mktemp("paper")
    experiment = experiments()["hi-charades"]
    clips = sample_world()
    for part, first in ((experiment.test, 0), (experiment.training, 3)):
        groups = [
            [
                replace(s, video=f"/data/elsewhere/{part.file[:4]}{first + n % 3}.mp4", duration=12.0)
                for s in clips[(first + n) % len(clips)].samples
            ]
            for n in range(ROWS)
        ]
        (folder / part.file).write_text(json.dumps(rows_of(groups)))
        write_stand_ins([s for group in groups for s in group], folder / part.videos, processes=1)
    texts = [s.query for clip in sample_world() for s in clip.samples]
    write_small_model(folder / "model", texts, preset="time-r1-7b", max_new_tokens=8)
    return folder


def command(data, out, *more):
    asked = ["reproduce", "hi-charades", "--data", data, "--out", out, "--model", data / "model", "--gpus", "0"]
    return [*map(str, asked), *QUICK.split(), *more]


def plan(data, out, **changes):
    made = Plan(
        experiments()["hi-charades"], "time-r1-7b", str(data / "model"), data, out, RECIPES / "qwen2_5_vl_7b.yaml", 0,
        RECIPES / "accelerate" / "zero3.yaml",
    )  # fmt: skip
    return replace(made, **changes)


def ended(arguments):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    return done.value.code


def test_the_table_of_experiments_is_whole():
    assert {"hi-activitynet", "hi-tvgbench", "hi-charades", "ss-charades", "ss-qvhighlights", "human"} == set(
        experiments()
    )
    assert set(NAMES) == set(experiments()) and set(BASES) <= set(PRESETS)
    for experiment in experiments().values():
        assert experiment.test.get and experiment.training.get and set(experiment.published) <= set(BASES)
    ablation = read_json(ROOT / "data" / "results" / "paper.json")["ablation"]
    ours = experiments()["hi-activitynet"].published["time-r1-7b"]
    for figure in ("f1", "rt_iou"):
        column = ablation["columns"].index(figure)
        assert ours[figure] == tuple(ablation["rows"][row][column] for row in ("base", "+ correction"))


def test_without_data_it_says_what_is_needed(capsys):
    assert ended(["reproduce", "human"]) == 0
    said = capsys.readouterr().out
    assert "DATA/human_anno.json" in said and "DATA/videos/charades" in said and "hi_vtg_train.json" in said


def test_from_the_files_to_the_table_with_a_kill_on_the_way(data, tmp_path, capfd):
    out = tmp_path / "run"
    ours = [sys.executable, "-m", "rarft", *command(data, out)]
    process = subprocess.Popen(ours, cwd=ROOT, start_new_session=True)
    while not (out / "base" / "report.json").exists():
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    answered = (out / "base" / "predictions.jsonl").stat()
    capfd.readouterr()
    assert ended(command(data, out)) == 0
    said = capfd.readouterr().out
    assert "base: done" in said and "| after RA-RFT |" in said
    assert (out / "base" / "predictions.jsonl").stat().st_mtime_ns == answered.st_mtime_ns
    result = read_json(out / "result.json")
    assert result["rows"]["base"]["n"] == result["rows"]["after RA-RFT"]["n"] == 2 * ROWS
    assert result["steps"] == 1 and set(result["after_against_base"]) == {"accuracy", "ra_iou"}
    assert "a rehearsal" in (out / "table.md").read_text()
    before = (out / "result.json").read_bytes()
    assert ended(command(data, out)) == 0
    assert capfd.readouterr().out.count(": done") == 3 and (out / "result.json").read_bytes() == before
    assert ended(command(data, out, "--variant", "paper")) == 1
    assert "holds a run with fields" in capfd.readouterr().err


def test_missing_and_broken_videos_are_named_or_left_out(data, tmp_path):
    elsewhere = tmp_path / "data"
    shutil.copytree(data, elsewhere)
    test, train = (
        elsewhere / part.videos for part in (experiments()["hi-charades"].test, experiments()["hi-charades"].training)
    )
    sorted(test.iterdir())[0].unlink()
    broken = sorted(train.iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:100])
    asked = plan(elsewhere, tmp_path / "run")
    with pytest.raises(
        InputError, match=r"1 of 3 videos are not there: hi_v0.mp4\n.*cannot be read: .*hi_v3.mp4"
    ) as error:
        prepare(asked)
    assert "--skip-missing" in str(error.value)
    said = prepare(replace(asked, skip_missing=True))
    assert "test: 2 videos, 1 missing" in said and "training: 2 videos, 1 missing" in said
    assert [len(read_json(asked.rows(part))) for part in ("test", "training")] == [ROWS - len(range(0, ROWS, 3))] * 2
    for path in test.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of the videos"):
        prepare(replace(asked, skip_missing=True))


def test_durations_and_crops_that_do_not_fit_are_said(data):
    videos = data / experiments()["hi-charades"].test.videos
    samples = [
        Sample("hi_v0.mp4", "q", [Span(1, 2)], duration=14.0),
        Sample("hi_v1.mp4", "q", [Span(1, 2)], duration=30.0),
        Sample("hi_v2.mp4", "q", [Span(1, 2)], duration=10.0, start=10.0, end=20.0),
    ]
    checked = check_videos(samples, videos)
    assert not checked.bad() and [doubt.split(":")[0] for doubt in checked.doubts] == ["hi_v1.mp4", "hi_v2.mp4"]
    assert "its rows say 30.0 s" in checked.doubts[0] and "ends at 20.0 s" in checked.doubts[1]


def test_tokens_are_those_of_chapter_12():
    settings = PRESETS["qwen2.5-vl-7b"].settings
    assert [video_tokens(FoundVideo(s, 360, 640), settings) for s in (30, 60, 120, 240)] == [3360, 3000, 3360, 3600]


def test_an_estimate_grows_with_what_it_counts():
    settings, videos = PRESETS["qwen2.5-vl-7b"].settings, [FoundVideo(30, 360, 640)] * 10
    measured = read_json(ROOT / "data" / "results" / "step_at_size.json")
    full = estimate("time-r1-7b", settings, videos, steps=100, measured=measured)
    lora = estimate("time-r1-7b", settings, videos, steps=100, lora_rank=64, measured=measured)
    eight = estimate("time-r1-7b", settings, videos * 2, steps=200, gpus=8, measured=measured)
    assert full["features_gb"] == pytest.approx(10 * 3360 * 3584 * 2 / 1e9)
    assert 90 < full["state_gb_a_gpu"] < 100 and lora["state_gb_a_gpu"] < full["state_gb_a_gpu"] / 4
    assert eight["features_gb"] == 2 * full["features_gb"]
    assert eight["training_hours"] == pytest.approx(full["training_hours"] / 4)
    assert "training_hours" not in estimate("qwen2.5-vl-3b", settings, videos, steps=1)


def test_gpus_that_cannot_share_out_a_step_are_refused(data, tmp_path):
    for gpus in (3, 6, 16):
        with pytest.raises(InputError, match=f"--gpus {gpus}: a step has 8 prompts.*use 1, 2, 4, 8"):
            plan(data, tmp_path, gpus=gpus)
    assert plan(data, tmp_path, gpus=3, fields=("--gradient_accumulation_steps", "2")).recipe_fields()[-1] == "2"


@pytest.mark.parametrize("gpus", (0, 1, 4, 8))
def test_a_step_has_eight_prompts_on_any_number_of_gpus(data, tmp_path, gpus):
    fields = plan(data, tmp_path, gpus=gpus).recipe_fields()
    _, _, config = read_recipe([*fields, "--bf16", "false", "--report_to", "none", "--use_cpu", "true"])
    assert config.generation_batch_size // config.num_generations * max(1, gpus) == 8
    assert f"training: {-(-2 * ROWS * 3 // 8)} steps" in prepare(plan(data, tmp_path, gpus=gpus))
    training = stages(plan(data, tmp_path, gpus=gpus))[1].command
    assert ("accelerate.commands.launch" in training) == (gpus > 1)
    assert yaml.safe_load((RECIPES / "qwen2_5_vl_7b.yaml").read_text())["num_generations"] == config.num_generations
