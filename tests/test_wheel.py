"""The library without the repository: a wheel, in an environment that has its dependencies and none of the extras."""

import json
import os
import shutil
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from coursekit import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {Requirement(text).name for texts in PROJECT["optional-dependencies"].values() for text in texts}
# What the packages of the extras are imported as; some come with others and have no names of their own.
IMPORTED = {name.replace("-", "_") for name in EXTRAS} - {"import_linter"} | {"importlinter", "IPython"}
# transformers and accelerate import this one where they find it, and do without it where they do not.
IMPORTED -= {"tensorboard"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An environment with the wheel alone: its dependencies are taken from this one, the extras are hidden."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
    )
    [wheel] = folder.glob("rarft-*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    own = next((folder / "env").rglob("site-packages"))
    shutil.unpack_archive(wheel, own, "zip")
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    (own / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class WithoutExtras(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name in {sorted(IMPORTED)!r} else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras\n"
    )
    return python, folder


def run(empty, *arguments):
    python, folder = empty
    command = [python, "-m", "rarft", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)


def test_it_is_the_wheels_library_that_runs_and_extras_are_missing(empty):
    python, folder = empty
    code = "import rarft, rarft.system.files as f; print(rarft.__file__); print(f.BASE); import nbformat"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    package, base = done.stdout.split()
    assert Path(package).is_relative_to(folder) and Path(base).is_relative_to(folder)
    assert "nbformat" in done.stderr, "an extra that can be imported proves nothing"


def test_doctor(empty):
    done = run(empty, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready" in done.stdout.splitlines()[-1]


def test_infer_on_a_video(empty):
    clip = ROOT / "data" / "samples" / "clips" / "00000.mp4"
    done = run(empty, "infer", "--video", clip, "--query", "the red ring grows", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in ("grounds", "refuses")


def test_lint(empty):
    done = run(empty, "lint", ROOT / "data" / "samples" / "hi_vtg.json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_has_help(empty):
    for command in ("world", "build-hivtg", "build-ss", "statistics", "train", "evaluate", "course"):
        done = run(empty, command, "--help")
        assert done.returncode == 0 and done.stdout.startswith("usage: rarft"), command


def test_requirements_are_the_library_and_all_extras():
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    full = {str(Requirement(line)) for line in listed if line.strip() and not line.startswith("#")}
    texts = [*PROJECT["dependencies"], *(t for extra in PROJECT["optional-dependencies"].values() for t in extra)]
    assert full == {str(Requirement(text)) for text in texts}
