"""The launch line of two machines, both simulated on this one: a machine is lost in the middle of a run, and the same
command with --resume ends it.

    python benchmarks/faults/two_machines.py        # two minutes on two cores

Two `accelerate launch`, each with its rank, talk over loopback; the tiny recipe trains four steps on CPUs, with a
checkpoint after each. Writes data/results/faults.json, key "two machines".
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from table import keep

from coursekit import ROOT
from rarft.system.files import read_json

STEPS, PATIENCE = 4, 300.0  # seconds
FIELDS = f"--use_cpu true --per_device_train_batch_size 4 --num_generations 4 --max_steps {STEPS} --save_steps 1"


def start(out: Path, rank: int, port: int, *more: str) -> subprocess.Popen[bytes]:
    """One machine's `accelerate launch`, as chapter 12 has it."""
    launch = ["-m", "accelerate.commands.launch", "--config_file", ROOT / "recipes" / "accelerate" / "two_cpu.yaml"]
    launch += ["--num_machines", 2, "--num_processes", 2, "--machine_rank", rank]
    launch += ["--main_process_ip", "127.0.0.1", "--main_process_port", port]
    train = ["-m", "rarft", "train", "rarft", "--config", ROOT / "recipes" / "tiny.yaml", *FIELDS.split()]
    train += ["--max_completion_length", 16, "--train_data", ROOT / "data" / "samples", "--output_dir", out]
    command = [sys.executable, *map(str, [*launch, *train]), *more]
    with open(out.with_name(f"machine_{rank}.log"), "ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def lose(machine: subprocess.Popen[bytes]) -> None:
    """Kill a launcher and its workers, as a machine that loses its power does."""
    launcher = psutil.Process(machine.pid)
    for process in (launcher, *launcher.children(recursive=True)):
        process.kill()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, port = Path(folder) / "run", free_port()
        machines = [start(out, rank, port) for rank in (0, 1)]
        while not (out / "checkpoint-2" / "trainer_state.json").exists():
            if any(machine.poll() is not None for machine in machines):
                raise SystemExit((out.parent / "machine_0.log").read_text()[-3000:])
            time.sleep(0.1)
        lose(machines[1])
        begin = time.perf_counter()
        first = machines[0].wait(PATIENCE)
        seconds, port = time.perf_counter() - begin, free_port()
        resumed = [start(out, rank, port, "--resume") for rank in (0, 1)]
        statuses = [machine.wait(PATIENCE) for machine in resumed]
        steps = [row["step"] for row in read_json(out / "log.json") if "reward" in row]
    found = {"the_other_ends_with": first, "after_seconds": round(seconds, 1)}
    keep("two machines", {**found, "resumed_ends_with": statuses, "steps_in_the_log": steps})


if __name__ == "__main__":
    main()
