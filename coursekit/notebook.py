"""The first cell of every chapter, and the results that chapters leave for the report."""

from __future__ import annotations

import json
import os
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

from coursekit import checks
from coursekit.paths import BUILD, ROOT
from rarft.system.cores import cores
from rarft.system.errors import InputError
from rarft.system.files import write_json

SCALES = ("full", "smoke")
SAMPLE_CLIPS = 12


def start(chapter: str, scale: str = "full") -> str:
    """Set a chapter up: check the scale, set the number of threads, and print what it runs on.

    Returns the scale. Raises InputError for an unknown one.
    """
    if scale not in SCALES:
        raise InputError(f"unknown SCALE {scale!r}; choose one of {', '.join(SCALES)}")
    import torch

    checks.chapter = chapter
    # TRL still uses names that transformers has deprecated: nothing that a reader could do about.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if os.environ.get("TQDM_DISABLE"):  # a course build: bars that are saved in a notebook stay where they began
        from transformers.utils import logging

        from rarft.system.upstream.of_transformers import no_loss_tables

        logging.disable_progress_bar()
        no_loss_tables()
    torch.set_num_threads(1)  # the models of the course are small, see rarft.system.cores
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    cpu = f"{cores()} core{'s' if cores() > 1 else ''}"
    print(f"chapter {chapter} · SCALE={scale} · {versions} · Python {platform.python_version()} · {cpu}")
    measured = measured_chapter(chapter)
    if measured:
        figures = f"{measured['minutes']:.1f} min, {measured['peak_ram_gb']:.1f} GB"
        print(f"measured at full scale: {figures} ({measured['machine']})")
    return scale


def sample_world() -> list:
    """The clips that ship in data/samples, with stories and samples (`rarft.world.dataset.WorldClip`), from the test
    split, in calm weather."""
    from rarft.world.dataset import make_world

    return make_world(ROOT / "data" / "samples", "test", SAMPLE_CLIPS, weather="calm")


def measured_chapter(chapter: str) -> dict | None:
    """Minutes and RAM of a chapter in the committed course build, or None before the first one."""
    path = ROOT / "data" / "results" / "course.json"
    if not path.exists():
        return None
    return json.loads(path.read_text(encoding="utf-8"))["chapters"].get(chapter)


def record(chapter: str, **values) -> None:
    """Leave named results of a chapter, JSON types, for later chapters and for build/report.json."""
    write_json(BUILD / "results" / f"{chapter}.json", values)


def results(chapter: str, build: Path = BUILD) -> dict | None:
    """What a chapter recorded in this build, or None if it has not run."""
    path = build / "results" / f"{chapter}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
