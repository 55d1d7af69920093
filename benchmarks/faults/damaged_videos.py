"""Video files as nobody should send them, made from a seed: other codecs and shapes, and damage of every kind.

`cases(folder, seed)` goes on for ever; `python benchmarks/faults/videos.py` reads what it makes.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

# codec, container, pixel format, width, height, frames
ENCODINGS = (
    ("libx264", "mp4", "yuv420p", 64, 48, 40),
    ("libx264", "matroska", "yuv420p", 64, 48, 40),
    ("libx264", "mpegts", "yuv420p", 64, 48, 40),
    ("libx264", "mp4", "yuv420p10le", 64, 48, 20),
    ("libx264", "mov", "yuv444p", 33, 17, 20),
    ("libx264", "mp4", "yuv420p", 2, 2, 10),
    ("libx264", "mp4", "yuv420p", 1022, 10, 10),
    ("libx264", "mp4", "yuv420p", 64, 48, 1),
    ("libx265", "mp4", "yuv420p", 64, 64, 20),
    ("mpeg4", "avi", "yuv420p", 64, 48, 40),
    ("mpeg2video", "mpegts", "yuv420p", 64, 48, 40),
    ("mjpeg", "mov", "yuvj420p", 64, 48, 10),
    ("ffv1", "matroska", "yuv420p", 64, 48, 20),
    ("flv", "flv", "yuv420p", 64, 48, 20),
    ("libx264", "mp4", "yuv420p", 3840, 2160, 3),
)
TIMES: dict[str, Callable[[int], int]] = {  # the time of frame i, in 1/1000 s
    "even": lambda i: 100 * i,
    "variable": lambda i: 100 * i + 30 * (i % 3),
    "late": lambda i: 3_600_000 + 100 * i,
    "sparse": lambda i: 60_000 * i,
    "dense": lambda i: i,
}
TEXTS = {
    "text": "not a video",
    "playlist": "#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:{port}/a.ts\n",
    "concat": "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.mp4'\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "html": "<html><video src='http://127.0.0.1:{port}/a.mp4'></html>",
}


def encoded(encoding: tuple[str, str, str, int, int, int], times: str = "even") -> bytes:
    """A whole file in memory."""
    codec, container, pixels, width, height, count = encoding
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        unit = Fraction(1, 1000) if codec == "libx264" else Fraction(1, 25)  # older codecs know no other
        stream.codec_context.time_base = unit
        stream.options = {"threads": "1", "x265-params": "log-level=none"}
        for i in range(count):
            picture = np.full((height, width, 3), (37 * i % 256, 11 * i % 256, 90), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = TIMES[times](i) if codec == "libx264" else i, unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def sound_alone() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, len(data), int(rng.choice([1, 4, 32, 1000]))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flipped_in_the_header(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, min(600, len(data)), 3):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


def doubled(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:end] + data[begin:end] + data[end:]


def cut_out(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:begin] + data[end:]


def swapped(data: bytes, rng: np.random.Generator) -> bytes:
    a, b, c, d = sorted(rng.integers(0, len(data), 4).tolist())
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:begin] + bytes(end - begin) + data[end:]


def lying(data: bytes, rng: np.random.Generator) -> bytes:
    """Another number in one of the boxes of an mp4 that say lengths, sizes, counts and offsets."""
    changed = bytearray(data)
    places = [
        at for name in (b"mvhd", b"mdhd", b"tkhd", b"stsz", b"stco", b"stts", b"avc1") if (at := data.find(name)) > 0
    ]
    place = int(rng.choice(places)) if places else 0
    at = min(len(data) - 4, place + 4 + 4 * int(rng.integers(0, 24)))
    changed[at : at + 4] = struct.pack(">I", int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1])))
    return bytes(changed)


DAMAGE = (truncated, flipped, flipped_in_the_header, doubled, cut_out, swapped, zeroed, lying)


def odd_ones(folder: Path, port: int) -> Iterator[tuple[str, Path]]:
    """What is there once: whole files of each kind, and what is no video at all."""
    for number, encoding in enumerate(ENCODINGS):
        path = folder / f"whole_{number}.mp4"
        path.write_bytes(encoded(encoding))
        yield "whole", path
    for name in TIMES:
        path = folder / f"times_{name}.mp4"
        path.write_bytes(encoded(ENCODINGS[0], name))
        yield "times", path
    for name, text in TEXTS.items():
        for suffix in (".mp4", ".m3u8"):
            path = folder / f"{name}{suffix}"
            path.write_text(text.format(port=port))
            yield "no video", path
    contents = {"empty": b"", "zeros": bytes(5000), "sound": sound_alone(), "header": encoded(ENCODINGS[0])[:40]}
    picture = io.BytesIO()
    Image.new("RGB", (64, 48)).save(picture, "PNG")
    for name, content in {**contents, "picture": picture.getvalue()}.items():
        path = folder / f"{name}.mp4"
        path.write_bytes(content)
        yield "no video", path
    (folder / "a folder.mp4").mkdir()
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    yield from (("no video", folder / name) for name in ("a folder.mp4", "loop.mp4", "pipe.mp4", "not there.mp4"))
    big = folder / "mostly nothing.mp4"
    big.write_bytes(encoded(ENCODINGS[0]))
    with open(big, "ab") as file:
        file.truncate(3 * 2**30)  # a hole in the file: it takes no room on the disk
    yield "no video", big


def damaged_ones(folder: Path, seed: int) -> Iterator[tuple[str, Path]]:
    """One file after the other, each damaged once or twice; a file is there until the next is asked for."""
    rng = np.random.default_rng(seed)
    whole = [encoded(encoding) for encoding in ENCODINGS[:-1]]
    number = 0
    while True:
        data = whole[int(rng.integers(len(whole)))]
        kinds = [DAMAGE[i] for i in rng.integers(0, len(DAMAGE), int(rng.integers(1, 3)))]
        for damage in kinds:
            data = damage(data, rng) if len(data) > 8 else data
        path = folder / f"damaged_{number}.mp4"
        path.write_bytes(data)
        yield kinds[0].__name__.replace("_", " "), path
        path.unlink()
        number += 1
