"""Run every chapter in order, with its solutions, then make site, slides, instructor edition and report.

A chapter that ran already is run again only if something that it depends on has changed, and the build says what.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat

from coursekit.changes import dependencies, reason
from coursekit.execute import run_chapter
from coursekit.notebook import results
from coursekit.paths import BUILD, NOTEBOOKS
from coursekit.site import GLANCE, write_site
from coursekit.site.api import write_api
from coursekit.site.glance import write_glance
from coursekit.site.slides import write_slides
from coursekit.solutions import solved_notebook, write_instructor_edition
from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json
from rarft.system.machine import machine


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


def build_course(scale: str = "full", only: list[str] | None = None, fresh: bool = False) -> dict[str, Any]:
    """Build the course into build/: `run_chapters`, then `write_pages`. Returns the report."""
    report = run_chapters(scale, only, fresh)
    index = write_pages(report)
    print(f"course: {report['minutes']:.1f} min · {index} · {BUILD / 'report.json'}")
    return report


def run_chapters(scale: str = "full", only: list[str] | None = None, fresh: bool = False) -> dict[str, Any]:
    """Run the chapters that have to be, and write build/report.json. Returns the report. Raises ChapterError when
    a chapter fails.

    Args:
        only: numbers of chapters; all by default.
        fresh: run chapters again though nothing has changed.
    """
    listed = chapters(only)
    entries: dict[str, dict[str, Any]] = {}
    # of chapters that are not listed, too: a chapter that is may need them
    stamps = {path.name[:2]: _stamp(path) for path in chapters()}
    digests = {number: _results_digest(read_json(stamp)) for number, stamp in stamps.items() if stamp.exists()}
    for position, source in enumerate(listed, start=1):
        number = source.name[:2]
        entries[number] = _up_to_date(source, scale, digests, fresh, f"[{position}/{len(listed)}] {source.stem}")
        digests[number] = _results_digest(entries[number])
    report = _report(scale, listed, entries)
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


def _up_to_date(source: Path, scale: str, earlier: dict[str, str], fresh: bool, label: str) -> dict[str, Any]:
    """The stamp of a chapter's run, which has just been made if there was none, or none that still holds."""
    stamp = _stamp(source)
    now = dependencies(source, scale, earlier)
    entry = read_json(stamp) if stamp.exists() else {}
    why = "asked for" if fresh else reason(entry.get("dependencies"), now)
    if why is None:
        print(f"{label}: kept, nothing that it depends on has changed", flush=True)
        return entry
    print(f"{label} … ({why})", flush=True)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)  # a run that is stopped leaves none: what lies there is half of it
    entry = {"dependencies": now, **run_chapter(solved_notebook(source), stamp.with_name(source.name), scale)}
    write_json(stamp, entry)
    print(f"{label}: {entry['minutes']:.1f} min, {entry['peak_ram_gb']:.1f} GB", flush=True)
    return entry


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
