"""Hostile texts in every place that a page, a widget or a table shows: opened in headless Chromium.

    python benchmarks/faults/pages.py       # two minutes; needs Chromium

Queries, answers, corrections, file names, names of models and of students are markup that runs a script, fetches
a picture, leaves the page or breaks a table. For each page: did a script run, did a request leave, is each text there
as text? Writes data/results/faults.json, key "pages".
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from nbformat import v4
from table import keep

from coursekit import ROOT, sample_world
from coursekit.grade import Mark, page_of
from coursekit.site import write_site
from coursekit.site.glance import SYSTEMS, write_glance
from coursekit.site.policy import set_policy
from coursekit.site.slides import write_slides
from coursekit.widgets import annotate, clip_player
from rarft.evaluation import Answer, Judges, Prediction
from rarft.evaluation.reporting import Scoring, write_report
from rarft.schema import Sample
from rarft.system.files import write_json, write_text
from rarft.video import read_video

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SERVER = "attack.test"  # nobody has this name: RFC 6761
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
HIT = "document.title='hit'"
ATTACKS = (
    f"<script>{HIT}</script>",
    f"</script><script>{HIT}</script>",
    f'<img src=x onerror="{HIT}">',
    f"\"'><svg onload={HIT}>",
    f'<iframe srcdoc="<script>parent.{HIT}</script>"></iframe>',
    f"<details open ontoggle={HIT}>",
    f"<img src=http://{SERVER}/1.png>",
    f"![a](http://{SERVER}/2.png)",
    f"[a](javascript:{HIT})",
    f"<meta http-equiv=refresh content='0;url=http://{SERVER}/3'>",
    f"<base href=http://{SERVER}/4/>",
    f"<link rel=stylesheet href=http://{SERVER}/5.css>",
    f"<style>@import 'http://{SERVER}/6.css';</style>",
    f"<style>*{{background:url(http://{SERVER}/7.png)}}</style>",
    "<!-- <plaintext> ]]> </textarea></title></select>",
    "{{ 7 * 7 }} {% raw %} ${7*7} &lt;b&gt; &#124;",
    "| a | b | `c | d` \\| e",
    "from $5 to $\\frac{$ _6_ $$",
    "\u202egnp.exe \u200b \u2028",
)


def opened(browser: str, address: str) -> tuple[str, list[str]]:
    """A page as it is after five seconds of its time, and what it asked the attacker's server for."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "net.json"
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            + ["--no-first-run", f"--host-resolver-rules=MAP {SERVER} ~NOTFOUND", f"--user-data-dir={folder}/profile"]
            + [f"--log-net-log={log}", "--virtual-time-budget=30000", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return done.stdout, sorted(set(re.findall(rf'"(https?://{SERVER}[^"]*)"', log.read_text(errors="replace"))))


def judged(browser: str, address: str, shown: list[str]) -> dict[str, Any]:
    """What a page did that it must not, and which of the texts that it must show it does not."""
    page, requests = opened(browser, address)
    text = " ".join(BeautifulSoup(page, "html.parser").get_text().split())
    missing = [attack for attack in shown if " ".join(attack.split()) not in text]
    return {"ran": bool(re.search(r"<title>\s*hit", page)), "requests": requests, "not_shown": missing}


def predictions() -> list[Prediction]:
    """Three for each attack: in the query, the answer and the correction, of a video that has it in its name."""
    found = []
    for attack in ATTACKS:
        video = f"{attack.replace('/', '-')}.mp4"
        irrelevant = Sample(video, attack, duration=9.0, answer=attack, correction=attack)
        refusal = f"<think>{attack}</think><answer>no : {attack}</answer><correction>{attack}</correction>"
        found += [Prediction(irrelevant, Answer(text)) for text in (refusal, "<answer>1 to 2</answer>")]
        found.append(Prediction(replace(sample_world()[0].group.relevant, query=attack), Answer(attack)))
    return found


def report(folder: Path) -> Path:
    about = {"model": " ".join(ATTACKS), "data": " ".join(ATTACKS)}
    systems = {name: predictions() for name in (about["model"], *ATTACKS)}
    write_report(systems, folder, about=about, judges=Judges(about=" ".join(ATTACKS)), scoring=Scoring())
    return folder / "report.html"


def marks(folder: Path) -> Path:
    rows = [Mark(attack, "00", attack, attack, attack) for attack in ATTACKS]
    return write_text(folder / "marks.html", page_of(" ".join(ATTACKS), rows))


def glance(folder: Path) -> Path:
    """The page with the player, whose first query and answers are all attacks at once."""
    build, everything = folder / "build", " ".join(ATTACKS)
    test = build / "world" / "test"
    shutil.copytree(ROOT / "data" / "samples", test)
    rows = json.loads((test / "hi_vtg.json").read_text())[:1]
    rows[0]["query_text"] = rows[0]["GRPO"][0]["q"] = everything
    write_json(test / "hi_vtg.json", rows)
    write_json(build / "results" / "09.json", {"before": {}})
    answers = [
        {"video": str(test / rows[0]["video"]), "query": q["q"], "completion": f"<answer>no : {everything}</answer>"}
        for q in rows[0]["GRPO"]
    ]
    for name in SYSTEMS:
        write_text(build / "predictions" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in answers))
    page = write_glance(folder / "glance.html", build)
    assert page is not None
    set_policy(folder)
    return page


