"""Small videos of any container, codec and orientation."""

from fractions import Fraction

import av
import numpy as np
import pytest

PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
QUIET = {"libx264": {"x264-params": "log-level=none"}, "libx265": {"x265-params": "log-level=none"}}
SIZE = (64, 96)  # narrower than 64, decord fails


def write(path, container="mp4", codec="libx264", *, frames=20, rate=10, sound=None, even=True, **options):
    """A video of noise whose pictures grow brighter. sound: seconds of a second stream. options: of the container."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, options={"g": "12", **QUIET.get(codec, {})})
        stream.height, stream.width = SIZE
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        stream.codec_context.time_base = Fraction(1, rate)
        packets = []
        for number in range(frames):
            picture = rng.integers(0, 60, (*SIZE, 3)) + 180 * number // max(1, frames)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number if even else number + number // 3 * 2, Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode()
        packets += _sound(output, sound) if sound else []
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            output.mux(packet)
    return path


def _sound(output, seconds):
    stream = output.add_stream("libopus" if output.format.name == "webm" else "mp2", rate=48000)
    stream.layout = "mono"
    size = stream.codec_context.frame_size or 1152
    for number in range(int(seconds * 48000 / size)):
        noise = np.random.default_rng(number).integers(-9000, 9000, (1, size), np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * size, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode()


def put_matrix(path, matrix):
    """Write a display matrix (a, b, c, d) into the track's header of an mp4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # a b u, c d v, x y w
    a, b, c, d = (round(65536 * value) for value in matrix)
    data[at : at + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)
    return path


@pytest.fixture
def written(tmp_path):
    """`write`, for a name in a folder of its own."""
    return lambda name, *args, **options: write(tmp_path / name, *args, **options)


@pytest.fixture
def matrix_put():
    return put_matrix
