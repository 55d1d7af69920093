"""`rarft reproduce` on stand-ins: from the paper's files to its table; what is missing is named, kills are survived."""

import gc
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

from coursekit import ROOT, sample_world
from rarft.cli import main
from rarft.cli.reproduce import NAMES
from rarft.hivtg.official import group_samples, read_released, rows_of
from rarft.models import PRESETS
from rarft.paper import (
    BASES,
    FoundVideo,
    Plan,
    estimate,
    experiments,
    phases,
    prepare,
    run_phases,
    take_inventory,
    video_tokens,
    write_small_model,
    write_stand_ins,
)
from rarft.paper.run import how_it_differs, read_settings_of, result_table
from rarft.prompts import build_prompt
from rarft.schema import Group, Sample, Span
from rarft.system.errors import InputError, MissingFileError, VideoError
from rarft.system.files import RECIPES, read_json
from rarft.training import read_recipe

ROWS = 20  # of each file, a relevant and an irrelevant query in each
QUICK = "--max_steps 1 --max_completion_length 8 --num_generations 2 --per_device_train_batch_size 2 --report_to none"
QUICK += " --gradient_accumulation_steps 1 --gradient_checkpointing false --max-new-tokens 8"


TRAINED_AND_ASKED = (("training", "rarft_settings.json"), ("after", "asked.json"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty rows in two files under the released names, with stand-ins of 12 s for the three videos of each."""
    folder = tmp_path_factory.mktemp("paper")
    experiment = experiments()["hi-charades"]
    clips = sample_world()
    for part, first in ((experiment.test, 0), (experiment.training, 3)):
        groups = [
            Group.of(
                replace(s, video=f"/data/elsewhere/{part.file[:4]}{first + n % 3}.mp4", duration=12.0)
                for s in clips[(first + n) % len(clips)].group
            )
            for n in range(ROWS)
        ]
        (folder / part.file).write_text(json.dumps(rows_of(groups)))
        write_stand_ins([s for group in groups for s in group], folder / part.videos, processes=1)
    texts = [s.query for clip in sample_world() for s in clip.group]
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
    hard, simple = ("hi-activitynet", "hi-tvgbench", "hi-charades"), ("ss-activitynet", "ss-charades")
    assert {*hard, *simple, "ss-qvhighlights", "human"} == set(experiments())
    assert set(NAMES) == set(experiments()) and set(BASES) <= set(PRESETS)
    for experiment in experiments().values():
        assert experiment.test.get and experiment.training.get and set(experiment.published) <= set(BASES)
        assert "JINSUBY/RA-RFT" in experiment.training.get
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
    table = (out / "table.md").read_text()
    assert "a rehearsal" in table and "- rewards: official: format + refuse_iou + explain + correction" in table
    assert "max_new_tokens in evaluation 8 (release: 512)" in table and result["trained"][0] in table
    training, asked = (read_json(out / part / name) for part, name in TRAINED_AND_ASKED)
    assert (training["style"], training["max_new_tokens"]) == ("ra-rft", 8)
    assert (asked["style"], asked["max_new_tokens"]) == ("ra-rft-inference", 8)
    before = (out / "result.json").read_bytes()
    assert ended(command(data, out)) == 0
    assert capfd.readouterr().out.count(": done") == 3 and (out / "result.json").read_bytes() == before
    assert ended(command(data, out, "--variant", "paper")) == 1
    assert "holds a run with fields" in capfd.readouterr().err


def test_a_phase_that_fails_names_itself_and_how_to_go_on(data, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise VideoError("x.mp4: broken")

    monkeypatch.setattr("rarft.paper.run.evaluate_file", fails)
    monkeypatch.setattr("rarft.paper.run.load_asker", lambda *_, **__: None)
    monkeypatch.setattr("rarft.paper.run.open_dataset", lambda *_: None)
    with pytest.raises(InputError, match="'base' failed; the same command goes on there: x.mp4: broken"):
        run_phases(plan(data, tmp_path))
    phases(plan(data, tmp_path))[0].ends_with.parent.mkdir()
    phases(plan(data, tmp_path))[0].ends_with.write_text("{}")
    monkeypatch.setattr("rarft.paper.run.run_recipe", lambda *_, **__: {}["a bug"])
    with pytest.raises(KeyError):
        run_phases(plan(data, tmp_path))
    monkeypatch.setattr("rarft.paper.run.subprocess.run", lambda _: subprocess.CompletedProcess([], 3))
    (tmp_path / "experiment.json").unlink()
    with pytest.raises(InputError, match="'training' failed; .*: accelerate launch ended with status 3"):
        run_phases(plan(data, tmp_path, gpus=8))


def test_the_model_of_a_phase_is_released_before_the_next(data, tmp_path, monkeypatch):
    """The model that a phase asks is the only one there is."""
    alive = []

    def evaluate(*_, **__):
        gc.collect()
        alive.append(sum(type(o).__name__ == "Qwen2_5_VLForConditionalGeneration" for o in gc.get_objects()))

    monkeypatch.setattr("rarft.paper.run.evaluate_file", evaluate)
    asked = plan(data, tmp_path, fields=tuple(QUICK.split()[:-2]))
    gc.collect()
    prepare(asked)
    run_phases(asked)
    assert (tmp_path / "training" / "log.json").exists() and alive == [1, 1]


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
    checked = take_inventory(samples, videos)
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


def plan_of(asked):
    return "\n".join(how_it_differs(asked, read_settings_of(asked)))


def test_by_default_the_training_is_that_of_the_release(data, tmp_path):
    for gpus in (1, 8):
        said = plan_of(plan(data, tmp_path, gpus=gpus))
        assert "settings that differ from the release: none" in said and "rewards: official" in said
        assert "training: ra-rft, the release's structure in this library's words" in said and "merger" in said
    settings = read_settings_of(plan(data, tmp_path, gpus=8))
    official = {"max_completion_length": 200, "num_generations": 8, "temperature": 1.0, "num_train_epochs": 3}
    official |= {"data_seed": 42, "bf16": True, "gradient_checkpointing": True, "loss_type": "bnpo", "prompts": 8}
    official |= {"scale_rewards": "group", "learning_rate": 1e-6, "beta": 0.0, "warmup_steps": 0, "use_peft": False}
    assert {name: settings[name] for name in official} == official
    base, _, after = (phase.command for phase in phases(plan(data, tmp_path)))
    for command in (base, after):
        assert " --style ra-rft-inference --max-new-tokens 512 " in " ".join(command)


@pytest.mark.parametrize(
    "recipe, fields, differing",
    [
        ("", ("--variant", "robust"), "variant robust (release: official)"),
        ("variant: paper\n", (), "variant paper (release: official)"),
        ("variant: paper\n", ("--variant=official",), "none"),
        ("loss_type: dapo\n", (), "loss_type dapo (release: bnpo)"),
        ("loss_type: dapo\n", ("--loss_type", "grpo"), "loss_type grpo (release: bnpo)"),
        ("use_peft: true\nlearning_rate: 1.0e-5\n", (), "learning_rate 1e-05 (release: 1e-06); use_peft True"),
        (
            "",
            ("--rewards", "format", "refuse_iou"),
            "rewards ['format', 'refuse_iou'] (release: ['format', 'refuse_iou', ",
        ),
        ("", ("--per_device_train_batch_size", "16"), "per_device_train_batch_size 16 (release: 8); prompts 16"),
        ("", ("--data_seed", "7", "--top_k", "0"), "top_k 0 (release: 50); data_seed 7 (release: 42)"),
    ],
)
def test_a_recipe_and_its_fields_override_and_the_plan_says_so(recipe, fields, differing, data, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"report_to: none\n{recipe}")
    said = plan_of(plan(data, tmp_path, recipe=path, gpus=1, fields=fields))
    assert f"settings that differ from the release: {differing}" in said


def test_a_reward_that_is_none_ends_the_plan_and_not_the_training(data, tmp_path):
    for fields, message in ((("--variant", "x"), "variant 'x'"), (("--rewards", "x"), "unknown reward x")):
        with pytest.raises(InputError, match=message):
            prepare(plan(data, tmp_path, fields=fields))


INFERENCE = """SYSTEM_PROMPT = "You are an expert."
QUESTION_TEMPLATE = \"\"\"Is "[EVENT]" shown?
Say so, or [EVENT] is not.
\"\"\"
"""
TRAINER = "import nothing_that_exists\nQUESTION_TEMPLATE_RARFT: str = ('Given \"[EVENT]\", '\n 'decide.\\n')\n"


def clone(folder, inference=INFERENCE, trainer=TRAINER):
    for name, text in (("inference.py", inference), ("src/time_r1/rl/timer1_trainer_rarft.py", trainer)):
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def test_wordings_come_from_a_clone_without_running_it(data, tmp_path):
    asked = plan(data, tmp_path / "run", official_clone=clone(tmp_path / "clone"))
    said = prepare(asked)
    training, inference = (asked.styles()[name] for name in ("training", "inference"))
    assert f"wording of training: {training}, from {tmp_path / 'clone'}" in said and inference in said
    [user] = build_prompt("a {query} dog", training, video="v.mp4")
    assert [part.get("text", part["type"]) for part in user["content"]] == ['Given "a {query} dog", decide.\n', "video"]
    system, user = build_prompt("a dog", inference, video="v.mp4")
    assert system == {"role": "system", "content": "You are an expert."}
    texts = [part.get("text", part["type"]) for part in user["content"]]
    assert texts == ["video", 'Is "a dog" shown?\nSay so, or a dog is not.\n']
    assert training in asked.recipe_fields() and inference in phases(asked)[2].command
    mine = replace(asked, fields=("--prompt_style", "plain"))
    assert read_settings_of(mine)["prompt_style"] == "plain" and "plain, not the release's" in plan_of(mine)
    prepare(asked)
    clone(tmp_path / "clone", trainer=TRAINER.replace("decide", "say"))
    with pytest.raises(InputError, match="another wording"):
        prepare(asked)


@pytest.mark.parametrize(
    "inference, trainer, message",
    [
        (None, TRAINER, "inference.py: no such file"),
        (INFERENCE, None, "timer1_trainer_rarft.py: no such file"),
        ("", TRAINER, "inference.py: no constant QUESTION_TEMPLATE at the top level"),
        ("QUESTION_TEMPLATE = '[EVENT]'", TRAINER, "inference.py: no constant SYSTEM_PROMPT"),
        ("def f():\n    QUESTION_TEMPLATE = '[EVENT]'", TRAINER, "no constant QUESTION_TEMPLATE"),
        ("QUESTION_TEMPLATE: str", TRAINER, "line 1: the constant QUESTION_TEMPLATE is not a literal text"),
        (
            INFERENCE,
            "QUESTION_TEMPLATE_RARFT = f'{1 + 1} [EVENT]'",
            "line 1: the constant QUESTION_TEMPLATE_RARFT is no",
        ),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = '[EVENT]'.strip()", "QUESTION_TEMPLATE_RARFT is not a literal text"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = 5", "QUESTION_TEMPLATE_RARFT is not a literal text"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = b'[EVENT]'", "QUESTION_TEMPLATE_RARFT is not a literal text"),
        (INFERENCE, f"{TRAINER}QUESTION_TEMPLATE_RARFT += 'x'", "line 4: the constant QUESTION_TEMPLATE_RARFT is no"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = ' '", "QUESTION_TEMPLATE_RARFT is not a literal text"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = '{}'", r"QUESTION_TEMPLATE_RARFT should have \[EVENT\]"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = '[EVENT] {query}'", "and no {query}"),
        (INFERENCE, "QUESTION_TEMPLATE_RARFT = (", "rarft.py: not Python that can be parsed"),
        (INFERENCE, "x = \0", "rarft.py: not Python that can be parsed"),
        (INFERENCE, "x = " + "(" * 5000 + ")" * 5000, "rarft.py: not Python that can be parsed"),
        (INFERENCE, f"{TRAINER}#{'x' * 1_000_000}", "rarft.py: more than 1,000,000 bytes"),
    ],
)
def test_a_clone_without_its_wordings_is_named(inference, trainer, message, data, tmp_path):
    folder = clone(tmp_path / "clone", inference, trainer)
    folder.mkdir(exist_ok=True)
    with pytest.raises((InputError, MissingFileError), match=message):
        prepare(plan(data, tmp_path / "run", official_clone=folder))


def test_only_the_official_merge_stands_beside_a_published_figure():
    row = {"f1": 0.5, "rt_iou_classifier": 0.568, "official_rt_iou_classifier": 0.284, "official_rt_iou_llm": 0.2}
    head, _, line, _ = result_table({"base": row, "after": {}}, {"f1": (62.3, 73.3), "rt_iou": (30.4, 37.1)}).split(
        "\n"
    )
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["RT-IoU, 27 splits, judge: classifier"] == "28.4" and cells["RT-IoU, 27 splits, judge: llm"] == "20.0"
    assert cells["RT-IoU, published, judge: a language model"] == "30.4" and cells["F1, published"] == "62.3"
    assert cells["RT-IoU, mean of irrelevant queries, judge: classifier"] == "56.8"
    names = [name.split(",")[0] for name in head.split(" | ")]
    assert names[3:6] == ["RT-IoU"] * 3, "the plain mean comes after the published figure"


def test_the_training_file_is_read_and_planned_at_its_full_size(data, tmp_path):
    """2,500 rows of a relevant and three irrelevant queries, as long as the released ones, over three stand-ins."""
    folder, experiment = tmp_path / "data", experiments()["hi-charades"]
    shutil.copytree(data, folder)
    rows = read_json(folder / experiment.training.file)[:3]
    wrong = [{**rows[0]["GRPO"][1], "q": f"{n} cats run", "difficulty": level, "a": "no " * 100}
             for n, level in enumerate(("hard", "medium", "easy"))]  # fmt: skip
    many = [{**rows[n % 3], "GRPO": [{**rows[0]["GRPO"][0], "q": f"a dog {n}"}, *wrong]} for n in range(2500)]
    (folder / experiment.training.file).write_text(json.dumps(many))
    asked = plan(folder, tmp_path / "run", gpus=8)
    begun = time.perf_counter()
    said = prepare(asked)
    took = time.perf_counter() - begun
    assert "training: 3 videos" in said and f"training: {2500 * 2 * 3 // 8:,} steps" in said
    groups = group_samples(read_released(asked.rows("training")).samples)
    assert len(groups) == 2500 and {len(group.irrelevant) for group in groups} == {3}
    assert took < 60, f"{took:.0f} s"


@pytest.mark.parametrize("gpus", (0, 1, 4, 8))
def test_a_step_has_eight_prompts_on_any_number_of_gpus(data, tmp_path, gpus):
    fields = plan(data, tmp_path, gpus=gpus).recipe_fields()
    _, _, config = read_recipe([*fields, "--bf16", "false", "--report_to", "none", "--use_cpu", "true"])
    assert config.generation_batch_size // config.num_generations * max(1, gpus) == 8
    assert f"training: {-(-2 * ROWS * 3 // 8)} steps" in prepare(plan(data, tmp_path, gpus=gpus))
    training = phases(plan(data, tmp_path, gpus=gpus))[1].command
    assert ("accelerate.commands.launch" in training) == (gpus > 1)
    assert yaml.safe_load((RECIPES / "qwen2_5_vl_7b.yaml").read_text())["num_generations"] == config.num_generations
