"""What a chapter depends on, and so whether it has to run again: its notebook, the modules that it imports, directly or
through others, the data that ships, the chapters whose results it reads, and the scale.

A chapter names those chapters in its notebook's metadata: `"rarft": {"needs": ["09"]}`. A chapter that spreads its work
over all cores says so there, too: `"cores": "all"`.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from coursekit.paths import ROOT

PACKAGES = ("rarft", "coursekit")
_COMMAND = re.compile(r'"rarft",\s*"([a-z-]+)"')  # sys.executable, "-m", "rarft", "infer", …
_DATA = re.compile(r'ROOT((?:\s*/\s*"[^"]+")+)')  # ROOT / "data" / "results" / "experiment.json"


def dependencies(notebook: Path, scale: str, earlier: Mapping[str, str]) -> dict[str, str]:
    """Everything that a chapter's results depend on, each with a digest: name → digest.

    Args:
        earlier: number → a digest of the results of each chapter before this one.
    """
    code = chapter_code(notebook)
    names = imported_modules(code)
    for command in _COMMAND.findall(code):
        names.add(f"rarft.cli.{command.replace('-', '_')}")
    files = {
        notebook,
        *(notebook.parent / "solutions").glob(f"{notebook.name[:2]}.md"),
        *(ROOT / "data" / "base").glob("*"),
        *(ROOT / "recipes").glob("*.yaml"),
    }
    files |= _shipped_data(code) | closure(names)
    parts = {str(path.relative_to(ROOT)): _digest(path) for path in sorted(files)}
    parts |= {f"chapter {n}": earlier[n] for n in needed_chapters(notebook) if n in earlier}
    return {**parts, "SCALE": scale, "Python": platform.python_version()}


def chapter_code(notebook: Path) -> str:
    """The Python code of a chapter."""
    chapter = nbformat.read(notebook, as_version=4)
    return "\n".join(_python(cell.source) for cell in chapter.cells if cell.cell_type == "code")


def needed_chapters(notebook: Path) -> list[str]:
    """The numbers of the chapters whose results a chapter reads."""
    return list(_metadata(notebook).get("needs", []))


def uses_all_cores(notebook: Path) -> bool:
    """Whether a chapter spreads its work over all cores by itself."""
    return _metadata(notebook).get("cores") == "all"


def _metadata(notebook: Path) -> dict[str, Any]:
    return nbformat.read(notebook, as_version=4).metadata.get("rarft", {})


def reason(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str | None:
    """Why a chapter has to run, in words; None if nothing that it depends on has changed."""
    if before is None:
        return "it has not run yet"
    changed = [name for name in now if name in before and before[name] != now[name]]
    added, removed = [name for name in now if name not in before], [name for name in before if name not in now]
    if "SCALE" in changed:
        return f"SCALE was {before['SCALE']}"
    reasons = [*(f"{n} changed" for n in changed), *(f"{n} is new" for n in added), *(f"{n} is gone" for n in removed)]
    if not reasons:
        return None
    rest = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return ", ".join(reasons[:2]) + rest


def closure(modules: Iterable[str]) -> set[Path]:
    """The files of these modules of the library, of all that they import, and the text files next to them.

    Imports inside functions count. The command line's own `__init__` imports every command, and is not followed: a
    chapter that calls one command depends on that command.
    """
    waiting, files = list(modules), set[Path]()
    while waiting:
        for path in _files_of(waiting.pop()):
            if path in files:
                continue
            files.add(path)
            if path.suffix == ".py" and path != ROOT / "rarft" / "cli" / "__init__.py":
                waiting += imported_modules(path.read_text(encoding="utf-8"))
    return files


def imported_modules(code: str) -> set[str]:
    """The modules of both packages that code imports; `from a import b` may mean a module `a.b`, and names both."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in PACKAGES}


def _files_of(module: str) -> list[Path]:
    """The file of a module, the `__init__` of each package around it, and the text files that its package reads."""
    parts = module.split(".")
    packages = [ROOT.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [folder / "__init__.py" for folder in packages if (folder / "__init__.py").exists()]
    own = ROOT.joinpath(*parts).with_suffix(".py")
    if own.exists():
        files.append(own)
        files += sorted(path for path in own.parent.iterdir() if path.suffix in (".html", ".txt"))
    return files


def _python(source: str) -> str:
    """The source of a cell without IPython's magics and shell lines."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))


def _shipped_data(code: str) -> set[Path]:
    paths = (ROOT.joinpath(*re.findall(r'"([^"]+)"', match)) for match in _DATA.findall(code))
    files = set()
    for path in paths:
        files |= {path} if path.is_file() else {p for p in path.glob("*.json") if p.is_file()}
    return files


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
