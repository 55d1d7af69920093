"""Executed chapters → a site of plain HTML files that opens from disk and asks no network for anything.

Formulae are MathML, which browsers draw by themselves. Every page leads to the chapter before and after; the index
lists all sections and searches their text.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode

from rarft.course.notebook import ROOT
from rarft.course.solutions import with_folded_solutions
from rarft.files import read_text, write_text

GLOSSARY = "../README.md#glossary"  # what chapters link to where a word is new

# Pages follow the reader's choice of light or dark; figures keep their white ground.
DARK = (
    "@media (prefers-color-scheme:dark){:root{color-scheme:dark;--jp-layout-color0:#161616;--jp-layout-color1:#161616;"
    "--jp-layout-color2:#262626;--jp-cell-editor-background:#202020;--jp-cell-editor-border-color:#3a3a3a;"
    "--jp-rendermime-table-row-background:#202020;--jp-rendermime-table-row-hover-background:#2b2b2b;"
    "--jp-border-color2:#555;--jp-ui-font-color0:#e6e6e6;--jp-ui-font-color1:#e6e6e6;--jp-content-font-color0:#e6e6e6;"
    "--jp-content-font-color1:#e6e6e6;--jp-content-link-color:#8ab8ff;--jp-mirror-editor-keyword-color:#7fc7ff;"
    "--jp-mirror-editor-string-color:#e0a07a;--jp-mirror-editor-comment-color:#8fb38f;"
    "--jp-mirror-editor-punctuation-color:#9db4cc;--jp-mirror-editor-number-color:#b5d6a0;--jp-mirror-editor-operator-color:#d0a8e8;"
    "--jp-mirror-editor-variable-color:#e6e6e6;--jp-mirror-editor-builtin-color:#9fd0c0}"
    "body{background:#161616;color:#e6e6e6}a{color:#8ab8ff}img{background:#fff}"
    "li ul{color:#bbb}details .highlight{background:#202020}}"
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
    "li ul{font-size:.9rem;color:#444}input{font:inherit;width:100%;padding:.3rem;box-sizing:border-box}"
)
PAGE_STYLE = STYLE + DARK
GLANCE, API = "glance.html", "api/rarft.html"  # pages beside the chapters; the index lists those that are there
NAVIGATION_STYLE = (
    "nav.chapters{display:flex;justify-content:space-between;gap:1rem;max-width:60rem;margin:1rem auto;"
    "padding:0 2rem;font:15px/1.4 system-ui,sans-serif}nav.chapters span{flex:1;text-align:center}"
    "math[display=block]{margin:.8em 0;font-size:1.1em;overflow-x:auto}"
    "details{margin:.4em 0}details .highlight{margin:.6em 0;padding:.6em;background:#f7f7f7;overflow-x:auto}"
    "a[title]{text-decoration-style:dotted}img{max-width:100%}"
    # Jupyter's own colours have too little contrast for small text.
    ":root{--jp-mirror-editor-number-color:#006b00;--jp-mirror-editor-operator-color:#8a15cf;"
    "--jp-mirror-editor-comment-color:#2b6b6b}.jp-InputPrompt,.jp-OutputPrompt{color:#595959!important;opacity:1!important}"
    ".jp-RenderedHTMLCommon a:link,.jp-RenderedHTMLCommon a:visited{text-decoration:underline}"
    ".jp-RenderedHTMLCommon table{display:block;overflow-x:auto}"
    # A phone: no column for prompts, code that scrolls within its box.
    "@media (max-width:600px){.jp-InputPrompt,.jp-OutputPrompt,.jp-OutputArea-prompt{display:none!important}"
    "body.jp-Notebook,.jp-Cell{padding:4px!important}nav.chapters{padding:0 4px}"
    ".jp-InputArea,.jp-OutputArea-child{min-width:0;max-width:100%}"
    ".jp-InputArea-editor,.jp-OutputArea-output,.jp-RenderedText pre{overflow-x:auto;min-width:0}}"
    "@media print{nav.chapters{display:none}.jp-Cell{break-inside:avoid}}"
)
SEARCH = """
const found = document.getElementById("found");
document.getElementById("query").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/).filter(word => word.length > 1);
  found.replaceChildren(...(words.length ? SECTIONS : [])
    .filter(section => words.every(word => section.text.toLowerCase().includes(word)))
    .slice(0, 30)
    .map(section => {
      const link = document.createElement("a");
      link.href = section.href;
      link.textContent = section.title;
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
});
"""
# Display formulae, then those within a line: an opening $ is not followed by a space, a closing one not preceded by it.
_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", re.DOTALL)
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A chapter of the site. sections: (anchor, title, text) of each heading."""

    number: str
    file: str
    title: str
    minutes: float
    body: str
    sections: list[tuple[str, str, str]]


def write_site(executed: Path, folder: Path, report: dict) -> Path:
    """Convert every executed chapter of the report and write the index. Returns the index's path."""
    table = read_text(ROOT / "README.md").partition("## Glossary\n")[2].rpartition("\n\n")[0]
    words = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE))
    write_text(folder / "glossary.html", _page("Glossary", f"<h1>Glossary</h1>{markdown2html(table)}"))
    listed = [path for path in sorted(executed.glob("*.ipynb")) if path.name[:2] in report["chapters"]]
    pages = [_convert(path, report["chapters"][path.name[:2]], words) for path in listed]
    for page, before, after in zip(pages, [None, *pages], [*pages[1:], None], strict=False):
        write_text(folder / page.file, _with_navigation(page, before, after))
    beside = {GLANCE: "The result at a glance", "glossary.html": "Glossary", API: "Reference of the library"}
    there = {file: title for file, title in beside.items() if (folder / file).exists()}
    return write_text(folder / "index.html", _index(pages, report, there))


