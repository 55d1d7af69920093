"""Is this machine ready? Each need is looked at; what is missing is said, and how to fix it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from coursekit.paths import NOTEBOOKS, ROOT
from rarft.system.cores import SMALL, cores, plan_for
from rarft.system.files import BASE


@dataclass(frozen=True)
class Finding:
    """What was found of one need. ok: True, False, or None for "not needed, only slower without"."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def python() -> Finding:
    """The version of Python that runs."""
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", right, platform.python_version(), "install Python 3.11, 3.12 or 3.13 and delete .venv")


def packages() -> Finding:
    """The packages that the library cannot do without, as its own metadata lists them."""
    return _packages("packages", extra="", fix="run `make install`, or `pip install -U .` in a clone", needed=True)


def course_packages() -> Finding:
    """The packages of the notebooks and the course builds; needed in a clone of the repository only."""
    fix = "run `make install`, or `pip install -U '.[course,serve]'` in a clone"
    return _packages("course", extra="course", fix=fix, needed=NOTEBOOKS.exists())


def _packages(name: str, *, extra: str, fix: str, needed: bool) -> Finding:
    try:
        listed = requires("rarft") or []
    except PackageNotFoundError:
        return Finding(name, False, "rarft is not installed", fix)
    wrong = [problem for text in listed if (problem := _problem(Requirement(text), extra))]
    if wrong:
        return Finding(name, False if needed else None, "; ".join(wrong), fix)
    return Finding(name, True, "all there")


def _problem(need: Requirement, extra: str) -> str | None:
    """What is wrong with a requirement of an extra ("": of the library itself); None if nothing is, or it does not
    apply."""
    of_extra = need.marker is not None and "extra" in str(need.marker)
    if of_extra != bool(extra) or (need.marker is not None and not need.marker.evaluate({"extra": extra})):
        return None
    try:
        installed = version(need.name)
    except PackageNotFoundError:
        return f"{need.name} is missing"
    fits = need.specifier.contains(installed, prereleases=True)
    return None if fits else f"{need.name} {installed} is not {need.specifier}"


def cpu() -> Finding:
    """The number of cores, and how models use them."""
    count = cores()
    given = os.environ.get("OMP_NUM_THREADS")
    source = f"OMP_NUM_THREADS is {given}" if given else f"{os.cpu_count()} on this machine"
    small, large = plan_for(0), plan_for(SMALL + 1)
    found = (
        f"{count} cores ({source}); a model of at most {SMALL / 1e6:.0f} million parameters runs in "
        f"{small.processes} processes of {small.threads} thread, a larger one in 1 process of {large.threads} threads"
    )
    return Finding("CPU", True if count >= 2 else None, found, "with one core the live run takes twice as long")


def memory() -> Finding:
    """Free memory."""
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return Finding("RAM", free >= 4, f"{free:.1f} GB free", "close programs: the chapters need about 4 GB")


def disk() -> Finding:
    """Free space where the repository lies."""
    free = shutil.disk_usage(ROOT).free / 1e9
    return Finding("disk", free >= 3, f"{free:.1f} GB free in {ROOT}", "make room: packages and builds need about 3 GB")


def gpu() -> Finding:
    """A GPU that torch can use."""
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", True, torch.cuda.get_device_name())
    return Finding("GPU", None, "none", "not needed for the course; 7B models need one (chapter 12)")


def video() -> Finding:
    """A clip, encoded and decoded again: FFmpeg's encoder and decoder and the file system together."""
    import numpy as np

    from rarft.video.reader import read_video
    from rarft.world.render import write_video

    fix = "reinstall with `make install` (av)"
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames[4:] = 200
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip = read_video(write_video(frames, Path(folder) / "clip.mp4", fps=4))
    except Exception as error:  # whatever is broken here is what the report is for
        return Finding("video", False, f"{type(error).__name__}: {error}", fix)
    right = len(clip.frames) == 4 and int(clip.frames[-1].mean()) in range(190, 211)
    found = "H.264 written and read back" if right else "H.264 read back with other frames than were written"
    return Finding("video", right, found, fix)


def imports() -> Finding:
    """The parts of the library that import the large packages."""
    try:
        for name in ("rarft.models.load", "rarft.training.grpo", "rarft.rewards.encoder"):
            import_module(name)
    except Exception as error:  # as above
        return Finding("imports", False, f"{type(error).__name__}: {error}", "run `make install`")
    return Finding("imports", True, "torch, transformers, trl and peft load")


def base_model() -> Finding:
    """The weights that ship."""
    there = (BASE / "model.safetensors").exists()
    where = str(BASE) if there else "missing"
    return Finding("base model", there, where, "clone or install again, or `rarft train base --out data/base`")


NEEDS: tuple[Callable[[], Finding], ...] = (
    python,
    packages,
    course_packages,
    cpu,
    memory,
    disk,
    gpu,
    imports,
    video,
    base_model,
)


def doctor() -> bool:
    """Look at all needs and print what was found. Returns whether the course can run here."""
    ready = True
    for look_at in NEEDS:
        finding = look_at()
        mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
        fix = f" → {finding.fix}" if finding.ok is not True else ""
        print(f"{mark} {finding.name:11s} {finding.found}{fix}")
        ready &= finding.ok is not False
    print("ready" if ready else "not ready: fix what says FAIL")
    return ready
