"""Run every chapter, with its solutions, then make site, slides, instructor edition and report.

A chapter that has run before runs again only if something that it depends on has changed; the build prints what.
Chapters that do not need each other run at the same time, each in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil

from coursekit.changes import dependencies, needed_chapters, reason, uses_all_cores
from coursekit.execute import ChapterProcess
from coursekit.notebook import measured_chapter, results
from coursekit.paths import BUILD, NOTEBOOKS
from coursekit.schedule import Job, Schedule, run_jobs
from coursekit.site import GLANCE, write_site
from coursekit.site.api import write_api
from coursekit.site.glance import write_glance
from coursekit.site.slides import write_slides
from coursekit.solutions import solved_notebook, write_instructor_edition
from rarft.system.cores import cores
from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json
from rarft.system.machine import machine

GIGABYTES = 6.0  # the most memory for chapters that run at the same time


def chapters(only: list[str] | None = None) -> list[Path]:
    """The notebooks in reading order; `only` keeps those whose number is listed. Raises InputError for one that is not
    there."""
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    numbers = {path.name[:2] for path in paths}
    unknown = [number for number in only or () if number not in numbers]
    if unknown or not paths:
        raise InputError(f"no chapter {', '.join(unknown)} in {NOTEBOOKS}")
    return [path for path in paths if not only or path.name[:2] in only]


def title_of(source: Path) -> str:
    """A chapter's first heading, without its number."""
    heading = nbformat.read(source, as_version=4).cells[0].source.splitlines()[0]
    return heading.removeprefix(f"# {source.name[:2]} · ")


def build_course(
    scale: str = "full",
    only: list[str] | None = None,
    fresh: bool = False,
    *,
    jobs: int | None = None,
    gigabytes: float | None = None,
) -> dict[str, Any]:
    """Build the course into build/: `run_chapters`, then `write_pages`. Returns the report."""
    report = run_chapters(scale, only, fresh, jobs=jobs, gigabytes=gigabytes)
    index = write_pages(report)
    took = f"{report['minutes']:.1f} min of chapters, run in {report['wall_minutes']:.1f} min"
    print(f"course: {took} · {index} · {BUILD / 'report.json'}")
    return report


def run_chapters(
    scale: str = "full",
    only: list[str] | None = None,
    fresh: bool = False,
    *,
    jobs: int | None = None,
    gigabytes: float | None = None,
) -> dict[str, Any]:
    """Run the chapters that need to run, and write build/report.json. Returns the report. Raises ChapterError when a
    chapter fails.

    Args:
        only: numbers of chapters; all by default.
        fresh: run chapters again even if nothing has changed.
        jobs: the most chapters that run at the same time; by default the number of cores.
        gigabytes: the most memory for chapters that run at the same time; by default `GIGABYTES`, or the free memory if
            that is less. Each chapter counts with its peak in data/results/course.json.
    """
    begin = time.perf_counter()
    listed = chapters(only)
    at_once = min(jobs or cores(), len(listed))
    memory = gigabytes or min(GIGABYTES, psutil.virtual_memory().available / 1e9)
    build = _Build(scale, listed, fresh, at_once)
    run_jobs(Schedule(build.jobs(), at_once, memory), build.keep, build.start, build.done)
    report = _report(scale, listed, build.entries)
    report |= {"jobs": at_once, "wall_minutes": (time.perf_counter() - begin) / 60}
    write_json(BUILD / "report.json", report)
    return report


def write_pages(report: dict[str, Any]) -> Path:
    """Write instructor edition, site and slides of the chapters that have run. Returns the site's index."""
    write_instructor_edition(chapters(), BUILD / "instructor")
    site = BUILD / "site"
    write_glance(site / GLANCE, BUILD)
    write_api(site / "api")
    write_slides(BUILD / "course", BUILD / "slides", report)
    return write_site(BUILD / "course", site, report)