def _convert(path: Path, chapter: dict, words: dict[str, str]) -> Page:
    notebook = with_folded_solutions(nbformat.read(path, as_version=4))
    _freeze_widgets(notebook)
    # Papermill's own cell repeats the one above it.
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    title = chapter["title"]
    formulae = _take_out_formulae(notebook)
    # No address of a script: nothing on the page is asked of a network.
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    for mark, formula in formulae.items():
        body = body.replace(mark, formula)
    body = body.replace("<table>", '<table tabindex="0">')  # wide ones scroll, also by keyboard
    body = _with_meanings(body, words)
    return Page(path.name[:2], f"{path.stem}.html", title, chapter["minutes"], body, _sections(body))


def _with_meanings(body: str, words: dict[str, str]) -> str:
    """Links to the glossary lead to its page, and show what the word means under the mouse."""

    def link(match: re.Match) -> str:
        meaning = meaning_of(BeautifulSoup(match[1], "html.parser").get_text(), words)
        title = f' title="{html.escape(meaning)}"' if meaning else ""
        return f'<a href="glossary.html"{title}>{match[1]}</a>'

    return re.sub(rf'<a href="{re.escape(GLOSSARY)}">(.*?)</a>', link, body, flags=re.DOTALL)


def meaning_of(text: str, words: dict[str, str]) -> str | None:
    """The glossary's entry for a word in any of its forms: `grounds` for `grounding`; None if it has none."""

    def stems(phrase: str) -> list[str]:
        return [word.replace("_", "-")[:5] for word in re.findall(r"[\w@-]+", phrase.lower())]

    wanted = stems(text)
    return next((meaning for word, meaning in words.items() if wanted and wanted[-1] in stems(word)), None)


