"""How a model uses the cores: a small model in several processes of one thread each, a large one in several threads.

A second thread makes a small model a little faster, and sampling for one prompt hardly at all. When another program
uses the cores, threads wait for each other and become several times slower (benchmarks/cores.py measures both).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

SMALL = 50_000_000  # parameters of the largest model that runs in several processes
MOST = 4  # processes by default; each helper process needs about half a gigabyte


class Plan(NamedTuple):
    """How many processes a model runs in, how many threads each has, and why."""

    processes: int
    threads: int
    reason: str


def cores() -> int:
    """How many cores this process and its helpers may use: OMP_NUM_THREADS if set, else what the system allows."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdigit() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_for(parameters: int, device: str = "cpu", *, processes: int | None = None) -> Plan:
    """How a model with this number of parameters uses the cores.

    Args:
        device: torch's name for the type of the model's device.
        processes: replaces the number chosen here. A large model's processes divide the cores among them.
    """
    available, small = cores(), device == "cpu" and parameters <= SMALL
    if processes is not None:
        return Plan(processes, 1 if small else max(1, available // processes), f"{processes} requested")
    if device != "cpu":
        return Plan(1, available, f"the model is on a {device} device")
    if not small:
        return Plan(1, available, f"more than {SMALL / 1e6:.0f} million parameters")
    if available == 1:
        return Plan(1, 1, "one core may be used")
    return Plan(min(available, MOST), 1, f"at most {SMALL / 1e6:.0f} million parameters")


def use_cores(count: int) -> None:
    """Set how many cores this process and the processes that it starts may use from now on."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:  # torch reads the variable only when it is imported
        sys.modules["torch"].set_num_threads(count)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the block with this number of torch threads, then restore the earlier number."""
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