def widgets(folder: Path) -> Path:
    """What the widgets give the notebook as HTML, put into a page as a notebook does, without a policy."""
    clip, sample = read_video(sample_world()[0].path), sample_world()[0].group.relevant
    player = clip_player(clip, dict.fromkeys(ATTACKS, sample.spans[0]))
    player.children[1].value = int(sample.spans[0].start * len(clip.frames) / clip.duration) + 1
    shown = [player.children[2].value]
    for attack in ATTACKS:
        box = annotate(clip, replace(sample, query=attack), folder / "rows.jsonl")
        _, query, answer, categories, button, message = box.children
        query.value = answer.value = attack + " edited"
        categories.value = [categories.options[0][1]]
        button.click()
        shown.append(message.value)
    return write_text(folder / "widgets.html", "<!doctype html><title>w</title><body>" + "<hr>".join(shown))


def chapter(folder: Path) -> tuple[Path, dict[str, Any]]:
    """An executed chapter whose outputs say all attacks: as printed text, as a value, and as a Markdown table."""
    table = "\n".join(["| query |", "|---|", *(f"| {attack.replace('|', '&#124;')} |" for attack in ATTACKS)])
    outputs = [
        v4.new_output("stream", text="\n".join(ATTACKS)),
        *(v4.new_output("execute_result", {"text/plain": attack}) for attack in ATTACKS),
        v4.new_output("display_data", {"text/markdown": table, "text/plain": "a table"}),
    ]
    cells = [v4.new_markdown_cell("# 01 · A chapter\n\n## A section"), v4.new_code_cell("1", outputs=outputs)]
    path = folder / "executed" / "01_a_chapter.ipynb"
    write_text(path, nbformat.writes(v4.new_notebook(cells=cells, metadata=PYTHON)))
    entry = {"minutes": 0.0, "peak_ram_gb": 0.0}
    return path.parent, {"chapters": {"01": entry}, "scale": "full", "machine": " ".join(ATTACKS)}


def site(folder: Path) -> Path:
    executed, facts = chapter(folder)
    write_site(executed, folder / "site", facts)
    return folder / "site" / "01_a_chapter.html"


def slides(folder: Path) -> Path:
    executed, facts = chapter(folder)
    write_slides(executed, folder / "slides", facts)
    return folder / "slides" / "01_a_chapter.html"


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The demo's address, asked a hostile query about a clip with a hostile name."""
    clip = sample_world()[0]
    name = f"{'_'.join(ATTACKS[2:4]).replace('/', '-')[:200]}.mp4"
    shutil.copyfile(clip.path, folder / name)
    row = {"video": name, "query_text": "q", "timestamp": [0.0, 2.0], "duration": 14.0}
    row["GRPO"] = [
        {"q": attack, "a": "<answer>0 to 2</answer>", "r": True, "difficulty": "original"} for attack in ATTACKS
    ]
    write_json(folder / "rows.json", [row])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    command = [sys.executable, "-m", "rarft", "demo", "--port", address.split(":")[-1].strip("/")]
    server = subprocess.Popen([*command, "--data", folder / "rows.json", "--videos", folder], cwd=ROOT)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}?{urllib.parse.urlencode({'clip': '0', 'query': ' '.join(ATTACKS)[:480]})}"
    finally:
        server.terminate()
        server.wait(20)


def tables(folder: Path) -> dict[str, Any]:
    """The Markdown report, read as Markdown: one table, as many rows as systems, no markup in it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse((folder / "report.md").read_text())
    row_starts = [number for number, token in enumerate(tokens) if token.type == "tr_open"]
    cells = {
        sum(t.type in ("td_open", "th_open") for t in tokens[a:b]) for a, b in pairwise([*row_starts, len(tokens)])
    }
    kinds = {child.type for token in tokens if token.type == "inline" for child in token.children or ()}
    return {
        "tables": sum(token.type == "table_open" for token in tokens),
        "rows": len(row_starts),
        "numbers_of_cells": sorted(cells),
        "markup": sorted(
            (kinds | {token.type for token in tokens})
            & {"html_block", "html_inline", "image", "link_open", "code_inline"}
        ),
    }


# What is made, and which of the attacks must be readable on it.
PAGES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "report": (report, ATTACKS),
    "marks": (marks, ATTACKS),
    "at a glance": (glance, ATTACKS),
    "widgets": (widgets, ATTACKS),
    "chapter of the site": (site, ATTACKS),
    "slides": (slides, ()),  # of a cell's outputs they show pictures only
}


def main() -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    found: dict[str, Any] = {"attacks": len(ATTACKS)}
    with tempfile.TemporaryDirectory() as place:
        for name, (make, shown) in PAGES.items():
            folder = Path(place) / make.__name__
            folder.mkdir()
            found[name] = judged(browser, make(folder).as_uri(), list(shown))
        found["Markdown table"] = tables(Path(place) / "report")
        (Path(place) / "demo").mkdir()
        with demo(Path(place) / "demo") as address:
            found["demo"] = judged(browser, address, list(ATTACKS))
        # What a page without any care does: if it did nothing, this script could not tell.
        attack = write_text(Path(place) / "attack.html", "<!doctype html><title>a</title>" + "".join(ATTACKS[2:8]))
        alone = judged(browser, attack.as_uri(), [])
    keep("pages", {**found, "the attacks alone, unescaped": alone})
    pages = [found[name] for name in (*PAGES, "demo")]
    harmed = any(page["ran"] or page["requests"] or page["not_shown"] for page in pages)
    return int(harmed or bool(found["Markdown table"]["markup"]) or not (alone["ran"] and alone["requests"]))


if __name__ == "__main__":
    sys.exit(main())
