"""Executed chapters → a site of plain HTML files that opens from disk."""

from __future__ import annotations

import html
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from rarft.course.notebook import ROOT
from rarft.files import write_text

GLOSSARY = "../README.md#words"  # what chapters link to where a word is new

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
)


def write_site(executed: Path, folder: Path, report: dict) -> Path:
    """Convert every executed chapter of the report and write the index. Returns the index's path."""
    exporter = HTMLExporter()
    words = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Words\n")[2].rpartition("\n\n")[0]
    write_text(folder / "words.html", _page("Words", f"<h1>Words</h1>{markdown2html(words)}"))
    rows = []
    for notebook in sorted(executed.glob("*.ipynb")):
        chapter = report["chapters"].get(notebook.name[:2])
        if chapter is None:
            continue
        body, _ = exporter.from_filename(str(notebook))
        write_text(folder / f"{notebook.stem}.html", body.replace(GLOSSARY, "words.html"))
        rows.append(
            f'<tr><td>{html.escape(notebook.name[:2])}</td><td><a href="{html.escape(notebook.stem)}.html">'
            f"{html.escape(chapter['title'])}</a></td><td>{chapter['minutes']:.1f}</td></tr>"
        )
    index = (
        "<h1>Learning to Refuse</h1>"
        f"<p>Built at SCALE={html.escape(report['scale'])} on {html.escape(report['machine'])}.</p>"
        f"<table><tr><th></th><th>Chapter</th><th>Minutes</th></tr>{''.join(rows)}</table>"
        '<p><a href="words.html">Words</a></p>'
    )
    return write_text(folder / "index.html", _page("Learning to Refuse", index))


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{body}</html>'
