"""What a run needs is taken away: the disk is full or read-only, memory runs out, a video vanishes.

    sudo python benchmarks/faults/shortages.py       # half an hour on one core; Linux, and root for small disks
    sudo python benchmarks/faults/shortages.py --jobs infer --runs 2

Each job of kills.py runs so many times with each shortage, every time with another amount of it. It must end well, or
with status 1 and one line, never with a traceback (C++ that finds no memory aborts the process); and the same command,
given what it lacked, must end as a run that lacked nothing. Writes data/results/faults.json, key "shortages: JOB".
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import kills
import numpy as np
import psutil
import scipy.linalg
from kills import JOBS, SAMPLES, WORLD, run, start
from table import keep

from coursekit import ROOT

SHORTAGES = ("full disk", "read-only disk", "memory", "vanished video")
MEMORY = (6.5, 8.7)  # powers of ten: bytes beyond what the process has when it begins
PATIENCE, HUNG = 180, -1000  # seconds for a run without memory, and the status of one that took longer
FAR_AWAY = 200_000_000_000  # bytes: no limit


def warm_up() -> None:
    """Have in memory what a run would load on its way: OpenBLAS, the one of numpy and the one of scipy, waits for ever
    where it finds no memory for its buffers."""
    import sentence_transformers
    import sklearn.linear_model
    import trl.trainer.grpo_trainer
    from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    import rarft.training

    assert all((sentence_transformers, sklearn, trl, rarft.training, Qwen3VLForConditionalGeneration, Qwen3VLProcessor))
    matrix = np.eye(300)
    scipy.linalg.solve(matrix @ matrix, matrix)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def mount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], check=True)


def limited(job: str, folder: Path, log: Path, more: float) -> psutil.Process:
    """A job that may have so many bytes of memory more than this process has."""
    limit = psutil.Process().memory_info().vms + int(more)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))  # the child has it from the beginning
    try:
        return start(job, folder, log)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def short_of(shortage: str, job: str, folder: Path, log: Path, alone: tuple[float, int], chance: random.Random) -> int:
    """Run a job that lacks something. Returns its status.

    alone: the seconds and the bytes on disk of a run that lacked nothing.
    """
    if shortage == "full disk":
        mount(folder, f"size={max(4096, int(alone[1] * chance.uniform(0.02, 0.95)))}")
    elif shortage == "read-only disk":
        mount(folder, "ro")
    elif shortage == "memory":
        process = limited(job, folder, log, 10 ** chance.uniform(*MEMORY))
        try:
            return process.wait(PATIENCE)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    process = start(job, folder, log)
    if shortage == "vanished video":
        time.sleep(chance.uniform(0, alone[0]))
        gone = chance.choice(sorted((kills.SAMPLES / "clips").iterdir()))
        gone.rename(gone.with_suffix(".gone"))
        status = process.wait()
        gone.with_suffix(".gone").rename(gone)
        return status
    return process.wait()


def assault(job: str, runs: int, seed: int) -> dict[str, Any]:
    """Every shortage so many times. Returns how the runs ended, and what was wrong."""
    chance = random.Random(f"{job} {seed}")
    found: dict[str, Any] = {"wrong": []}
    with kills.workplace(job) as place:
        folder, log = place / "out", place / "log.txt"
        seconds = run(job, folder, log)
        wanted, bytes_ = JOBS[job].state(folder), size(folder)
        for shortage in SHORTAGES:
            ends: Counter[str] = Counter()
            for _ in range(runs):
                shutil.rmtree(folder)
                folder.mkdir()
                log.unlink()
                try:
                    status = short_of(shortage, job, folder, log, (seconds, bytes_), chance)
                except psutil.TimeoutExpired:
                    status = HUNG
                text = log.read_text(errors="replace")
                last = (text.strip().splitlines() or [""])[-1]
                ends["ended well" if status == 0 else f"status {status}"] += 1
                aborted = shortage == "memory" and status == -signal.SIGABRT
                if (status not in (0, 1) and not aborted) or "Traceback" in text:
                    found["wrong"].append(f"{shortage}: status {status}: {text[-600:]}")
                elif status == 1:
                    found.setdefault("said", {})[shortage] = last[:300]
                if os.path.ismount(folder):
                    subprocess.run(["mount", "-o", f"remount,rw,size={FAR_AWAY}", folder], check=True)
                try:
                    run(job, folder, log)
                    if JOBS[job].state(folder) != wanted:
                        found["wrong"].append(f"{shortage}: another result after status {status}: {last[-200:]}")
                except RuntimeError as error:
                    found["wrong"].append(f"{shortage}: cannot go on: {str(error)[-600:]}")
                if os.path.ismount(folder):
                    subprocess.run(["umount", folder], check=True)
            found[shortage] = dict(ends)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = [job for job in JOBS if job != "course build"]
    parser.add_argument("--jobs", nargs="*", default=jobs, choices=jobs)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update(TQDM_DISABLE="1", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as place:
        kills.SAMPLES = Path(shutil.copytree(SAMPLES, Path(place) / "samples"))  # one of its videos vanishes
        run("world", WORLD, Path(os.devnull))
        warm_up()
        for job in options.jobs:
            keep(
                f"shortages: {job}",
                {"seed": options.seed, "runs": options.runs, **assault(job, options.runs, options.seed)},
            )


if __name__ == "__main__":
    main()
