"""Frames and times are those of decord, with which the released code reads videos: generated files, frames of each in
random order of distance, so that some are decoded one after the other and others are sought.

Left out is what decord gets wrong: MPEG transport streams, whose first frames it mixes up."""

import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import pytest

from rarft.video import frames
from rarft.video.frames import VideoFile

if sys.platform == "win32" or find_spec("decord") is None:
    pytest.skip("decord, or fork, is not there", allow_module_level=True)
SEEDS = 24
TURNED = ((0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))
# A process for each file: on some, decord aborts.
DECORD = """
import os, sys
import decord, numpy as np
for path in sys.argv[1:]:
    if os.fork() == 0:
        reader = decord.VideoReader(path, num_threads=1)
        every = np.arange(len(reader))
        np.savez(path, pictures=reader.get_batch(every).asnumpy(), times=reader.get_frame_timestamp(every))
        os._exit(0)
    os.wait()
"""
CONTAINERS = (("mp4", "libx264"), ("mov", "libx264"), ("matroska", "libx264"), ("flv", "libx264"), ("avi", "mpeg4"))
MORE = (("mp4", "libx265"), ("matroska", "ffv1"), ("mov", "mjpeg"), ("matroska", "libvpx"))


def write(path, rng):
    """A file of random length, shape, container, codec, distance of keyframes and timestamps."""
    container, codec = [*CONTAINERS * 2, *MORE][rng.integers(14)]
    # at widths that are no multiple of 32, decord fails now and then
    count, width, height = int(rng.integers(4, 150)), 32 * int(rng.integers(1, 4)), 2 * int(rng.integers(16, 40))
    options = {}
    if codec == "libx264":
        options = {
            "bf": str(rng.integers(0, 4)),
            "g": str(rng.choice([1, 7, 30, 250])),
            "preset": "ultrafast",
            "x264-params": f"open-gop={rng.integers(2)}:log-level=none",
        }
    rate = int(rng.choice([4, 10, 24, 25, 30]))
    even = codec != "libx264" or container == "flv" or rng.random() < 0.5
    lengths = np.ones(count, int) if even else rng.integers(1, 4, count)
    pictures = rng.integers(0, 256, (4, height, width, 3)).astype(np.uint8)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        if codec == "libx265":
            stream.codec_context.options = {"x265-params": "log-level=none"}
        for number, begin in enumerate(np.cumsum(lengths) - lengths[0]):
            picture = np.roll(pictures[number % 4] // 8 + 200 * (number % 30) // 30, number, axis=1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(begin), Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return f"{container}, {codec}, {count} frames, {options}", even


def write_turned(path, matrix):
    """A film with a white corner whose header says how to turn it, as phones write them."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for level in range(5):
            picture = np.full((96, 64, 3), 40 * level, np.uint8)
            picture[:10, :20] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of the matrix in the track's header: a b u, c d v, x y w
    a, b, c, d = (65536 * value for value in matrix)
    data[at : at + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Paths, what they are, whether their frames are shown equally long; and next to each what decord reads."""
    folder = tmp_path_factory.mktemp("videos")
    files = {}
    for seed in range(SEEDS):
        files[folder / str(seed)] = write(folder / str(seed), np.random.default_rng(seed))
    for matrix in TURNED:
        files[folder / str(matrix)] = (f"turned by {matrix}", True)
        write_turned(folder / str(matrix), matrix)
    subprocess.run([sys.executable, "-c", DECORD, *map(str, files)], check=True, capture_output=True)
    return files


def compare(path, even, rng, subsets=6):
    with np.load(f"{path}.npz") as read:
        pictures, times = read["pictures"], read["times"].astype(np.float64) - read["times"][0, 0]
    file = VideoFile(path)
    np.testing.assert_allclose(file.times[:, 0], times[:, 0], atol=1e-5)
    if even:  # else FFmpeg 8 reads the length of the last frame differently from FFmpeg 4
        assert file.times[-1, 1] == pytest.approx(times[-1, 1], abs=1e-5)
    for _ in range(subsets):
        chosen = np.sort(rng.choice(len(times), int(rng.integers(1, min(12, len(times)) + 1))))
        for number, picture in zip(chosen, file.pictures(chosen), strict=True):
            np.testing.assert_array_equal(picture, pictures[number], err_msg=f"{number} of {chosen}")


@pytest.mark.parametrize("name", [*map(str, range(SEEDS)), *map(str, TURNED)])
def test_pictures_and_times(made, name, monkeypatch):
    monkeypatch.setattr(frames, "SEEK_FROM", 3)
    path, (what, even) = next((path, about) for path, about in made.items() if path.name == name)
    if not path.with_name(f"{name}.npz").exists():
        pytest.skip(f"decord does not read it: {what}")
    try:
        compare(path, even, np.random.default_rng(len(name)))
    except AssertionError as error:
        raise AssertionError(what) from error


def test_decord_reads_most_of_them(made):
    assert sum(path.with_name(f"{path.name}.npz").exists() for path in made) >= SEEDS
