"""Recipes: they parse, leave broken videos out, survive kill -9, and run on two processes as on one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from coursekit import ROOT
from rarft.cli import main
from rarft.models import PRESETS, VideoModel
from rarft.schema import Group, Sample, Span
from rarft.system.files import BASE
from rarft.training import read_recipe, run_recipe
from rarft.training.checkpoints import last_whole_checkpoint
from rarft.training.recipe import everywhere_readable

TINY = ["--config", str(ROOT / "recipes" / "tiny.yaml"), "--use_cpu", "true"]
SMALL = ["--per_device_train_batch_size", "8", "--num_generations", "4", "--max_completion_length", "24"]
TWO_CPU = ROOT / "recipes" / "accelerate" / "two_cpu.yaml"


def run_python(*arguments, config: Path | None = None, **environment: str) -> None:
    """Run Python from the root with one thread a process; under `accelerate launch` on a free port where a config is
    given."""
    launch = []
    if config is not None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launch = ["-m", "accelerate.commands.launch", "--config_file", config, "--main_process_port", port]
    command = [sys.executable, *map(str, [*launch, *arguments])]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_parse(path):
    run, model, config = read_recipe(
        ["--config", str(path), "--use_cpu", "true", "--bf16", "false", "--report_to", "none"]
    )
    assert run.train_data and config.num_generations == 8 and config.temperature == 1.0
    assert model.model_name_or_path in PRESETS or (ROOT / model.model_name_or_path).exists()


def test_cluster_files_are_sound():
    """The shell of the Slurm script parses, and both name a launch line whose options exist."""
    folder = ROOT / "recipes" / "cluster"
    subprocess.run(["bash", "-n", folder / "slurm.sbatch"], check=True)
    run = yaml.safe_load((folder / "skypilot.yaml").read_text())["run"]
    for text in ((folder / "slurm.sbatch").read_text(), run):
        subprocess.run(["bash", "-n", "-c", text], check=True)
        for option in ("--num_machines", "--num_processes", "--machine_rank", "--main_process_ip", "--resume"):
            assert option in text
        for path in re.findall(r"recipes/\S+\.yaml", text):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda p: p.stem)
def test_launch_configurations_load(path):
    assert load_config_from_file(str(path)).num_processes >= 2


def test_unknown_fields_and_missing_folders_are_errors(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"train_data: x.json\nmodel_name_or_path: data/base\noutput_dir: {tmp_path}\nlearning_rte: 1\nuse_cpu: true\n"
    )
    with pytest.raises(ValueError, match="learning_rte"):
        read_recipe(["--config", str(recipe)])
    with pytest.raises(ValueError, match="videos: FOLDER"):
        run_recipe(
            read_recipe(
                [*TINY, "--train_data", str(ROOT / "data" / "samples" / "hi_vtg.json"), "--output_dir", str(tmp_path)]
            )
        )


def test_a_broken_video_is_left_out_or_stops_the_run(tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(ROOT / "data" / "samples", data)
    (data / "clips" / "00001.mp4").write_bytes(b"not a video")
    (data / "clips" / "00002.mp4").unlink()
    fields = [
        *TINY,
        *SMALL,
        "--train_data",
        str(data),
        "--limit",
        "5",
        "--max_steps",
        "1",
        "--save_strategy",
        "no",
        "--use_peft",
        "true",
        "--lora_r",
        "4",
        "--report_to",
        "tensorboard",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    trainer = run_recipe(read_recipe(fields))
    assert "00001.mp4" in caplog.text and "00002.mp4" in caplog.text and "2 of 5 groups were left out" in caplog.text
    assert len(trainer.train_dataset) % 6 == 0, "three videos, two relevances"
    assert list((tmp_path / "run").rglob("events.out.tfevents*")), "a logger by its name"
    model = VideoModel.load(tmp_path / "run", device="cpu").model
    assert type(model).__name__.startswith("Peft")
    with pytest.raises(ValueError, match="00001.mp4"):
        run_recipe(read_recipe([*fields, "--on_bad_video", "stop"]))


def test_processes_keep_the_parts_of_a_video_apart(monkeypatch):
    """The same query about two parts of a file, the second of which cannot be read: each process has seen one."""
    near, far = (Group(Sample("v.mp4", "q", [Span(0, 1)], start=at, end=at + 5.0)) for at in (0.0, 500.0))
    monkeypatch.setattr("rarft.training.recipe.readable_groups", lambda groups, *_, **__: [near])
    monkeypatch.setattr("rarft.training.recipe.gather_object", lambda mine: mine)
    state = SimpleNamespace(process_index=0, num_processes=2)
    assert everywhere_readable([near, far], None, "skip", state) == [near]


def rewards_of(folder: Path) -> list[tuple[float, float]]:
    rows = json.loads((folder / "log.json").read_text())
    return [(row["reward"], row["loss"]) for row in rows if "reward" in row]


def test_kill_and_resume_give_the_losses_of_an_unbroken_run(tmp_path):
    def fields(name: str, *more: str) -> list[str]:
        data = ["--train_data", str(ROOT / "data" / "samples"), "--features", str(tmp_path / "features")]
        steps = ["--max_steps", "5", "--save_steps", "1", "--save_total_limit", "9"]
        return ["train", "rarft", *TINY, *SMALL, *data, *steps, "--output_dir", str(tmp_path / name), *more]

    def run(*arguments: str) -> None:
        with pytest.raises(SystemExit) as end:
            main(fields(*arguments))
        assert end.value.code == 0

    run("whole")
    killed = [sys.executable, "-m", "rarft", *fields("killed")]
    with subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tmp_path / "killed" / "checkpoint-2" / "trainer_state.json").exists():
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / "log.json").exists()
    half = tmp_path / "killed" / "checkpoint-9"  # a checkpoint that a kill cut short is passed over
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_st')
    # The kill may have hit the writing of checkpoint-2 itself; a later one may have been begun.
    assert last_whole_checkpoint(tmp_path / "killed").name in {f"checkpoint-{step}" for step in (1, 2, 3, 4)}
    run("killed", "--resume")
    np.testing.assert_allclose(rewards_of(tmp_path / "killed"), rewards_of(tmp_path / "whole"), atol=1e-6)
    # killed between the last checkpoint and the end: no step is added
    trained = (tmp_path / "whole" / "model.safetensors").read_bytes()
    for name in ("log.json", "model.safetensors"):
        (tmp_path / "whole" / name).unlink()
    run("whole", "--resume")
    assert len(rewards_of(tmp_path / "whole")) == 5
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == trained


def test_two_processes_train_as_one(tmp_path):
    script = ROOT / "tests" / "training" / "scripted_run.py"
    run_python(script, tmp_path / "one", 16)
    run_python(script, tmp_path / "two", 8, config=TWO_CPU)
    one, two = (json.loads((tmp_path / name / "steps.json").read_text()) for name in ("one", "two"))
    np.testing.assert_allclose(one["steps"], two["steps"], rtol=1e-3, atol=1e-5)
    assert one["weights"] == pytest.approx(two["weights"], rel=1e-6)
    assert any(abs(step[0]) > 0 for step in one["steps"]) and all(step[1] > 0 for step in one["steps"])


def test_weights_shared_out_by_fsdp_answer_and_learn_as_whole_ones(tmp_path):
    script = ROOT / "tests" / "training" / "sharded_run.py"
    run_python(script, tmp_path / "one", 4)
    run_python(script, tmp_path / "two", 2, config=TWO_CPU)
    one, two = (json.loads((tmp_path / name / "step.json").read_text()) for name in ("one", "two"))
    assert one["completions"] == two["completions"] and len(set(one["completions"])) == 4
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-3, abs=1e-6) and max(one["norms"].values()) > 0.1


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_deepspeed_trains_as_one_process(tmp_path, stage):
    """The configurations for GPUs, on two CPU processes: the losses of one process, and a whole recipe with
    sampling."""
    settings = yaml.safe_load((ROOT / "recipes" / "accelerate" / f"{stage}.yaml").read_text())
    here = tmp_path / "launch.yaml"
    here.write_text(yaml.safe_dump({**settings, "use_cpu": True, "num_processes": 2, "mixed_precision": "no"}))
    script = ROOT / "tests" / "training" / "scripted_run.py"
    run_python(script, tmp_path / "one", 16)
    run_python(script, tmp_path / "two", 8, config=here, DS_ACCELERATOR="cpu")
    one, two = (json.loads((tmp_path / name / "steps.json").read_text()) for name in ("one", "two"))
    np.testing.assert_allclose(one["steps"], two["steps"], rtol=1e-3, atol=1e-5)
    fields = [*TINY, *SMALL, "--train_data", str(ROOT / "data" / "samples"), "--max_steps", "1", "--save_steps", "1"]
    run_python(
        "-m", "rarft", "train", "rarft", *fields, "--output_dir", tmp_path / "run", config=here, DS_ACCELERATOR="cpu"
    )
    trained, base = (VideoModel.load(name, device="cpu").model for name in (tmp_path / "run", BASE))
    assert sum(p.numel() for p in trained.parameters()) == sum(p.numel() for p in base.parameters())
