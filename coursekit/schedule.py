"""Which chapters run at the same time, in which order, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Protocol, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Job:
    """A chapter that may have to run.

    needs: chapters that must be done first; a chapter that is not a job counts as done.
    minutes, gigabytes: its expected running time and memory.
    """

    needs: Iterable[str]
    minutes: float
    gigabytes: float


class Running(Protocol[T]):
    """A job that has been started."""

    def result(self) -> T:
        """Wait for the job's end, and return its result. Called in a thread."""

    def end(self) -> None:
        """End the job now, if it has not ended. `result` then raises an error."""


class Schedule:
    """Chooses the next job: of those that fit into memory, the one with the most minutes in its longest chain of
    dependent jobs."""

    def __init__(self, jobs: Mapping[str, Job], at_once: int, gigabytes: float):
        """
        Args:
            at_once: the most jobs that run at the same time. If it is 1, ready jobs run in the order of their names.
            gigabytes: the most memory for jobs that run at the same time. A job that runs alone may take more.

        Raises graphlib.CycleError if the needs of jobs form a cycle.
        """
        self.jobs, self.at_once, self.gigabytes = jobs, at_once, gigabytes
        self.running: set[str] = set()
        self._ready: set[str] = set()
        needs = {name: [need for need in job.needs if need in jobs] for name, job in jobs.items()}
        self._sorter = TopologicalSorter(needs)
        self._sorter.prepare()
        self.chain = {name: job.minutes for name, job in jobs.items()}
        for name in reversed(tuple(TopologicalSorter(needs).static_order())):
            for need in needs[name]:
                self.chain[need] = max(self.chain[need], jobs[need].minutes + self.chain[name])

    def is_active(self) -> bool:
        """Whether any job is not done yet."""
        return self._sorter.is_active()

    def newly_ready(self) -> list[str]:
        """The jobs whose needs have been met since the last call."""
        names = sorted(self._sorter.get_ready())
        self._ready.update(names)
        return names

    def start_next(self) -> str | None:
        """The job to start now, which then counts as running; None if no job may start before another is done."""
        used = sum(self.jobs[name].gigabytes for name in self.running)
        fitting = [n for n in self._ready if not self.running or used + self.jobs[n].gigabytes <= self.gigabytes]
        if not fitting or len(self.running) == self.at_once:
            return None
        chosen = min(fitting, key=lambda name: (-self.chain[name] if self.at_once > 1 else 0, name))
        self._ready.remove(chosen)
        self.running.add(chosen)
        return chosen

    def done(self, name: str) -> None:
        """Mark a job as done, because it has run or need not run."""
        self._ready.discard(name)
        self.running.discard(name)
        self._sorter.done(name)


def run_jobs(
    schedule: Schedule,
    keep: Callable[[str], bool],
    start: Callable[[str], Running[T]],
    done: Callable[[str, T], None],
) -> None:
    """Run all jobs. After an error or Ctrl-C, start no further job, end the running ones, and raise the error.

    Args:
        keep: returns whether a job need not run; called once, as soon as the job's needs are done.
        start: starts a job.
        done: called with the name and the result of a job that has run.
    """
    futures: dict[Future[T], str] = {}
    started: list[Running[T]] = []
    with ThreadPoolExecutor(schedule.at_once) as pool:
        try:
            while schedule.is_active():
                while ready := schedule.newly_ready():
                    for name in filter(keep, ready):
                        schedule.done(name)
                while (chosen := schedule.start_next()) is not None:
                    started.append(start(chosen))
                    futures[pool.submit(started[-1].result)] = chosen
                # With a timeout, because Windows delivers Ctrl-C only between two waits.
                ended = wait(futures, timeout=1, return_when=FIRST_COMPLETED).done
                for future in sorted(ended, key=lambda future: future.exception() is not None):  # successes first
                    name = futures.pop(future)
                    done(name, future.result())
                    schedule.done(name)
        finally:
            for job in started:
                job.end()
