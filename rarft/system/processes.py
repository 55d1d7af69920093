"""Start worker processes, and end them together with this process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from rarft.system.errors import WorkerError

MAIN_GUARD = "a script needs the line `if __name__ == '__main__':` before what it does"


@contextmanager
def worker_pool(processes: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, one for each core by default, that end when this process ends, even by a kill.

    Processes are spawned, because a forked child of a process with torch threads can hang. A worker that outlived a
    killed run could write into the files of the run that resumes it. An error in the block also ends running jobs.

    Raises WorkerError when a worker is killed.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=end_with_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process ended: if it was killed because memory ran out, run fewer processes, or less at a time; "
            f"{MAIN_GUARD}. What was written before is kept"
        ) from error
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Call in a `multiprocessing` child: it then ends as soon as its parent has ended, even by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("this process was not started by multiprocessing")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end with parent").start()
