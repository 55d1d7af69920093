import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors import SafetensorError

from coursekit import ROOT, sample_world
from coursekit.cli import doctor
from rarft import cli
from rarft.system.errors import InputError
from rarft.system.files import only_writer
from rarft.training import recipe
from rarft.world.render import render, write_video
from rarft.world.weather import CALM


def rarft(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "rarft", *map(str, arguments)], capture_output=True, text=True, cwd=cwd
    )


def run_here(capsys, *arguments):
    """The same in this process, which has imported everything: exit status, what was printed, and what was said."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize("command", [[], ["world"], ["train"], ["infer"], ["evaluate"], ["course"], ["doctor"]])
def test_help(command, capsys):
    status, printed, _ = run_here(capsys, *command, "--help")
    assert status == 0 and "usage" in printed


def test_infer_answers_about_a_file_from_any_folder(tmp_path):
    clip = sample_world()[0]
    done = rarft("infer", "--video", clip.path, "--query", clip.group.relevant.query, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["think"] and (found["verdict"] == "grounds") == bool(found["spans"])


def test_a_user_error_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("no video")
    for video in ("missing.mp4", "bad.mp4"):
        status, _, said = run_here(capsys, "infer", "--video", tmp_path / video, "--query", "a")
        assert status == 1 and video in said and "Traceback" not in said


def test_a_video_that_is_too_long_is_said_to_be_and_a_part_of_it_is_answered(tmp_path, capsys):
    story = sample_world()[0].story
    path = write_video(np.concatenate([render(story)] * 3), tmp_path / "long.mp4", CALM.fps)
    asked = ("infer", "--video", path, "--query", "the red ring grows", "--json")
    status, _, said = run_here(capsys, *asked)
    assert status == 1 and "this model can name seconds up to 24" in said
    status, printed, _ = run_here(capsys, *asked, "--start", 1, "--end", 1 + story.duration)
    assert status == 0 and json.loads(printed)["start"] == 1


def test_doctor_passes_here():
    done = rarft("doctor")
    assert done.returncode == 0, done.stdout
    assert "ready" in done.stdout


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["base", "--steps", "5", "--resume", "--out", "x"], "--steps, --resume"),
        (["base", "--config", "r.yaml", "--out", "x"], "--config"),
        (["cold-start", "--variant", "official", "--resume", "--out", "x"], "--variant, --resume"),
        (["rarft", "--config", "r.yaml", "--data", "x"], "--train_data"),
        (["rarft"], "--out"),
    ],
)
def test_an_option_that_would_be_dropped_is_refused(arguments, named, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", *arguments])
    assert end.value.code == 1 and named in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["build", "--seconds", "5"], "--seconds: for `course grade`"),
        (["build", "--out", "x"], "--out"),
        (["instructor", "--scale", "smoke", "--fresh", "--jobs", "2", "--gigabytes", "3"], "--jobs, --gigabytes: not"),
        (["grade", "x", "--scale", "smoke", "--fresh", "--jobs", "2"], "--scale, --fresh, --jobs: not"),
        (["grade", "x", "--only", "04"], "--only: not"),
    ],
)
def test_an_option_of_another_action_of_the_course_is_refused(arguments, named, capsys):
    status, _, said = run_here(capsys, "course", *arguments)
    assert status == 1 and named in said


def test_options_beside_a_recipe_replace_its_fields(monkeypatch):
    asked = []
    monkeypatch.setattr(recipe, "read_recipe", lambda fields: fields)
    monkeypatch.setattr(recipe, "run_recipe", lambda fields, resume: asked.append((fields, resume)))
    with pytest.raises(SystemExit):
        cli.main(
            [
                "train",
                "rarft",
                "--config",
                "r.yaml",
                "--seed",
                "0",
                "--variant",
                "paper",
                "--steps",
                "7",
                "--resume",
                "--beta",
                "0.1",
            ]
        )
    fields = ["--config", "r.yaml", "--variant", "paper", "--max_steps", "7", "--seed", "0", "--beta", "0.1"]
    assert asked == [(fields, True)]


def test_words_that_the_model_cannot_read_are_named():
    clip = sample_world()[0]
    done = rarft("infer", "--video", clip.path, "--query", "a person opens a door", "--json")
    assert done.returncode == 0, done.stderr
    note = json.loads(done.stdout)["note"]
    assert "no tokens for: a, person, opens, door." in note and note in done.stderr
    known = rarft("infer", "--video", clip.path, "--query", clip.group.relevant.query, "--json")
    assert "note" not in json.loads(known.stdout) and "it/s" not in known.stderr, "neither notes nor broken bars"


def test_an_error_of_the_library_keeps_its_traceback(monkeypatch):
    """Only what a user can fix is one line: a ValueError of somebody's code is a bug to be seen."""

    def broken(_):
        raise ValueError("a bug")

    monkeypatch.setattr(doctor, "run", broken)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["lint", "missing.json"], "missing.json: no such file"),
        (["statistics", "missing.json"], "missing.json: no such file"),
        (["build-ss", "missing.txt", "--out", "x"], "missing.txt: no such file"),
        (["evaluate", "--data", "missing.json", "--videos", ".", "--out", "x"], "missing.json: no such file"),
        (["evaluate", "--predictions", "missing.json", "--out", "x"], "missing.json: no such file"),
        (
            ["evaluate", "--predictions", "p.json", "--out", "x", "--limit", "3", "--probes"],
            "--limit, --probes: not with",
        ),
        (["infer", "--questions", "missing.jsonl", "--out", "x"], "missing.jsonl: no such file"),
        (["infer", "--questions", "q.jsonl", "--out", "x", "--start", "0"], "--start: only with --video"),
        (["infer", "--model", "./nowhere", "--video", "v.mp4", "--query", "a"], "nowhere: no such model folder"),
        (["infer", "--model", "no/model", "--video", "v.mp4", "--query", "a"], "no/model: no model that can be loaded"),
        (["train", "rarft", "--config", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_what_is_not_there_is_one_line(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 1 and named in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing half-made is left"


def test_a_second_process_on_one_output_is_told(tmp_path):
    out = tmp_path / "world"
    with only_writer(out):
        done = rarft("world", "--out", out, "--clips", 1)
    assert done.returncode == 1 and "another process is writing there" in done.stderr and not out.exists()
    with pytest.raises(InputError, match="another process"), only_writer(out), only_writer(out):
        pass
    with only_writer(out):  # given back
        pass


def test_a_writer_that_was_killed_leaves_no_lock(tmp_path):
    code = "import os, sys; from rarft.system.files import only_writer\n"
    code += "with only_writer(sys.argv[1]): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], cwd=ROOT).returncode == -9
    with only_writer(tmp_path / "x"):
        pass


def test_what_a_killed_writer_left_half_written_is_removed(tmp_path):
    code = "import os, sys; from rarft.system.files import replacing\nfor name in sys.argv[1:]:\n"
    code += "    half = replacing(name).__enter__(); half.write_text('ha')\nos.kill(os.getpid(), 9)"
    names = [str(tmp_path / name) for name in ("x/deep/one.json", "y.json", "z.json")]
    assert subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT).returncode == -9
    other = tmp_path / "x" / ".one.json.another-machine.7.part"
    other.write_text("ha")
    assert len(list(tmp_path.rglob(".*.part"))) == 4
    with only_writer(tmp_path / "x"), only_writer(tmp_path / "y.json"):
        left = sorted(path.name for path in tmp_path.rglob(".*.part"))
    assert left[0].startswith(".one.json.another") and left[1].startswith(".z.json") and len(left) == 2


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(tmp_path, capsys):
    resource = pytest.importorskip("resource")  # a limit on the size of files stands in for the end of the disk
    rows = [{"video": str(clip.path), "query": clip.group.relevant.query} for clip in sample_world()[:2]]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "answers.jsonl"
    asked = ["infer", "--questions", tmp_path / "q.jsonl", "--out", out, "--batch", "1"]
    assert run_here(capsys, *asked)[0] == 0
    whole = out.read_text()
    first = len(whole.splitlines(keepends=True)[0])
    out.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "rarft", *map(str, asked)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (first + 9, first + 9)),
    )
    assert done.returncode == 1 and "too large" in done.stderr and "Traceback" not in done.stderr
    assert run_here(capsys, *asked)[0] == 0 and out.read_text() == whole


