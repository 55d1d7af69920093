"""How a small model should use the cores: one process with several threads, or several processes of one thread each.

    python benchmarks/cores.py              # about five minutes on two cores; writes data/results/cores.json

The script compares three ways: one process with a torch thread for each core, one process with one thread, and one
process of one thread for each core. `rarft.system.cores` plans the last for a small model, with at most four processes.
The ways take turns in one run and do the same work with the same seed. The first turn warms up and is not counted.

There are three tasks. Asking is `predict` with two queries for each of 64 clips, whose cached features are dropped
before each turn. A step is a GRPO step of recipes/tiny.yaml on 8 prompts whose videos are already encoded; the rewards
embed every sentence again. Sampling draws 8 answers to one prompt, which are never divided among processes. Greedy
answers must be equal for all ways. Sampled answers can differ through rounding; the share of equal ones is reported.

Everything is measured under three conditions: on a quiet machine, next to one spinning process for each core, and next
to a process that multiplies matrices with a torch thread for each core. Peak memory is measured during asking and a
step. Each way runs in a process of its own, and the memory of its helpers is included. Memory pages that several
processes share are divided among them on Linux."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import rarft  # before transformers: see rarft/system/torchvision.py

# isort: split
import numpy as np
import psutil
import torch
from transformers import set_seed

from coursekit import BUILD, ROOT
from rarft.evaluation import predict
from rarft.models import VideoModel
from rarft.rewards import NAMES, make_rewards
from rarft.rewards.encoder import SentenceEncoder
from rarft.system import cores as planning
from rarft.system.cores import cores
from rarft.system.files import BASE, write_json
from rarft.system.machine import machine
from rarft.system.processes import Helper, close_helpers, end_with_parent
from rarft.training import build_trainer, grpo_config
from rarft.world.dataset import make_world

CLIPS, PROMPTS, GROUP, SMALL = 64, 8, 8, planning.SMALL
WAYS = ("threads", "one thread", "processes")
TASKS = ("asking", "step", "sampling")
# condition → the code of each busy process
CONDITIONS = {
    "quiet": [],
    "beside spinning": ["while True: pass"] * cores(),
    "beside torch": [f"import torch\ntorch.set_num_threads({cores()})\na = torch.ones(256, 256)\nwhile True: a @ a"],
}
ENOUGH = 60  # seconds, after which no further turn begins next to a busy program


class Work:
    """The tasks. One model is asked, another is trained."""

    def __init__(self, options: argparse.Namespace):
        groups = [clip.group for clip in make_world(BUILD / "bench" / "world", "test", CLIPS)]
        samples = [sample for group in groups for sample in (group.relevant, group.irrelevant[0])]
        self.samples = samples[: options.queries]
        self.asked, self.trained = VideoModel.load(options.model), VideoModel.load(options.model)
        self.encoder = SentenceEncoder()
        config = grpo_config(
            BUILD / "bench" / "cores",
            num_generations=GROUP,
            per_device_train_batch_size=GROUP * PROMPTS,
            max_completion_length=options.tokens,
            max_steps=1,
        )
        rewards = make_rewards("robust", NAMES, self.encoder)
        self.trainer = build_trainer(self.trained, groups[:PROMPTS], config, rewards=rewards)
        self.trainer.current_gradient_accumulation_steps = 1  # `train()` would set it
        data = self.trainer.train_dataset
        self.rows = [data[2 * i + i % 2] for i in range(PROMPTS) for _ in range(GROUP)]

    def do(self, task: str, way: str) -> tuple[float, list]:
        """How many seconds a task takes in one way, and its completions."""
        self.asked.processes = self.trained.processes = cores() if way == "processes" else 1
        planning.SMALL = 0 if way == "threads" else SMALL  # every model counts as large, so it gets threads
        torch.set_num_threads(cores() if way == "threads" else 1)
        set_seed(0)
        begin = time.perf_counter()
        completions = getattr(self, task)()
        return time.perf_counter() - begin, completions

    def asking(self) -> list[str]:
        self.asked.cache.forget()
        return [str(prediction.answer.completion) for prediction in predict(self.asked, self.samples)]

    def step(self) -> list[list[int]]:
        """Generation, rewards, loss and gradients of one batch."""
        self.encoder._cache.clear()
        self.trainer.model.train()
        batch = self.trainer._generate_and_score_completions(self.rows)
        self.trainer._compute_loss(self.trainer.model, batch).backward()
        self.trainer.model.zero_grad()
        lengths = batch["completion_mask"].sum(1).tolist()
        return [ids[:length] for ids, length in zip(batch["completion_ids"].tolist(), lengths, strict=True)]

    def sampling(self) -> list[str]:
        first = self.samples[0]
        return self.asked.generate([first.crop], [first.query], num_generations=GROUP, temperature=1.0)


@contextmanager
def busy(condition: str) -> Iterator[None]:
    """Run the programs of a condition during the block."""
    programs = [Helper() for _ in CONDITIONS[condition]]
    try:
        for program, code in zip(programs, CONDITIONS[condition], strict=True):
            program.send(exec, "import torch", {})
            program.result()  # wait until it has started
            program.send(exec, code, {})
        yield
    finally:
        for program in programs:
            program.close()


def take_turns(work: Work, condition: str, turns: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """Seconds of every turn by task and way, and for each task the share of completions that all ways agree on."""
    seconds: dict[str, dict[str, list[float]]] = {task: {way: [] for way in WAYS} for task in TASKS}
    equal = {}
    begin = time.perf_counter()
    for turn in range(turns):
        if condition != "quiet" and time.perf_counter() - begin > ENOUGH:
            break
        for task in TASKS:
            said = {}
            for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
                took, said[way] = work.do(task, way)
                seconds[task][way].append(took)
                print(f"{condition}, turn {turn + 1}: {task}, {way}: {took:.1f} s", flush=True)
            together = list(zip(*said.values(), strict=True))
            equal[task] = sum(all(one == found[0] for one in found) for found in together) / len(together)
            assert task != "asking" or equal[task] == 1, "greedy answers differ between the ways"
    return seconds, equal


def used() -> int:
    """Bytes of this process and its children. On Linux, shared memory pages are divided among their processes."""
    total, me = 0, psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            total += process.memory_full_info().pss if psutil.LINUX else process.memory_info().rss
    return total


def peak_memory(way: str, options: argparse.Namespace) -> float:
    """Peak memory in MB during asking and a step. Runs in a process of its own."""
    work, seen, stop = Work(options), [used()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            seen.append(used())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    for task in ("asking", "step"):
        work.do(task, way)
    stop.set()
    thread.join()
    close_helpers()
    return max(seen) / 1e6


def peaks(options: argparse.Namespace) -> dict[str, float]:
    found = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
            found[way] = pool.submit(peak_memory, way, options).result()
        print(f"peak memory, {way}: {found[way]:.0f} MB", flush=True)
    return found


def row(name: str, cells: Iterable[str]) -> str:
    return f"{name:28}" + "".join(f"{cell:>18}" for cell in cells)


def print_table(found: dict) -> None:
    """Print median seconds, their ratio to those of a quiet machine, and the speed-up."""
    print("\n" + row("median seconds", TASKS))
    for condition, medians in found["median_seconds"].items():
        for way in WAYS:
            ratios = [medians[task][way] / found["median_seconds"]["quiet"][task][way] for task in TASKS]
            cells = [f"{medians[task][way]:.2f} ({r:.1f}×)" for task, r in zip(TASKS, ratios, strict=True)]
            print(row(f"{condition}, {way}", cells))
    print(row("threads / processes, quiet", (f"{found['threads_to_processes'][task]:.2f}×" for task in TASKS)))
    print(row("equal completions, quiet", (f"{found['equal']['quiet'][task]:.0%}" for task in TASKS)))
    print("peak MB: " + ", ".join(f"{way} {peak:.0f}" for way, peak in found["peak_mb"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--busy-turns", type=int, default=2, help="the most turns next to each busy program")
    parser.add_argument("--model", type=Path, default=BASE)
    parser.add_argument("--queries", type=int, default=2 * CLIPS, help="queries to ask; fewer for a quick trial")
    parser.add_argument("--tokens", type=int, default=352, help="the most in an answer; fewer for a quick trial")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "cores.json")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    found = {"machine": machine(), "rarft": rarft.__version__, "torch": torch.__version__, "cores": cores()}
    found |= {"turns": options.turns, "queries": options.queries, "tokens": options.tokens}
    work = Work(options)
    found["peak_mb"] = peaks(options)
    take_turns(work, "quiet", 1)
    seconds, equal, median = {}, {}, {}
    for condition in CONDITIONS:
        turns = options.turns if condition == "quiet" else min(options.turns, options.busy_turns)
        with busy(condition):
            seconds[condition], equal[condition] = take_turns(work, condition, turns)
        median[condition] = {
            task: {way: float(np.median(values)) for way, values in by_way.items()}
            for task, by_way in seconds[condition].items()
        }
    ratios = {task: np.divide(by_way["threads"], by_way["processes"]) for task, by_way in seconds["quiet"].items()}
    found |= {
        "seconds": seconds,
        "median_seconds": median,
        "threads_to_processes": {task: float(np.median(turns)) for task, turns in ratios.items()},
        "threads_to_processes_range": {task: [float(r.min()), float(r.max())] for task, r in ratios.items()},
        "busy_to_quiet": {
            condition: {task: {way: by[way] / median["quiet"][task][way] for way in WAYS} for task, by in tasks.items()}
            for condition, tasks in median.items()
            if condition != "quiet"
        },
        "equal": equal,
    }
    write_json(options.out, found)
    print_table(found)


if __name__ == "__main__":
    main()
