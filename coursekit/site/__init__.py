"""The course as a site: executed chapters, glossary and plans, through Sphinx and MyST-NB. It opens from disk and asks
no network for anything."""

from __future__ import annotations

import html
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coursekit.paths import NOTEBOOKS, ROOT
from coursekit.site.policy import set_policy
from coursekit.site.sources import glossary, glossary_page, write_chapter
from coursekit.site.sphinx import run_sphinx
from rarft.system.files import read_text, write_text

TEACHING = ("plans", "questions", "capstone")
# Pages of the site that Sphinx does not write: file → title.
GLANCE = "glance.html"
OTHER_PAGES = {GLANCE: "The result at a glance", "api/rarft.html": "Reference of the library"}


def write_site(executed: Path, folder: Path, report: Mapping[str, Any]) -> Path:
    """Make the site of all executed chapters of a report. Returns its index's path.

    Args:
        executed: folder of the executed notebooks.
        folder: of the site; the pages of OTHER_PAGES that lie there are linked, and get the site's policy.
        report: of the course build, see `coursekit.build.run_chapters`.

    Raises:
        InputError: with Sphinx's own words if it makes no pages.
    """
    chapters = [path for path in sorted(executed.glob("*.ipynb")) if path.name[:2] in report["chapters"]]
    others = {file: title for file, title in OTHER_PAGES.items() if (folder / file).exists()}
    words = glossary()
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place)
        for path in chapters:
            write_chapter(path, sources / path.name, words)
        write_text(sources / "glossary.md", glossary_page(words))
        write_text(sources / "troubleshooting.md", read_text(ROOT / "TROUBLESHOOTING.md"))
        for name in TEACHING:
            write_text(sources / "teaching" / f"{name}.md", read_text(NOTEBOOKS / "teaching" / f"{name}.md"))
        with zipfile.ZipFile(sources / "notebooks.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(NOTEBOOKS.glob("*.ipynb")):
                packed.write(path, f"notebooks/{path.name}")
        write_text(sources / "index.md", _index([path.stem for path in chapters], report, others))
        run_sphinx("html", sources, folder)
    set_policy(folder)
    return folder / "index.html"


def _index(chapters: list[str], report: Mapping[str, Any], others: Mapping[str, str]) -> str:
    rows = [f"| [](<{name}.ipynb>) | {report['chapters'][name[:2]]['minutes']:.1f} |" for name in chapters]
    links = [f'<a href="{file}">{html.escape(title)}</a>' for file, title in others.items()]
    links.append("[the notebooks to work in](notebooks.zip), without solutions")
    around = ["glossary", "troubleshooting", *(f"teaching/{name}" for name in TEACHING)]
    machine = f"Built at SCALE={report['scale']} on {report['machine']}."
    if report.get("jobs", 1) > 1:
        machine += f" Up to {report['jobs']} chapters ran at the same time."
    return "\n".join(
        [
            "# Learning to Refuse",
            "",
            machine.replace("<", "&lt;"),
            "",
            *["| chapter | minutes |", "|---|---|", *rows, ""],
            " · ".join(links),
            "",
            *["```{toctree}", ":hidden:", ":caption: Chapters", "", *chapters, "```", ""],
            *["```{toctree}", ":hidden:", ":caption: Around them", "", *around, "```", ""],
        ]
    )
