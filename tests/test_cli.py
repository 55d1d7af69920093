import json
import subprocess
import sys

import pytest

from rarft.course import ROOT, sample_world


def rarft(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", "rarft", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("command", [[], ["world"], ["train"], ["infer"], ["evaluate"], ["course"], ["doctor"]])
def test_help(command):
    done = rarft(*command, "--help")
    assert done.returncode == 0 and "usage" in done.stdout


def test_infer_answers_about_a_file_from_any_folder(tmp_path):
    clip = sample_world()[0]
    done = rarft("infer", "--video", clip.path, "--query", clip.samples[0].query, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["think"] and found["relevant"] == bool(found["spans"])


def test_a_user_error_is_one_line(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    for video in ("missing.mp4", "bad.mp4"):
        done = rarft("infer", "--video", tmp_path / video, "--query", "a")
        assert done.returncode == 1 and video in done.stderr and "Traceback" not in done.stderr


def test_doctor_passes_here():
    done = rarft("doctor")
    assert done.returncode == 0, done.stdout
    assert "ready" in done.stdout
