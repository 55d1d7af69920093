"""The result at a glance: figures before and after training, a player of clips with the models' answers.

One page of the site, from what chapter 09 leaves in build/."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from coursekit.gallery import answer_in_words, right_answer
from coursekit.notebook import results
from coursekit.paths import BUILD
from rarft.asking.dataset import open_dataset
from rarft.reading.completion import parse_response
from rarft.schema import Sample
from rarft.system.files import TEXT, json_lines, write_text
from rarft.video import frame_uri, read_video

QUERIES = 12  # the first of the test set, whatever the answers
FIGURES = {
    "f1": "relevance decided rightly (F1)",
    "refused": "irrelevant queries refused",
    "over_refusal": "relevant queries refused",
    "miou": "overlap with the true segment (mIoU)",
    "explanation_true": "reasons that are true",
    "correction_true": "corrections that happen",
}
SYSTEMS = {"before": "the base", "cold_start": "after the cold start", "after": "after RA-RFT"}


def write_glance(path: Path, build: Path = BUILD) -> Path | None:
    """Write the page. None where chapter 09 has not run in this build."""
    live, data = results("09", build), build / "world" / "test"
    files = {name: build / "predictions" / f"{name}.jsonl" for name in SYSTEMS}
    if live is None or not data.exists() or not all(file.exists() for file in files.values()):
        return None
    samples = open_dataset(data).samples
    said = {
        name: {
            (row["video"], row["query"]): row["completion"]
            for _, row in json_lines(file, dict.fromkeys(("video", "query"), TEXT))
            if "completion" in row
        }
        for name, file in files.items()
    }
    asked = [s for s in samples if all((s.video, s.query) in completions for completions in said.values())]
    shown = [_shown(sample, said) for sample in islice(asked, QUERIES)]
    frames = {sample.video: _frames(sample.video) for sample in asked[:QUERIES]}
    picture = build / "before_and_after.gif"
    page = Environment(loader=PackageLoader("coursekit.site", "."), autoescape=True).get_template("glance.html")
    text = page.render(
        figures=_figures(live),
        systems=list(SYSTEMS.values()),
        asked=len(asked),
        moving=f"data:image/gif;base64,{base64.b64encode(picture.read_bytes()).decode()}" if picture.exists() else None,
        data=json.dumps({"queries": shown, "frames": frames}).replace("<", "\\u003c"),
        titles=[row["query"] for row in shown],
    )
    return write_text(path, text)


def _figures(live: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Rows of the table: what is measured, and its value for each system."""
    rows = [live[name] for name in SYSTEMS if name in live]
    return [
        (meaning, [f"{row[figure]:.2f}" if row.get(figure) is not None else "–" for row in rows])
        for figure, meaning in FIGURES.items()
    ]


def _shown(sample: Sample, said: dict[str, dict[tuple[str, str], str]]) -> dict[str, Any]:
    """A query of the player: the truth, and each system's answer, as text and as segments."""
    answers = [{"name": "right", "text": right_answer(sample), "spans": [list(span) for span in sample.spans]}]
    for name, title in SYSTEMS.items():
        completion = said[name][sample.video, sample.query]
        spans: Sequence = parse_response(completion).spans
        answers.append({"name": title, "text": answer_in_words(completion), "spans": [list(span) for span in spans]})
    return {"query": sample.query, "video": sample.video, "duration": sample.duration, "answers": answers}


def _frames(video: str) -> list[str]:
    """Two frames a second of a clip, as data URIs."""
    frames = read_video(video).frames
    size = (192, 192 * frames.shape[1] // frames.shape[2])
    return [frame_uri(frame, size, "jpeg") for frame in frames]
