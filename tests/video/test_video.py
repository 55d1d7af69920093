import subprocess
import sys

import av
import numpy as np
import pytest

from rarft.video import VideoError, read_video, reader
from rarft.world.render import write_video


@pytest.fixture
def video(tmp_path):
    """Eight seconds at 10 fps; the grey level of a frame is its number."""
    frames = np.repeat(np.arange(80, dtype=np.uint8)[:, None, None, None], 64, 1).repeat(64, 2).repeat(3, 3) * 3
    return write_video(frames, tmp_path / "video.mp4", fps=10, crf=1)


def test_frames_and_their_seconds(video):
    clip = read_video(video, fps=2)
    assert clip.frames.shape == (16, 64, 64, 3) and clip.frames.dtype == np.uint8
    assert clip.duration == pytest.approx(8.0)
    np.testing.assert_allclose(clip.seconds, np.arange(16) / 2, atol=1e-6)
    levels = clip.frames.mean((1, 2, 3)) / 3
    np.testing.assert_allclose(levels, np.arange(16) * 5, atol=1.5)


def test_a_crop_starts_at_its_own_zero(video):
    clip = read_video(video, fps=2, start=3.0, end=6.0)
    assert clip.duration == pytest.approx(3.0)
    np.testing.assert_allclose(clip.seconds, np.arange(6) / 2, atol=1e-6)
    assert clip.frames[0].mean() / 3 == pytest.approx(30, abs=1.5)
    for start, end, named in (
        (9.0, 10.0, "from 9 s to 10 s"),
        (5.0, 5.0, "from 5 s to 5 s"),
        (-1.0, 3.0, "from -1 s to 3 s"),
        (8.0, None, "from 8 s to the end"),
        (None, 0.0, "from 0 s to 0 s"),
    ):
        with pytest.raises(VideoError, match=f"crop {named} is not inside the video, which lasts 8.00 s"):
            read_video(video, start=start, end=end)


@pytest.mark.parametrize(
    "container, codec",
    [
        ("flv", "flv"),
        ("flv", "libx264"),
        ("mp4", "libx264"),
        ("mov", "mjpeg"),
        ("matroska", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("avi", "libx264"),
        ("asf", "wmv2"),
        ("mpegts", "libx264"),
    ],
)
def test_a_single_frame_lasts_as_long_as_its_rate_says(container, codec, written):
    clip = read_video(written("video", container, codec, frames=1))
    assert len(clip.frames) == 1 and clip.duration == pytest.approx(0.1)


def test_a_last_frame_without_a_length_lasts_as_long_as_the_one_before(written):
    assert read_video(written("video", "flv", "flv", frames=7)).duration == pytest.approx(0.7)
    assert read_video(written("video", "asf", "wmv2", frames=7)).duration == pytest.approx(0.7)
    alone = written("video", "flv", "flv", frames=1, flvflags="no_duration_filesize")
    assert read_video(alone).duration == pytest.approx(0.04)


def test_variable_frame_rates(tmp_path):
    import av

    path = tmp_path / "variable.mp4"
    times = [0, 100, 200, 300, 2000, 2100, 4000]  # milliseconds: long holds between bursts
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = (
            av.codec.context.Fraction(1, 1000)
            if hasattr(av.codec.context, "Fraction")
            else __import__("fractions").Fraction(1, 1000)
        )
        for number, milliseconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * number, np.uint8), format="rgb24")
            frame.pts = milliseconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = read_video(path, fps=2)
    levels = np.rint(clip.frames.mean((1, 2, 3)) / 30).astype(int).tolist()
    assert levels[:8] == [0, 3, 3, 3, 4, 5, 5, 5]  # what is on the screen at 0, 0.5, 1, … s


def test_budgets(video):
    assert read_video(video, fps=10, max_frames=5).frames.shape[0] == 5
    small = read_video(video, fps=2, max_pixels=16 * 32 * 32).frames
    assert small.shape[0] == 16 and small[0, ..., 0].size <= 32 * 32
    kept = read_video(video, fps=2, max_pixels=16 * 32 * 32, min_frame_pixels=48 * 48).frames
    assert kept.shape[1:] == (48, 48, 3), "no frame below the minimum"
    full = read_video(video, fps=2).frames
    np.testing.assert_allclose(kept.mean((1, 2)), full.mean((1, 2)), atol=6)


def test_bad_files_are_named_with_their_cause(tmp_path, video):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    for name, cause in (
        ("missing.mp4", "no such file"),
        ("empty.mp4", "empty"),
        ("text.mp4", "not a video"),
        ("cut.mp4", "is cut"),
    ):
        with pytest.raises(VideoError, match=cause) as error:
            read_video(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(VideoError, match="folder"):
        read_video(tmp_path)


def test_no_frames_a_second_is_an_error(world):
    for fps in (0.0, -2.0):
        with pytest.raises(VideoError, match="fps"):
            read_video(world[0].path, fps=fps)


def test_a_video_longer_than_a_model_can_name_is_an_error(video):
    assert read_video(video, max_seconds=8).duration == pytest.approx(8.0)
    assert read_video(video, start=1.0, end=4.0, max_seconds=3).duration == pytest.approx(3.0)
    with pytest.raises(VideoError, match=r"video.mp4: lasts 8 s.*up to 7; ask about a part"):
        read_video(video, max_seconds=7)


MEMORY = """
import resource, sys
from rarft.video import read_video
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
clip = read_video(sys.argv[1], fps=2, max_pixels=4096, min_frame_pixels=4096, factor=32)
print(len(clip.frames), peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_frames_of_any_size_are_scaled_while_they_are_read(tmp_path):
    """Thirty frames of 4K, read at once, took 1.6 GB."""
    with av.open(str(tmp_path / "large.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((2160, 3840, 3), 3 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "large.mp4"], capture_output=True, text=True, check=True
    )
    frames, megabytes = done.stdout.split()
    assert int(frames) == 30 and float(megabytes) < 900


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_file_is_not_held_in_memory(tmp_path):
    """As decord does, which reads ahead of its decoder: half an hour of 4K took two gigabytes."""
    path = tmp_path / "heavy.mkv"
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20, options={"q": "2"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuvj420p"
        (packet,) = stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24"))
        for number in range(600):
            again = av.Packet(bytes(packet))
            again.stream, again.time_base = stream, packet.time_base
            again.pts = again.dts = number
            again.is_keyframe = True
            container.mux(again)
    assert path.stat().st_size > 200e6
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    path.unlink()
    frames, megabytes = done.stdout.split()
    assert int(frames) == 60 and float(megabytes) < 120


def test_it_is_said_that_a_decoder_works_on_the_way_to_a_late_frame(video):
    """The guard must not end it: a file can have its only keyframe half an hour before the part that is asked about."""
    said = []
    read_video(video, start=7.0, on_frames=lambda *progress: said.append(progress))
    assert said[0] == (0, 2) and said.count((0, 2)) > 60 and said[-1] == (2, 2)


def test_more_frames_than_the_memory_should_hold_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "LARGEST_CLIP", 3 * 64 * 64 * 10)
    path = write_video(np.zeros((60, 64, 64, 3), np.uint8), tmp_path / "long.mp4", 4)
    with pytest.raises(VideoError, match="long.mp4: 30 frames of 64×64"):
        read_video(path)
    assert len(read_video(path, end=5.0).frames) == 10
