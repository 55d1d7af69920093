"""Kill -9 at random moments: the same command, run again, must end as a run that was left alone.

    python benchmarks/faults/kills.py                       # all jobs, 50 kills each: hours on one core
    python benchmarks/faults/kills.py --jobs infer --kills 10

A round starts a job in an empty folder and kills it one to three times, each time at a random moment of what a run
takes alone; the last run is left to end, and what lies in the folder is compared with what the run that was left alone
wrote. Only the process that was started is killed, as the kernel does when memory runs out, and the next run starts at
once: workers that live on must not disturb it. All but the course's are forked from this process, which has imported
everything, so that the moments fall into the work. Writes data/results/faults.json, keys "kills: JOB".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from table import keep

from coursekit import ROOT
from rarft.cli import main as rarft
from rarft.system.files import json_lines
from rarft.system.progress import progress

SAMPLES, BASE = ROOT / "data" / "samples", ROOT / "data" / "base"
STEPS = (
    "--max_steps 4 --save_steps 1 --per_device_train_batch_size 4 --num_generations 4 --gradient_accumulation_steps 1"
)
PATIENCE = 15.0  # seconds until a worker must have noticed that its parent is gone


@dataclass(frozen=True)
class Job:
    """command: the arguments of `rarft`, for an output folder. state: what lies there in the end, without what no two
    runs share."""

    command: Callable[[Path], list[Any]]
    state: Callable[[Path], Any]


def digests(folder: Path, patterns: tuple[str, ...] = ("**/*",)) -> dict[str, str]:
    """Of the files of a folder that match, all by default, hidden ones included."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def lines(path: Path) -> list[Any]:
    return [row for _, row in json_lines(path)]


def evaluated(folder: Path) -> Any:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return lines(folder / "predictions.jsonl"), report, sorted(digests(folder))


def trained(folder: Path) -> Any:
    """The weights and each step's loss and rewards; not the seconds."""
    log = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    curve = [
        {name: value for name, value in row.items() if "time" not in name and "per_second" not in name}
        for row in log
        if "reward" in row
    ]
    return curve, digests(folder, ("model.safetensors",))


def built(folder: Path) -> Any:
    """The pages of the site, and what the chapter's cells wrote; not its minutes."""
    chapter = json.loads((folder / "course" / "01_video_temporal_grounding.ipynb").read_text(encoding="utf-8"))
    texts = [  # of each cell: how the kernel cuts a stream into outputs is chance
        "".join("".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in cell.get("outputs", ()))
        for cell in chapter["cells"]
    ]
    texts = [text for text in texts if text][1:]  # the first line names the machine
    hidden = sorted(str(file.relative_to(folder)) for file in folder.rglob(".*.part"))
    return texts, sorted(str(page.relative_to(folder)) for page in folder.rglob("*.html")), hidden


