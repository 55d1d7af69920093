"""Half an hour of 4K, read as training, evaluation and inference read it: how much memory, and how long?

    python benchmarks/long_file.py                # half an hour on one core; 2 GB of disk
    python benchmarks/long_file.py --minutes 1

Twenty seconds of moving pictures at 3840×2160 and 30 frames a second are encoded, and then repeated by copying the
packets: 54,000 frames. They are read by the process that training, evaluation and inference read by. Writes
data/results/long_file.json.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from coursekit import ROOT, sample_world
from rarft.models import PRESETS
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.system.progress import progress
from rarft.video import GuardedReader

RATE, WIDTH, HEIGHT = 30, 3840, 2160
PART_SECONDS = 20  # encoded, and then repeated


def encode_part(path: Path, seconds: int) -> None:
    """A picture with detail that moves, so that the decoder has motion and residuals to work on."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 4, 3), np.uint8)
    picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))  # twice as wide as a frame
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "30", "threads": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in progress(range(RATE * seconds), desc="encoding"):
            left = 8 * number % WIDTH
            frame = np.ascontiguousarray(picture[:, left : left + WIDTH])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def repeat(part: Path, path: Path, times: int) -> None:
    """The same packets again and again, each time later by the length of the part."""
    with av.open(str(path), "w") as output:
        stream = None
        for number in range(times):
            with av.open(str(part)) as file:
                source = file.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(source)
                later = int(Fraction(number * PART_SECONDS) / source.time_base)
                for packet in file.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
                    output.mux(packet)


def peak_megabytes(process: psutil.Process) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def read(path: Path, small: Path, sampling: dict, **crop: float) -> dict[str, float | list[int]]:
    """What reading takes; the memory is that of the decoding process above what it had after a small file."""
    with GuardedReader() as reader:
        reader(small, **sampling)
        (child,) = (p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline()))
        before = peak_megabytes(child)
        begin = time.perf_counter()
        clip = reader(path, **sampling, **crop)
        return {
            "minutes": round((time.perf_counter() - begin) / 60, 1),
            "frames": len(clip.frames),
            "size": list(clip.frames.shape[1:3]),
            "megabytes_of_frames": round(clip.frames.nbytes / 2**20),
            "megabytes_above": round(peak_megabytes(child) - before),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        part, path = Path(name, "part.mp4"), Path(name, "long.mp4")
        encode_part(part, PART_SECONDS)
        repeat(part, path, 60 * minutes // PART_SECONDS)
        sampling = PRESETS["qwen2.5-vl-7b"].settings.video
        small = sample_world()[0].path
        found = {
            "machine": machine(),
            "file": {"minutes": minutes, "size": [HEIGHT, WIDTH], "rate": RATE, "megabytes": path.stat().st_size >> 20},
            "the whole, with the budget of Qwen2.5-VL": read(path, small, sampling),
            "its second half minute": read(path, small, sampling, start=30.0, end=60.0),
        }
    write_json(ROOT / "data" / "results" / "long_file.json", found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
