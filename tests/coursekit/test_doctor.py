"""What `rarft doctor` says when a need is not met, and how to fix it."""

import importlib
import types
from importlib.metadata import PackageNotFoundError

import numpy as np
import psutil
import pytest
import torch

from coursekit import doctor
from coursekit.doctor import Finding
from rarft.video import reader

RENDER = importlib.import_module("rarft.world.render")  # the package has a function of this name


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(("running", "right"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14, 0), False)])
def test_python(running, right, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", running)
    finding = doctor.python()
    assert finding.ok is right and "3.11, 3.12 or 3.13" in finding.fix


REQUIRES = ["numpy>=2", "torch>=2.8", "nosuchthing>=1; extra == 'course'", "av>=15; sys_platform == 'nowhere'"]


@pytest.fixture
def installed(monkeypatch):
    """Set the installed versions of packages; the library needs those of REQUIRES."""

    def install(**versions):
        def version(name):
            if name in versions:
                return versions[name]
            raise PackageNotFoundError(name)

        monkeypatch.setattr(doctor, "requires", lambda _: REQUIRES)
        monkeypatch.setattr(doctor, "version", version)

    return install


def test_packages_that_are_missing_or_too_old_are_named(installed):
    installed(numpy="2.2", torch="2.9")
    assert doctor.packages() == Finding("packages", True, "all there"), "neither extras nor other platforms count"
    installed(numpy="1.26")
    finding = doctor.packages()
    assert finding.ok is False and finding.found == "numpy 1.26 is not >=2; torch is missing"
    assert "make install" in finding.fix


def test_packages_of_the_course_are_needed_in_a_clone_only(installed, monkeypatch, tmp_path):
    installed(numpy="2.2", torch="2.9")
    monkeypatch.setattr(doctor, "NOTEBOOKS", tmp_path)
    finding = doctor.course_packages()
    assert finding.ok is False and finding.found == "nosuchthing is missing" and "course" in finding.fix
    monkeypatch.setattr(doctor, "NOTEBOOKS", tmp_path / "notebooks")
    assert doctor.course_packages().ok is None


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(doctor, "requires", raising(PackageNotFoundError("rarft")))
    assert doctor.packages().ok is False and doctor.packages().found == "rarft is not installed"


def test_the_cores_and_how_they_are_used(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.cpu().ok is None and doctor.cpu().found.startswith("1 cores (OMP_NUM_THREADS is 1); ")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert doctor.cpu().ok is True
    assert "50 million parameters runs in 3 processes of 1 thread, a larger one in 1 process of 3" in doctor.cpu().found


def test_little_memory_and_a_full_disk(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=1.2e9))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=0.5e9))
    memory, disk = doctor.memory(), doctor.disk()
    assert memory.ok is False and memory.found == "1.2 GB free" and "close programs" in memory.fix
    assert disk.ok is False and disk.found.startswith("0.5 GB free in ") and "make room" in disk.fix


def test_a_gpu_is_not_needed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.gpu().ok is None and "not needed" in doctor.gpu().fix
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert doctor.gpu() == Finding("GPU", True, "a GPU")


def test_video_that_cannot_be_written_or_reads_back_wrong(monkeypatch):
    assert doctor.video().ok is True
    read = reader.read_video
    black = types.SimpleNamespace(frames=np.zeros((4, 64, 64, 3), np.uint8))
    monkeypatch.setattr(reader, "read_video", lambda path: black)
    assert doctor.video().ok is False and "other frames" in doctor.video().found
    monkeypatch.setattr(reader, "read_video", read)
    monkeypatch.setattr(RENDER, "write_video", raising(OSError("no encoder")))
    finding = doctor.video()
    assert finding.ok is False and finding.found == "OSError: no encoder" and "av" in finding.fix


def test_an_import_that_fails(monkeypatch):
    monkeypatch.setattr(doctor, "import_module", raising(ImportError("torchvision::nms")))
    finding = doctor.imports()
    assert finding.ok is False and finding.found == "ImportError: torchvision::nms" and "make install" in finding.fix


def test_a_base_model_that_is_missing(monkeypatch, tmp_path):
    assert doctor.base_model().ok is True
    monkeypatch.setattr(doctor, "BASE", tmp_path)
    finding = doctor.base_model()
    assert finding.ok is False and finding.found == "missing" and "rarft train base" in finding.fix


def test_the_report_marks_what_is_missing_and_how_to_fix_it(monkeypatch, capsys):
    findings = [Finding("A", True, "fine"), Finding("B", None, "slow", "wait"), Finding("C", False, "gone", "get it")]
    monkeypatch.setattr(doctor, "NEEDS", [lambda finding=finding: finding for finding in findings])
    assert doctor.doctor() is False
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["ok A fine", "note B slow → wait", "FAIL C gone → get it", "not ready: fix what says FAIL"]
    monkeypatch.setattr(doctor, "NEEDS", doctor.NEEDS[:2])
    assert doctor.doctor() is True and capsys.readouterr().out.endswith("ready\n")
