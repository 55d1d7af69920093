"""Is this machine ready? Each check says what is wrong and how to fix it."""

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

from coursekit.notebook import ROOT
from rarft.system.files import BASE


@dataclass(frozen=True)
class Check:
    """ok: True, False, or None for "not needed, only slower without"."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def python() -> Check:
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", right, platform.python_version(), "install Python 3.11, 3.12 or 3.13 and delete .venv")


def packages() -> Check:
    """The packages that the library cannot do without, as its own metadata lists them."""
    return _packages("packages", extra="", fix="run `make install`, or `pip install -U .` in a clone", needed=True)


def course_packages() -> Check:
    """The packages of the notebooks and the course builds; needed in a clone of the repository only."""
    fix = "run `make install`, or `pip install -U '.[course,serve]'` in a clone"
    return _packages("course", extra="course", fix=fix, needed=(ROOT / "notebooks").exists())


def _packages(name: str, *, extra: str, fix: str, needed: bool) -> Check:
    try:
        listed = requires("rarft") or []
    except PackageNotFoundError:
        return Check(name, False, "rarft is not installed", fix)
    wrong = [problem for text in listed if (problem := _problem(Requirement(text), extra))]
    if wrong:
        return Check(name, False if needed else None, "; ".join(wrong), fix)
    return Check(name, True, "all there")


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
    return (
        None
        if need.specifier.contains(installed, prereleases=True)
        else f"{need.name} {installed} is not {need.specifier}"
    )


def cores() -> Check:
    count = os.cpu_count() or 1
    return Check(
        "CPU", True if count >= 2 else None, f"{count} cores", "with one core the live run takes twice as long"
    )


def memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return Check("RAM", free >= 4, f"{free:.1f} GB free", "close programs: the chapters need about 4 GB")


def disk() -> Check:
    free = shutil.disk_usage(ROOT).free / 1e9
    return Check("disk", free >= 3, f"{free:.1f} GB free in {ROOT}", "make room: packages and builds need about 3 GB")


def gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("GPU", True, torch.cuda.get_device_name())
    return Check("GPU", None, "none", "not needed for the course; 7B models need one (chapter 12)")


def video() -> Check:
    """Encode a clip, decode it again: FFmpeg's encoder and decoder and the file system together."""
    import numpy as np

    from rarft.video.reader import read_video
    from rarft.world.render import write_video

    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames[4:] = 200
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip = read_video(write_video(frames, Path(folder) / "check.mp4", fps=4))
    except Exception as error:  # whatever is broken here is what the report is for
        return Check("video", False, f"{type(error).__name__}: {error}", "reinstall with `make install` (av)")
    right = len(clip.frames) == 4 and int(clip.frames[-1].mean()) in range(190, 211)
    return Check("video", right, "H.264 written and read back", "reinstall with `make install` (av)")


def imports() -> Check:
    try:
        for name in ("rarft.models.load", "rarft.training.grpo", "rarft.rewards.encoder"):
            import_module(name)
    except Exception as error:  # as above
        return Check("imports", False, f"{type(error).__name__}: {error}", "run `make install`")
    return Check("imports", True, "torch, transformers, trl and peft load")


def base_model() -> Check:
    there = (BASE / "model.safetensors").exists()
    where = str(BASE) if there else "missing"
    return Check("base model", there, where, "clone or install again, or `rarft train base --out data/base`")


CHECKS: tuple[Callable[[], Check], ...] = (
    python,
    packages,
    course_packages,
    cores,
    memory,
    disk,
    gpu,
    imports,
    video,
    base_model,
)


def doctor() -> bool:
    """Run all checks and print them. Returns whether the course can run here."""
    ready = True
    for make in CHECKS:
        check = make()
        mark = {True: "ok  ", False: "FAIL", None: "note"}[check.ok]
        print(f"{mark} {check.name:11s} {check.found}" + (f" → {check.fix}" if check.ok is not True else ""))
        ready &= check.ok is not False
    print("ready" if ready else "not ready: fix what says FAIL")
    return ready
