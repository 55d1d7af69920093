"""Run every chapter in order with papermill, then make the site, the student edition and the report.

A chapter that ran already with the same notebook, library and scale is not run again.
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
import time
from pathlib import Path

import psutil

from rarft.course.notebook import BUILD, ROOT, results
from rarft.course.site import write_site
from rarft.course.student import write_student_edition
from rarft.errors import ChapterError, InputError
from rarft.files import write_json
from rarft.machine import machine

NOTEBOOKS = ROOT / "notebooks"


def chapters(only: list[str] | None = None) -> list[Path]:
    """The notebooks in reading order; `only` keeps those whose number is listed. Raises InputError for none."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if only:
        found = [path for path in found if path.name[:2] in only]
    if not found:
        raise InputError(f"no chapters {only or ''} in {NOTEBOOKS}")
    return found


def build_course(scale: str = "full", only: list[str] | None = None, fresh: bool = False) -> dict:
    """Build the course into build/. Returns the report. Raises ChapterError when a chapter fails."""
    output = BUILD / "course"
    output.mkdir(parents=True, exist_ok=True)
    report = {"scale": scale, "machine": machine(), "chapters": {}}
    listed = chapters(only)
    for position, source in enumerate(listed, start=1):
        number = source.name[:2]
        stamp = output / f"{source.stem}.json"
        digest = _digest(source, scale)
        entry = json.loads(stamp.read_text()) if stamp.exists() and not fresh else {}
        state = "kept"
        if entry.get("digest") != digest:
            print(f"[{position}/{len(listed)}] {source.stem} …", flush=True)
            entry = {"digest": digest, **run_chapter(source, output / source.name, scale)}
            write_json(stamp, entry)
            state = "ran"
        print(
            f"[{position}/{len(listed)}] {source.stem}: {state}, {entry['minutes']:.1f} min, "
            f"{entry['peak_ram_gb']:.1f} GB",
            flush=True,
        )
        report["chapters"][number] = {
            "title": source.stem[3:].replace("_", " "),
            "minutes": entry["minutes"],
            "peak_ram_gb": entry["peak_ram_gb"],
            "machine": report["machine"],
            "results": results(number),
        }
    report["minutes"] = sum(chapter["minutes"] for chapter in report["chapters"].values())
    live = (report["chapters"].get("09") or {}).get("results") or {}
    report["before"], report["after"] = live.get("before"), live.get("after")
    write_json(BUILD / "report.json", report)
    write_student_edition(chapters(), BUILD / "student")
    index = write_site(output, BUILD / "site", report)
    print(f"course: {report['minutes']:.1f} min · {index} · {BUILD / 'report.json'}")
    return report


def run_chapter(source: Path, target: Path, scale: str) -> dict[str, float]:
    """Execute one notebook. Returns its minutes and the peak RAM of its kernel in GB."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    watch = _RamWatch()
    begin = time.perf_counter()
    with watch:
        try:
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters={"SCALE": scale},
                cwd=str(ROOT),
                kernel_name="python3",
                progress_bar=False,
                request_save_on_cell_execute=False,
            )
        except PapermillExecutionError as error:
            raise ChapterError(
                f"{source.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"the executed notebook, up to the error: {target}"
            ) from error
    return {"minutes": (time.perf_counter() - begin) / 60, "peak_ram_gb": watch.peak / 1e9}


class _RamWatch:
    """Peak resident memory of this process's children while the block runs."""

    def __enter__(self):
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

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def _digest(source: Path, scale: str) -> str:
    """Changes with the notebook, the library, the shipped data and the scale."""
    digest = hashlib.sha256(f"{scale} {platform.python_version()}".encode())
    files = [source, *sorted((ROOT / "rarft").rglob("*.py")), *sorted((ROOT / "data" / "base").glob("*"))]
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
