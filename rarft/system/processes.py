"""Start worker and helper processes that end together with this process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any

from rarft.system.cores import cores
from rarft.system.errors import WorkerError

ENDED = (
    "a worker process ended: if it was killed because memory ran out, run fewer processes, or less at a time. What was "
    "written before is kept"
)


class _Process(SpawnProcess):
    """A spawned process that does not import the main script, whereas Python's own spawned processes do.

    It can run only functions that are defined in modules. A script needs no `if __name__ == "__main__":`."""

    @staticmethod
    def _Popen(process_obj):
        with _starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


_starting = threading.Lock()


class _Context(SpawnContext):
    Process = _Process


# Processes are spawned, because a forked child of a process with torch threads can hang.
CONTEXT = _Context()


@contextmanager
def worker_pool(processes: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that end when this process ends, even if it is killed. It runs only functions that are
    defined in modules.

    processes: their number; by default one for each core that may be used.

    A worker that outlived a killed run could write into the files of the run that resumes it. An error in the block
    also ends running jobs.

    Raises WorkerError when a worker is killed.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes or cores(), CONTEXT, initializer=end_with_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise WorkerError(ENDED) from error
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Make this `multiprocessing` child end as soon as its parent has ended, even by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("this process was not started by multiprocessing")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end with parent").start()


class Helper:
    """A helper process: it runs functions defined in modules, one after another, and ends with this process."""

    def __init__(self) -> None:
        self.waiting = False  # whether a result has not been read yet
        self.forgotten: list[int] = []  # copies that the helper can drop at its next call, see rarft.models.workers
        self._pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()

    def send(self, function: Callable, *arguments: Any, shared: bool = False) -> None:
        """Start a function; `result` waits for it. shared: tensors in shared memory are passed without a copy.

        Raises WorkerError if the process has ended."""
        message = (ForkingPickler.dumps if shared else pickle.dumps)((function, arguments))
        self.waiting = True  # set before sending, because an interrupt may come in between
        with self._ending():
            self._pipe.send_bytes(message)

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised. Raises WorkerError if the process has ended."""
        with self._ending():
            error, value = pickle.loads(self._pipe.recv_bytes())
        self.waiting = False
        if error:
            raise value
        return value

    def close(self) -> None:
        """End the process; kill it if it still runs a function."""
        self._pipe.close()
        self.process.join(0 if self.waiting else 2)
        self.process.kill()
        self.process.join()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:  # a closed pipe raises OSError
            raise WorkerError(ENDED) from error


_helpers: list[Helper] = []


def helpers(count: int) -> Sequence[Helper]:
    """The first `count` helpers of this process; each is started at its first use.

    A helper is replaced if it has ended, or if an error or an interrupt left its last result unread.

    Raises OSError if a process cannot be started."""
    for number in range(count):
        if number == len(_helpers):
            _helpers.append(Helper())
        elif _helpers[number].waiting or not _helpers[number].process.is_alive():
            _helpers[number].close()
            _helpers[number] = Helper()
    return _helpers[:count]


def close_helpers() -> None:
    """End all helpers; the next use starts new ones."""
    while _helpers:
        _helpers.pop().close()


Finalize(None, close_helpers, exitpriority=10)  # when this process ends, before it waits for its children


def _serve(pipe: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # one core, so a helper starts no helpers
    end_with_parent()
    with suppress(ValueError):  # only the process that started this one handles interrupts
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            return
        try:
            function, arguments = pickle.loads(message)
            answer = pickle.dumps((False, function(*arguments)))
        except BaseException as error:
            error.add_note("In a worker process:\n" + traceback.format_exc())
            try:
                answer = pickle.dumps((True, error))
            except Exception:  # an error that cannot be pickled
                answer = pickle.dumps((True, RuntimeError(traceback.format_exc())))
        pipe.send_bytes(answer)
