"""How many cores to use and how: processes of one thread each for a small model, threads for a large one.

The matrices of a small model are too small for threads. A second thread gains almost nothing in sampling, and threads
that wait for each other become several times slower when another program uses the cores (benchmarks/cores.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

SMALL = 50_000_000  # parameters of the largest model that runs in several processes
MOST = 4  # processes; each helper needs about half a gigabyte


class Plan(NamedTuple):
    """How a model uses the cores: processes, the threads of each, and the reason."""

    processes: int
    threads: int
    reason: str


def cores() -> int:
    """Cores that this process and its workers may use: OMP_NUM_THREADS if set, else the cores of this machine."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdigit() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_for(parameters: int, device: str = "cpu", *, processes: int | None = None) -> Plan:
    """How a model of this many parameters uses the cores.

    Args:
        device: the type of its device, as torch names it.
        processes: instead of the number chosen here; the cores are divided among them.
    """
    available, small = cores(), device == "cpu" and parameters <= SMALL
    if processes is not None:
        return Plan(processes, 1 if small else max(1, available // processes), f"{processes} were asked for")
    if device != "cpu":
        return Plan(1, available, f"the model is on a {device} device")
    if not small:
        return Plan(1, available, f"more than {SMALL / 1e6:.0f} million parameters")
    if available == 1:
        return Plan(1, 1, "one core may be used")
    return Plan(min(available, MOST), 1, f"at most {SMALL / 1e6:.0f} million parameters")


def use_cores(count: int) -> None:
    """Let this process and its workers use this number of cores from now on."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:  # which has read the variable already
        sys.modules["torch"].set_num_threads(count)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the block with this number of threads of torch, and restore the number before it."""
    import torch

    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
