"""Run one chapter with papermill, in a process of its own, and measure it.

python -m coursekit.execute             # such a process; `ChapterProcess` writes a line of JSON to its standard input
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

NICENESS = 10  # of chapters that leave the cores to another one


class ChapterProcess:
    """A chapter that runs in a process of its own. The process and its kernel end when this process ends, even by a
    kill."""

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
        """Start it; see `run_chapter`.

        Args:
            threads: the chapter's OMP_NUM_THREADS.
            low_priority: other processes go first.
        """
        self.target = target
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coursekit.execute"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,  # stays open: its end tells the chapter that this process has ended
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches this process alone, which then ends its chapters.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        task = {"notebook": nbformat.writes(notebook), "target": str(target), "scale": scale, "bar": bar}
        with suppress(OSError):  # it has ended already: `result` raises
            self._process.stdin.write(json.dumps({**task, "low_priority": low_priority}) + "\n")
            self._process.stdin.flush()

    def result(self) -> dict[str, float]:
        """Wait for the chapter's end. Returns and raises what `run_chapter` does; ChapterError also if the process
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
        """End the process, if it has not ended, and its kernel."""
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
                progress_bar=bar and sys.stderr.isatty() and {"disable": False},  # despite `_no_bars_in_cells`
                request_save_on_cell_execute=False,
                # A kernel warns that its TCP, within this machine, is not encrypted, and logs an error when its last
                # message meets the interrupt that ends it.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            raise ChapterError(
                f"{target.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"the executed notebook, up to the error: {target}"
            ) from error
    return {"minutes": (time.perf_counter() - begin) / 60, "peak_ram_gb": watch.peak / 1e9}


def _once_more_without_kernel(execute: Callable[..., object], *arguments: object, **options: object) -> None:
    """Execute a notebook, a second time if its kernel did not start: kernels that start at once in several processes
    may choose the same ports."""
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
    """The memory of a process in bytes, with its share of the pages that it has in common with others where the system
    tells it."""
    try:
        return process.memory_full_info().pss if psutil.LINUX else process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


def _run_here() -> None:
    """In the process of a `ChapterProcess`: run the chapter, and print its result, or its error, as JSON."""
    task = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not taken for the result
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
    os.read(0, 1)  # not through sys.stdin, whose lock would be held when the interpreter ends
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


if __name__ == "__main__":
    _run_here()