def questions(folder: Path) -> Path:
    """Sixteen questions about the clips of data/samples, one of which names a video that is not there."""
    path = folder.parent / "questions.jsonl"
    rows = [
        {"video": str(SAMPLES / "clips" / f"{number % 12 if number != 5 else 99:05d}.mp4"), "query": query}
        for number, query in enumerate(["the cyan cross gets bigger", "the red ring blinks"] * 8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluation(folder: Path, processes: int) -> list[Any]:
    fixed = ["--model", BASE, "--data", SAMPLES, "--limit", 16, "--batch", 2, "--device", "cpu"]
    return ["evaluate", "--out", folder, "--processes", processes, *fixed]


JOBS = {
    "world": Job(
        lambda folder: ["world", "--out", folder, "--split", "test", "--clips", 40, "--processes", 2], digests
    ),
    "build-hivtg": Job(lambda folder: ["build-hivtg", WORLD, "--out", folder / "rows.jsonl"], digests),
    "infer": Job(
        lambda folder: (
            ["infer", "--retry", "--questions", questions(folder), "--out", folder / "answers.jsonl"] + ["--batch", 2]
        ),
        lambda folder: lines(folder / "answers.jsonl"),
    ),
    "evaluate": Job(lambda folder: evaluation(folder, 1), evaluated),
    "evaluate, two processes": Job(lambda folder: evaluation(folder, 2), evaluated),
    "train": Job(
        lambda folder: [
            *["train", "rarft", "--config", ROOT / "recipes" / "tiny.yaml", "--train_data", SAMPLES, "--resume"],
            *["--output_dir", folder, "--on_bad_video", "stop", *STEPS.split()],
        ],
        trained,
    ),
    "course build": Job(lambda _: ["course", "build", "--scale", "smoke", "--only", "01"], built),
}
WORLD = Path(tempfile.gettempdir()) / "rarft-kills-world"


def start(job: str, folder: Path, log: Path) -> psutil.Process:
    """A process of its own that runs a job's command."""
    command = [str(argument) for argument in JOBS[job].command(folder)]
    if job == "course build":  # in a copy of this repository: it writes into its own build/
        copy = folder.parent / "copy"
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        with open(log, "ab") as file:
            child = subprocess.Popen(
                [sys.executable, "-m", "rarft", *command], cwd=copy, env=environment, stdout=file, stderr=file
            )
        return psutil.Process(child.pid)
    if pid := os.fork():
        return psutil.Process(pid)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    status = 1
    try:
        rarft(command)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(job: str, folder: Path, log: Path) -> float:
    """Run a job to its end. Returns the seconds. Raises RuntimeError if it fails."""
    begin = time.perf_counter()
    status = start(job, folder, log).wait()
    if status:
        raise RuntimeError(f"{job}: status {status}\n{log.read_text(errors='replace')[-2000:]}")
    return time.perf_counter() - begin


def assault(job: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill a job so many times, and compare after each round. Returns counts and what differed."""
    random_ = random.Random(f"{job} {seed}")
    found: dict[str, Any] = {"kills": 0, "rounds": 0, "different": [], "failed": [], "workers_left": 0}
    with workplace(job) as place:
        folder, log = place / "out", place / "log.txt"
        alone = run(job, folder, log)
        wanted = JOBS[job].state(folder)
        with progress(total=kills, desc=job) as bar:
            while found["kills"] < kills:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(exist_ok=True)  # the course's build/ is a link to it
                orphans: list[psutil.Process] = []
                for _ in range(random_.randint(1, 3)):
                    process = start(job, folder, log)
                    time.sleep(random_.uniform(0, alone))
                    if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                        orphans += process.children(recursive=True)
                        process.send_signal(signal.SIGKILL)
                        found["kills"] += 1
                        bar.update()
                    process.wait()
                found["rounds"] += 1
                try:
                    run(job, folder, log)
                    if JOBS[job].state(folder) != wanted:
                        found["different"].append(found["rounds"])
                except RuntimeError as error:
                    found["failed"].append(str(error)[-500:])
                found["workers_left"] += len(psutil.wait_procs(orphans, PATIENCE)[1])
    return {"seconds_alone": round(alone, 1), **found}


@contextmanager
def workplace(job: str) -> Iterator[Path]:
    """A folder for a job's output; for the course, beside a copy of this repository whose build/ it is."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "out").mkdir()
        if job == "course build":
            subprocess.run(["git", "clone", "--quiet", ROOT, place / "copy"], check=True)
            (place / "copy" / "build").symlink_to(place / "out")
        yield place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="*", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update(TQDM_DISABLE="1", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    os.chdir(ROOT)  # the recipe's paths begin here
    run("world", WORLD, Path(os.devnull))  # what build-hivtg reads; kept if it is there
    for job in options.jobs:
        keep(f"kills: {job}", {"seed": options.seed, **assault(job, options.kills, options.seed)})


if __name__ == "__main__":
    main()