class _Build:
    """The chapters of one build, by number.

    entries: the stamp of each chapter that is done: its measurements and what its run depended on.
    """

    def __init__(self, scale: str, listed: list[Path], fresh: bool, at_once: int):
        self.scale, self.fresh, self.at_once = scale, fresh, at_once
        self.sources = {path.name[:2]: path for path in listed}
        self.entries: dict[str, dict[str, Any]] = {}
        # also of chapters that are not listed, because a listed chapter may need them
        stamps = {path.name[:2]: _stamp(path) for path in chapters()}
        self._digests = {
            number: _results_digest(read_json(stamp)) for number, stamp in stamps.items() if stamp.exists()
        }
        self._now: dict[str, dict[str, str]] = {}
        self._why: dict[str, str] = {}
        self._running: set[str] = set()

    def jobs(self) -> dict[str, Job]:
        """The chapters for a `Schedule`."""
        found = {}
        for number, source in self.sources.items():
            measured = measured_chapter(number) or {"minutes": 1.0, "peak_ram_gb": 1.5}
            found[number] = Job(needed_chapters(source), measured["minutes"], measured["peak_ram_gb"])
        return found

    def keep(self, number: str) -> bool:
        """Whether a chapter's stamp is still valid. Called when the chapters that it needs are done."""
        source = self.sources[number]
        stamp = _stamp(source)
        entry = read_json(stamp) if stamp.exists() else {}
        self._now[number] = dependencies(source, self.scale, self._digests)
        why = "asked for" if self.fresh else reason(entry.get("dependencies"), self._now[number])
        if why is None:
            self._enter(number, entry)
            print(f"{source.stem}: kept, nothing that it depends on has changed · {self._progress()}", flush=True)
            return True
        self._why[number] = why
        return False

    def start(self, number: str) -> ChapterProcess:
        """Start a chapter that is not kept."""
        source = self.sources[number]
        stamp = _stamp(source)
        print(f"{source.stem} … ({self._why[number]})", flush=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)  # a stopped run leaves no stamp, because its notebook is incomplete
        self._running.add(number)
        wide = uses_all_cores(source)
        return ChapterProcess(
            solved_notebook(source),
            stamp.with_name(source.name),
            self.scale,
            threads=cores() if wide else 1,  # even when it runs alone: the last digits of results depend on the threads
            low_priority=not wide and any(map(uses_all_cores, self._not_done())),
            bar=self.at_once == 1,
        )

    def done(self, number: str, measured: dict[str, float]) -> None:
        """Write the stamp of a chapter that has run."""
        entry = {"dependencies": self._now[number], **measured}
        write_json(_stamp(self.sources[number]), entry)
        self._running.remove(number)
        self._enter(number, entry)
        took = f"{entry['minutes']:.1f} min, {entry['peak_ram_gb']:.1f} GB"
        print(f"{self.sources[number].stem}: {took} · {self._progress()}", flush=True)

    def _enter(self, number: str, entry: dict[str, Any]) -> None:
        self.entries[number] = entry
        self._digests[number] = _results_digest(entry)

    def _not_done(self) -> list[Path]:
        return [source for number, source in self.sources.items() if number not in self.entries]

    def _progress(self) -> str:
        running = f", running: {' '.join(sorted(self._running))}" if self._running else ""
        return f"{len(self.entries)} of {len(self.sources)} done{running}"


def _stamp(source: Path) -> Path:
    return BUILD / "course" / f"{source.stem}.json"


def _results_digest(entry: dict[str, Any]) -> str:
    """Changes whenever a chapter runs again on something that has changed."""
    return hashlib.sha256(json.dumps(entry["dependencies"], sort_keys=True).encode()).hexdigest()[:16]


def _report(scale: str, listed: list[Path], entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    where = machine()
    rows = {
        source.name[:2]: {
            "title": title_of(source),
            "minutes": entries[source.name[:2]]["minutes"],
            "peak_ram_gb": entries[source.name[:2]]["peak_ram_gb"],
            "machine": where,
            "results": results(source.name[:2]),
        }
        for source in listed
    }
    live = (rows.get("09") or {}).get("results") or {}
    return {
        "scale": scale,
        "machine": where,
        "chapters": rows,
        "minutes": sum(row["minutes"] for row in rows.values()),
        "before": live.get("before"),
        "after": live.get("after"),
    }
