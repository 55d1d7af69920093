"""A thousand damaged and odd video files: each gives sane frames, or an error with its name, in 30 s and 1 GB.

    python benchmarks/faults/videos.py --files 1000         # a few minutes on one core

Each is read by the process that training and inference read by (`rarft.video.GuardedReader`). A server listens all the
while: no file makes anything connect to it. Writes data/results/faults.json, key "videos".
"""

from __future__ import annotations

import argparse
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import numpy as np
import psutil
from damaged_videos import damaged_ones, odd_ones
from table import keep

from rarft.system.errors import VideoError
from rarft.video import Clip, GuardedReader

SECONDS, MEGABYTES = 30.0, 1000
SAMPLING = {"fps": 2.0, "max_pixels": 3584 * 28 * 28, "min_frame_pixels": 16 * 28 * 28, "factor": 28}


def wrong_with(clip: Clip) -> str:
    """What makes no sense about a clip; "" if nothing."""
    count = len(clip.frames)
    problems = {
        "no frames": count == 0,
        "not pictures": clip.frames.dtype != np.uint8 or clip.frames.ndim != 4 or clip.frames.shape[3] != 3,
        "times": len(clip.seconds) != count
        or not np.all(np.isfinite(clip.seconds))
        or np.any(np.diff(clip.seconds) < 0),
        "duration": not 0 < clip.duration < 1e8,
    }
    return ", ".join(name for name, wrong in problems.items() if wrong)


def peak_megabytes() -> float:
    """The most memory that the decoding process, our only child of that size, has had; its imports included."""
    peaks = [0.0]
    for child in psutil.Process().children():
        with suppress(OSError):  # it has just ended
            status = Path(f"/proc/{child.pid}/status").read_text()
            peaks += [int(peak) / 1000 for peak in re.findall(r"VmHWM:\s+(\d+)", status)]
    return max(peaks)


def read_all(count: int, seed: int, limit: float = SECONDS) -> dict:
    """What came of so many files, with `limit` seconds for each, after which the decoder is ended."""
    server = socket.create_server(("127.0.0.1", 0))
    connections: list[object] = []
    threading.Thread(target=lambda: [connections.append(server.accept()) for _ in range(99)], daemon=True).start()
    outcomes: dict[str, Counter[str]] = {}
    worst = {"seconds": 0.0, "megabytes": 0.0}
    faults: list[str] = []
    reader = GuardedReader(limit)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = chain(odd_ones(folder, server.getsockname()[1]), damaged_ones(folder, seed))
        for kind, path in islice(files, count):
            begin = time.perf_counter()
            try:
                clip = reader(path, **SAMPLING)
            except VideoError as error:
                outcome = "ended after the limit" if "gave no frame" in str(error) else "error"
                outcome = "crash, named" if "crashed" in str(error) else outcome
                if path.name not in str(error):
                    faults.append(f"{path.name}: not named: {error}")
            else:
                outcome = "frames"
                if problem := wrong_with(clip):
                    faults.append(f"{path.name} ({kind}): {problem}")
            seconds = time.perf_counter() - begin
            outcomes.setdefault(kind, Counter())[outcome] += 1
            memory = peak_megabytes()
            for figure, value in (("seconds", seconds), ("megabytes", memory)):
                if value > worst[figure]:
                    worst |= {figure: round(value, 1), f"{figure}_of": f"{path.name} ({kind})"}
    reader.close()
    server.close()
    # Python's own tracker of shared memory stays until the end of the program.
    left = [p for p in psutil.Process().children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]
    return {
        "files": count,
        "seed": seed,
        "outcomes": {kind: dict(counts) for kind, counts in sorted(outcomes.items())},
        "worst": worst,
        "faults": faults,
        "connections": len(connections),
        "processes_left": len(left),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep("videos", read_all(options.files, options.seed))


if __name__ == "__main__":
    main()
