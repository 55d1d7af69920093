"""The drawing of the library's layers and the table of what each chapter imports, in CONTRIBUTING.md.

python -m coursekit.architecture        # writes both anew, from pyproject.toml and the notebooks
"""

from __future__ import annotations

import tomllib
from collections import defaultdict

from coursekit.build import chapters
from coursekit.changes import chapter_code, imported_modules
from coursekit.notebook import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
WIDTH = 44  # columns of the drawing


def layers() -> list[list[str]]:
    """The packages of each layer, the highest first, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [contract] = [contract for contract in contracts if contract.get("containers") == ["rarft"]]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def drawing() -> str:
    """The layers as boxes: each imports from those below it. Packages in one box do not import from each other."""
    rows = [
        f"│ {'    '.join(f'{name}/' if is_package(name) else name for name in layer):<{WIDTH}} │" for layer in layers()
    ]
    line = "─" * (WIDTH + 2)
    return "\n".join(["```text", f"┌{line}┐", f"\n├{line}┤\n".join(rows), f"└{line}┘", "```"])


def is_package(name: str) -> bool:
    """Whether a name at the library's root is a folder."""
    return (ROOT / "rarft" / name).is_dir()


def chapter_table() -> str:
    """What each chapter imports from the library, by package."""
    lines = ["| chapter | imports from `rarft` |", "|---|---|"]
    for path in chapters():
        found: dict[str, set[str]] = defaultdict(set)
        for module in imported_modules(chapter_code(path)):
            package, *rest = module.removeprefix("rarft.").split(".")
            if module.startswith("rarft.") and is_module(module):
                found[package] |= {".".join(rest)} - {""}
        cells = [
            f"`{name}`" + (f" ({', '.join(sorted(parts))})" if parts else "") for name, parts in sorted(found.items())
        ]
        lines.append(f"| {path.stem[:2]} {path.stem[3:].replace('_', ' ')} | {', '.join(cells)} |")
    return "\n".join(lines)


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, and not something in one."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def page() -> str:
    """CONTRIBUTING.md with both parts as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    for name, part in (("layers", drawing()), ("chapters", chapter_table())):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{part}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