def test_an_output_that_is_no_file_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    status, _, said = run_here(capsys, "world", "--out", tmp_path / "pipe", "--clips", 1)
    assert status == 2 and "--out: a folder was expected" in said and "pipe is not a folder" in said
    with pytest.raises(InputError, match="a pipe or a device"), only_writer(tmp_path / "pipe"):
        pass


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out of memory ([enforce",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "the disk is full",
        ),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 33 vs 32"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only"),
    ],
)
def test_a_machine_without_memory_or_disk_is_one_line(error, said, monkeypatch, capsys):
    def fails(_):
        raise error

    monkeypatch.setattr(doctor, "run", fails)
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor"])
    printed = capsys.readouterr().err
    assert end.value.code == 1 and said in printed and "kept" in printed and "Traceback" not in printed


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(doctor, "run", lambda _: {}["memory"])
    with pytest.raises(KeyError):
        cli.main(["doctor"])


@pytest.mark.parametrize(
    "given, named",
    [
        ("--video v.mp4 --query q --out a.jsonl", "--out"),
        ("--video v.mp4 --query q --retry --batch 3", "--retry, --batch"),
        ("--questions q.jsonl --out a.jsonl --query q --json", "--query, --json"),
        ("--questions q.jsonl --out a.jsonl --start 3", "--start"),
        ("--video {clip} --query q --settings data/base", "--settings"),
        ("--video {clip} --query q --server http://localhost:1/v1 --device cpu --dtype float32", "--device, --dtype"),
    ],
)
def test_options_of_infer_that_would_not_be_used_are_refused(given, named, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["infer", *given.format(clip=ROOT / "data" / "samples" / "clips" / "00000.mp4").split()])
    assert ended.value.code == 1 and f"{named}: " in capsys.readouterr().err


def test_the_server_of_a_judge_needs_its_name(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--data", "data/samples", "--judge-url", "http://localhost:1/v1", "--out", "x"])
    assert "--judge-url: name the model" in capsys.readouterr().err
