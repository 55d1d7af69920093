"""Run one chapter with papermill, in a process of its own, and measure it.

`ChapterProcess` starts `python -m coursekit.execute` and describes the chapter in a line of JSON on its standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode

from coursekit.paths import ROOT
from rarft.system.errors import ChapterError, RarftError, machine_fault

NICENESS = 10  # of chapters with low priority


class ChapterProcess:
    """A chapter that runs in a process of its own. That process and its kernel end when this process ends, even if this
    one is killed."""

    def __init__(
        self,
        notebook: NotebookNode,
        target: Path,
        scale: str,
        *,
        threads: int,
        low_priority: bool = False,
        bar: bool = False,
    ):
        """Start the process. For the other arguments see `run_chapter`.

        Args:
            threads: the chapter's OMP_NUM_THREADS.
            low_priority: give the cores to other processes first.
        """
        self.target = target
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coursekit.execute"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,  # when this process ends, the pipe closes, and the chapter ends, too
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C must reach only this process, which then ends its chapters.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        task = {"notebook": nbformat.writes(notebook), "target": str(target), "scale": scale, "bar": bar}
        with suppress(OSError):  # the process has already ended; `result` raises the error
            self._process.stdin.write(json.dumps({**task, "low_priority": low_priority}) + "\n")
            self._process.stdin.flush()

    def result(self) -> dict[str, float]:
        """Wait for the chapter's end. Returns and raises what `run_chapter` does, and ChapterError if the process
        was killed."""
        with self._process.stdout as output:
            said = output.read()
        status = self._process.wait()
        if not said:
            raise ChapterError(
                f"{self.target.name}: its process ended with status {status}; if memory ran out, run fewer chapters at "
                "the same time (--jobs, --gigabytes)"
            )
        found = json.loads(said)
        if "error" in found:
            raise ChapterError(found["error"])
        return found

    def end(self) -> None:
        """End the process and its kernel, if they have not ended."""
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()


def run_chapter(notebook: NotebookNode, target: Path, scale: str, *, bar: bool = False) -> dict[str, float]:
    """Execute one notebook into `target`, in this process. Returns its minutes and the peak RAM of its kernel in GB.
    Raises ChapterError.

    Args:
        bar: show papermill's progress bar on a terminal.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    watch = _RamWatch()
    begin = time.perf_counter()
    with watch, _no_bars_in_cells():
        try:
            _once_more_without_kernel(
                papermill.execute_notebook,
                notebook,
                str(target),
                parameters={"SCALE": scale},
                cwd=str(ROOT),
                kernel_name="python3",
                progress_bar=bar and sys.stderr.isatty() and {"disable": False},  # overrides `_no_bars_in_cells`
                request_save_on_cell_execute=False,
                # A kernel warns that its local TCP connection is not encrypted. It logs an error if the interrupt that
                # ends it comes during its last message.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            raise ChapterError(
                f"{target.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"the executed notebook, up to the error: {target}"
            ) from error
    return {"minutes": (time.perf_counter() - begin) / 60, "peak_ram_gb": watch.peak / 1e9}


def _once_more_without_kernel(execute: Callable[..., object], *arguments: object, **options: object) -> None:
    """Execute a notebook, and retry once if its kernel did not start: kernels that start at the same time in several
    processes may choose the same ports."""
    try:
        execute(*arguments, **options)
    except RuntimeError as error:
        if "Kernel died before replying" not in str(error):
            raise
        execute(*arguments, **options)


@contextmanager
def _no_bars_in_cells() -> Iterator[None]:
    """A progress bar in a cell is a widget; saved in a notebook that nobody looks at, it stays at 0 %."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before


class _RamWatch:
    """Peak memory of this process's children while the block runs."""

    def __enter__(self) -> _RamWatch:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(1):
            self.peak = max(self.peak, sum(map(_used, me.children(recursive=True))))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _used(process: psutil.Process) -> int:
    """The memory of a process in bytes. On Linux it is the PSS, which divides shared pages among their processes;
    elsewhere it is the resident memory."""
    try:
        return process.memory_full_info().pss if psutil.LINUX else process.memory_info().rss
    except psutil.Error:  # the process has just ended
        return 0


def _run_here() -> None:
    """In the process of a `ChapterProcess`: run the chapter, and print its result or its error as JSON."""
    task = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that output of libraries does not mix with the result
    threading.Thread(target=_end_with_input, daemon=True).start()
    if task["low_priority"]:
        me = psutil.Process()
        me.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if psutil.WINDOWS else max(me.nice(), NICENESS))
    notebook, target = nbformat.reads(task["notebook"], as_version=4), Path(task["target"])
    try:
        found = run_chapter(notebook, target, task["scale"], bar=task["bar"])
    except RarftError as error:
        found = {"error": str(error)}
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        found = {"error": f"{target.name}: {fault}"}
    print(json.dumps(found), file=out, flush=True)


def _end_with_input() -> None:
    """End this process and its children when the standard input ends."""
    os.read(0, 1)  # sys.stdin would hold a lock when the interpreter ends
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


if __name__ == "__main__":
    _run_here()
