"""The library without the repository: a wheel, in an environment that has its dependencies and none of the extras.

The course is no part of it; the source distribution has it, for the tests.
"""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from coursekit import ROOT
from rarft import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {Requirement(text).name for texts in PROJECT["optional-dependencies"].values() for text in texts}
# What the packages of the extras are imported as; some come with others and have no names of their own.
IMPORTED = {name.replace("-", "_") for name in EXTRAS} - {"import_linter"} | {"importlinter", "IPython"}
# transformers and accelerate import this one where they find it, and do without it where they do not.
IMPORTED -= {"tensorboard"}
COMMANDS = [module.__name__.rpartition(".")[2].replace("_", "-") for module in cli.COMMANDS]
OF_THE_COURSE = PROJECT["entry-points"]["rarft.commands"]  # commands that need the repository
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


def test_the_course_is_not_in_the_wheel(empty):
    python, folder = empty
    [wheel] = folder.glob("rarft-*.whl")
    assert {name.split("/")[0].partition("-")[0] for name in zipfile.ZipFile(wheel).namelist()} == {"rarft"}
    done = subprocess.run(
        [python, "-c", "import coursekit"], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT
    )
    assert "No module named 'coursekit'" in done.stderr


def statuses(empty, *lines):
    """What `rarft` says to each of these command lines, and its exit status, in one process."""
    code = (
        "import sys\nfrom rarft.cli import main\n"
        f"for line in {[list(line) for line in lines]!r}:\n"
        "    try:\n        main(line)\n"
        "    except SystemExit as ended:\n        print('exit status', ended.code, flush=True)\n"
    )
    python, folder = empty
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    found = re.findall(r"(.*?)exit status (\d+)\n", done.stdout, re.DOTALL)
    assert len(found) == len(lines), done.stderr
    return [(said, int(status)) for said, status in found], done.stderr


def test_commands_of_the_course_are_not_offered(empty):
    ((said, status), *others), errors = statuses(empty, ["--help"], *([name] for name in OF_THE_COURSE))
    assert status == 0 and set(re.findall(r"^ {4}([a-z][\w-]+)", said, re.MULTILINE)) == set(COMMANDS)
    assert set(OF_THE_COURSE) == {"course", "doctor"} and others == [("", 2), ("", 2)]
    assert all(f"invalid choice: '{name}'" in errors for name in OF_THE_COURSE)


def test_every_other_command_has_help(empty):
    found, _ = statuses(empty, *([command, "--help"] for command in COMMANDS))
    for command, (said, status) in zip(COMMANDS, found, strict=True):
        assert status == 0 and " ".join(said.split()).startswith(f"usage: rarft {command} "), command


def test_infer_on_a_video(empty):
    clip = ROOT / "data" / "samples" / "clips" / "00000.mp4"
    done = run(empty, "infer", "--video", clip, "--query", "the red ring grows", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in ("grounds", "refuses")


def test_lint(empty):
    done = run(empty, "lint", ROOT / "data" / "samples" / "hi_vtg.json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_the_source_distribution_run_with_the_course_in_it(tmp_path):
    """They import it; what lies in the repository alone, such as notebooks, only some of them need."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    [packed] = tmp_path.glob("rarft-*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = packed.with_name(packed.name.removesuffix(".tar.gz"))
    for package in ("coursekit", "rarft"):
        files = [path.relative_to(ROOT) for path in (ROOT / package).rglob("*.*") if "__pycache__" not in path.parts]
        assert files and all((unpacked / path).exists() for path in files)
    here = {**ENVIRONMENT, "PYTHONPATH": str(unpacked)}
    tests = ["tests/test_metrics.py", "tests/coursekit/test_doctor.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=unpacked, env=here)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_the_library_and_all_extras():
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    full = {str(Requirement(line)) for line in listed if line.strip() and not line.startswith("#")}
    texts = [*PROJECT["dependencies"], *(t for extra in PROJECT["optional-dependencies"].values() for t in extra)]
    assert full == {str(Requirement(text)) for text in texts}
