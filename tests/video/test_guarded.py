import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tqdm import tqdm

from coursekit import ROOT
from rarft.video import GuardedReader, VideoError, guarded, read_video


@pytest.fixture(scope="module")
def reader():
    reader = GuardedReader(30)
    yield reader
    reader.close()


def test_it_reads_what_read_video_reads(reader, world):
    plain, guarded = read_video(world[0].path, start=1, end=5), reader(world[0].path, start=1, end=5)
    np.testing.assert_array_equal(plain.frames, guarded.frames)
    assert plain.seconds.tolist() == guarded.seconds.tolist() and plain.duration == guarded.duration


def test_bad_files_are_named_and_the_next_one_is_read(reader, world, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(world[0].path.read_bytes()[:500])
    with pytest.raises(VideoError, match="broken.mp4"):
        reader(broken)
    with pytest.raises(VideoError, match="no such file"):
        reader(tmp_path / "missing.mp4")
    assert len(reader(world[0].path).frames) > 0


def test_a_decoder_that_takes_too_long_is_ended(reader, world):
    reader(world[0].path)
    before, reader.seconds = reader.process.pid, 0.0
    with pytest.raises(VideoError, match="no frame for 0 s"):
        reader(world[0].path, fps=400.0)
    reader.seconds = 30
    assert len(reader(world[0].path).frames) > 0 and reader.process.pid != before


def test_the_limit_is_on_each_part_of_a_video_and_a_bar_shows_them(reader, world, monkeypatch):
    bars = []

    def recorded(**_):
        bars.append(tqdm(file=io.StringIO(), disable=False))
        bars[-1].update = lambda count, update=bars[-1].update: (steps.append(count), update(count))
        return bars[-1]

    steps: list[int] = []
    monkeypatch.setattr(guarded, "progress", recorded)
    count = len(reader(world[0].path, fps=8.0).frames)
    assert sum(steps) == count <= len(steps) and bars[0].n == bars[0].total == count


def test_a_decoder_that_crashes_takes_nothing_along(reader, world):
    reader(world[0].path)
    pid = reader.process.pid

    def crash():
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

    threading.Thread(target=crash).start()
    with pytest.raises(VideoError, match="crashed"):
        reader(world[0].path, fps=2000.0)
    assert len(reader(world[0].path).frames) > 0


def test_a_script_needs_no_main_guard(world, tmp_path):
    """The decoding process does not import the script that starts it, and so does not start another one."""
    script = tmp_path / "script.py"
    code = f"from rarft.video import GuardedReader\nprint(GuardedReader()({str(world[0].path)!r}).duration)\n"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert done.stdout == "14.0\n" and done.returncode == 0, done.stderr
