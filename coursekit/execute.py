"""Run one chapter with papermill, and measure it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from nbformat import NotebookNode

from coursekit.paths import ROOT
from rarft.system.errors import ChapterError


def run_chapter(notebook: NotebookNode, target: Path, scale: str) -> dict[str, float]:
    """Execute one notebook into `target`. Returns its minutes and the peak RAM of its kernel in GB. Raises
    ChapterError."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    watch = _RamWatch()
    begin = time.perf_counter()
    with watch, _no_bars_in_cells():
        try:
            papermill.execute_notebook(
                notebook,
                str(target),
                parameters={"SCALE": scale},
                cwd=str(ROOT),
                kernel_name="python3",
                progress_bar=sys.stderr.isatty(),
                request_save_on_cell_execute=False,
                # A kernel of this machine for this machine warns that its TCP is not encrypted.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
        except PapermillExecutionError as error:
            raise ChapterError(
                f"{target.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"the executed notebook, up to the error: {target}"
            ) from error
    return {"minutes": (time.perf_counter() - begin) / 60, "peak_ram_gb": watch.peak / 1e9}


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
    """Peak resident memory of this process's children while the block runs."""

    def __enter__(self) -> _RamWatch:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            used = 0
            for child in me.children(recursive=True):
                try:
                    used += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, used)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
