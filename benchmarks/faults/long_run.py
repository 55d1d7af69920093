"""A long training with what goes wrong in one: it must end with the curve of a training that nothing happened to.

    sudo python benchmarks/faults/long_run.py                # 2,000 steps, twice: 20 minutes on two cores; Linux, root
    sudo python benchmarks/faults/long_run.py --steps 100

The smallest model trains with a reward of its own, four answers of 16 tokens a step. The disturbed run has a video more
that is broken; its reward raises once; it is killed; the clock jumps back a day; the disk is full for a minute while
a checkpoint is due. Whenever it ends before its time, the same command starts it again, with --resume. Writes
data/results/faults.json, key "long run".
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from table import keep

from coursekit import ROOT
from rarft.system.files import read_json, write_json

FIELDS = "--per_device_train_batch_size 4 --num_generations 4 --max_completion_length 16 --temperature 3"
AT = {"raise": 0.15, "kill": 0.35, "clock": 0.5, "disk": 0.68}  # of all steps; checkpoints come at each tenth
FAULTS = "LONG_RUN_FAULTS"  # a folder: the steps of the faults, and a mark for each that has happened
DISK = "256m"


def distinct(prompts: list, completions: list, trainer_state: Any, **_: Any) -> list[float]:
    """A reward: the share of different words. In a disturbed run, faults happen here, each once."""
    if FAULTS in os.environ:
        _disturb(Path(os.environ[FAULTS]), trainer_state.global_step)
    texts = [completion[0]["content"].split() for completion in completions]
    return [len(set(words)) / max(1, len(words)) for words in texts]


def _disturb(folder: Path, step: int) -> None:
    for name, at in read_json(folder / "faults.json").items():
        mark = folder / name
        if step < at or mark.exists():
            continue
        mark.touch()
        if name == "raise":
            raise ValueError("a reward that raises once")
        if name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "clock":
            time.time = lambda real=time.time: real() - 86_400
        if name == "disk":
            ballast = Path(read_json(folder / "out.json")) / "ballast"
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(65536)):
                        pass
                except OSError:
                    threading.Timer(60, ballast.unlink).start()  # of the run itself, should it live so long


def train(out: Path, data: Path, videos: Path, steps: int, log: Path, faults: Path | None) -> psutil.Popen:
    command = ["-m", "rarft", "train", "rarft", "--config", ROOT / "recipes" / "tiny.yaml", *FIELDS.split()]
    command += ["--max_steps", steps, "--save_steps", max(1, steps // 10), "--output_dir", out, "--train_data", data]
    command += ["--videos", videos, "--rewards", "long_run:distinct", "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(Path(__file__).parent)}
    if faults:
        environment[FAULTS] = str(faults)
    with open(log, "ab") as file:
        return psutil.Popen([sys.executable, *map(str, command)], cwd=ROOT, env=environment, stdout=file, stderr=file)


def watched(process: psutil.Popen) -> tuple[int, list[float]]:
    """A process's status in the end, and its memory in MB every two seconds."""
    memory: list[float] = []
    while process.poll() is None:
        try:
            memory.append(process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(2)
    return process.wait(), memory


def curve(out: Path) -> list[tuple[int, float, float, float]]:
    """Step, loss, norm of the gradient and reward of each step, from the log that the run leaves."""
    rows = [row for row in read_json(out / "log.json") if "reward" in row]
    return [(row["step"], row["loss"], row["grad_norm"], row["reward"]) for row in rows]


def disturbed(out: Path, data: Path, videos: Path, steps: int, log: Path, faults: Path) -> list[dict[str, Any]]:
    """Train to the end, however often it takes. Returns how each start ended, and the last line that it said."""
    ends: list[dict[str, Any]] = []
    while not ends or ends[-1]["status"]:
        if len(ends) > 2 * len(AT):
            raise SystemExit(f"it does not end: {ends}")
        status, _ = watched(train(out, data, videos, steps, log, faults))
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip() and "Warning" not in line]
        ends.append({"status": status, "said": said[-1][-200:] if status > 0 else ""})
        (out / "ballast").unlink(missing_ok=True)
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        videos = Path(shutil.copytree(ROOT / "data" / "samples" / "clips", place / "clips"))
        rows = read_json(ROOT / "data" / "samples" / "hi_vtg.json")
        (videos / "broken.mp4").write_bytes((videos / "00000.mp4").read_bytes()[:900])
        good = write_json(place / "good.json", rows)
        bad = write_json(place / "bad.json", [*rows, {**rows[0], "video": "broken.mp4"}])
        alone, out, faults = place / "alone", place / "out", place / "faults"
        for folder in (alone, out, faults):
            folder.mkdir()
        write_json(faults / "faults.json", {fault: int(share * steps) for fault, share in AT.items()})
        write_json(faults / "out.json", str(out))
        quiet = train(alone, good, videos, steps, place / "alone.txt", None)
        memory: list[float] = []
        watcher = threading.Thread(target=lambda: memory.extend(watched(quiet)[1]))
        watcher.start()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", out], check=True)
        try:
            ends = disturbed(out, bad, videos, steps, place / "out.txt", faults)
            watcher.join()
            wanted, found = curve(alone), curve(out)
            weights = [(folder / "model.safetensors").read_bytes() for folder in (alone, out)]
        finally:
            subprocess.run(["umount", out], check=True)
        named = [line for line in (place / "out.txt").read_text(errors="replace").splitlines() if "broken.mp4" in line]
    quarter = memory[len(memory) // 4 : len(memory) // 4 + 10]
    keep(
        "long run",
        {
            "steps": steps,
            "ends": ends,
            "the_broken_video_is_named": bool(named),
            "steps_in_the_log": len(found),
            "steps_that_differ": sum(a != b for a, b in zip(wanted, found, strict=False))
            + abs(len(wanted) - len(found)),
            "steps_with_a_gradient": sum(norm > 0 for _, _, norm, _ in wanted),
            "weights_equal": weights[0] == weights[1],
            "megabytes_after_a_quarter": round(sum(quarter) / max(1, len(quarter))),
            "megabytes_at_the_end": round(sum(memory[-11:-1]) / max(1, len(memory[-11:-1]))),
        },
    )


if __name__ == "__main__":
    main()