def _freeze_widgets(notebook: NotebookNode) -> None:
    """Show the pictures of each widget as they were saved: its own code would have to come from a network."""
    saved = notebook.metadata.pop("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})

    def pictures(model: str) -> list[str]:
        state = saved[model]
        found = [buffer["data"] for buffer in state.get("buffers", []) if state["model_name"] == "ImageModel"]
        inner = [child.removeprefix("IPY_MODEL_") for child in state["state"].get("children", [])]
        return found + [picture for child in inner for picture in pictures(child)]

    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json")
        if view:
            images = [
                f'<img alt="The widget at its start; it moves in JupyterLab" src="data:image/png;base64,{picture}">'
                for picture in pictures(view["model_id"])
            ]
            output["data"] = {"text/html": "".join(images)}


def _take_out_formulae(notebook: NotebookNode) -> dict[str, str]:
    """Replace the formulae of text cells by marks, which Markdown leaves alone. Returns mark → MathML."""
    formulae: dict[str, str] = {}

    def mark(match: re.Match) -> str:
        block, inline = match.groups()
        display = "block" if block else "inline"
        name = f"FORMULA{len(formulae):03d}"
        formulae[name] = convert((block or inline).strip(), display=display)
        return f"\n\n{name}\n\n" if block else name

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts = _CODE.split(cell.source)
            parts[::2] = [_FORMULA.sub(mark, text) for text in parts[::2]]
            cell.source = "".join(parts)
    return formulae


def _sections(body: str) -> list[tuple[str, str, str]]:
    """Anchor, title and text of each heading of an exported chapter."""
    soup = BeautifulSoup(body, "html.parser")
    sections: list[tuple[str, str, str]] = []
    for cell in soup.select(".jp-Cell"):
        for heading in cell.select("h1[id], h2[id], h3[id]"):
            title = heading.get_text().replace("¶", "").strip()
            sections.append((str(heading["id"]), title, title))
        source = cell.select_one(".jp-RenderedMarkdown, .jp-InputArea-editor")
        if source is not None and sections:
            anchor, title, text = sections[-1]
            sections[-1] = (anchor, title, f"{text} {source.get_text(' ', strip=True)}")
    return sections


def _with_navigation(page: Page, before: Page | None, after: Page | None) -> str:
    def link(other: Page | None, text: str) -> str:
        return (
            "" if other is None else f'<a href="{html.escape(other.file)}">{text.format(html.escape(other.title))}</a>'
        )

    bar = (
        f'<span>{link(before, "← {}")}</span><span><a href="index.html">Contents</a></span>'
        f"<span>{link(after, '{} →')}</span></nav>"
    )
    above, below = (f'<nav class="chapters" aria-label="chapters, {place}">{bar}' for place in ("above", "below"))
    head, body_tag, rest = page.body.partition("<body")
    attributes, end, content = rest.partition(">")
    styled = head.replace("</head>", f"<style>{NAVIGATION_STYLE}{DARK}</style></head>")
    return f"{styled}{body_tag}{attributes}{end}{above}{content.replace('</body>', f'{below}</body>')}"


def _index(pages: list[Page], report: dict, beside: dict[str, str]) -> str:
    chapters, searched = [], []
    for page in pages:
        inner = [(anchor, title) for anchor, title, _ in page.sections[1:] if title != "Summary"]
        items = "".join(
            f'<li><a href="{html.escape(page.file)}#{html.escape(anchor)}">{html.escape(title)}</a></li>'
            for anchor, title in inner
        )
        chapters.append(
            f'<li><a href="{html.escape(page.file)}">{page.number} · {html.escape(page.title)}</a>'
            f" ({page.minutes:.1f} min)<details><summary>sections</summary><ul>{items}</ul></details></li>"
        )
        searched += [
            {"href": f"{page.file}#{anchor}", "title": f"{page.number} · {title}", "text": text}
            for anchor, title, text in page.sections
        ]
    links = " · ".join(f'<a href="{file}">{html.escape(title)}</a>' for file, title in beside.items())
    data = json.dumps(searched, ensure_ascii=False).replace("<", "\\u003c")
    body = (
        "<h1>Learning to Refuse</h1>"
        f"<p>Built at SCALE={html.escape(report['scale'])} on {html.escape(report['machine'])}.</p>"
        '<p><label>Search <input id="query" type="search" autocomplete="off"></label></p><ul id="found"></ul>'
        f"<ul>{''.join(chapters)}</ul><p>{links}</p>"
        f"<script>const SECTIONS = {data};{SEARCH}</script>"
    )
    return _page("Learning to Refuse", body)


def _page(title: str, body: str) -> str:
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{PAGE_STYLE}</style>"
    )
    return f'<!doctype html><html lang="en">{head}<main>{body}</main></html>'
