"""An evaluation as one HTML file that needs no other: the table, plots, and the worst cases beside their frames.

Every text of data or model is escaped by the template.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from rarft.evaluation.figures import bars, data_uri, frame_strip, risk_coverage
from rarft.evaluation.predictions import Prediction
from rarft.evaluation.probes import FIGURES
from rarft.evaluation.scoring import scores, selective_risk
from rarft.rewards.encoder import MINILM
from rarft.system.files import write_text
from rarft.video import GuardedReader

PLOTTED = {
    "f1": "relevance F1",
    "ra_iou": "RA-IoU",
    "miou": "mIoU",
    "refused": "refused",
    "over_refusal": "over-refusal",
    "unreadable": "unreadable",
}
STRIP = {"max_frames": 10, "max_pixels": 10 * 256 * 256}  # of the frames beside a case, shown an inch wide


def write_page(
    path: Path,
    *,
    model: str,
    data: str,
    machine: str,
    rows: dict[str, dict],
    table: str,
    predictions: Sequence[Prediction],
    judge: dict | None = None,
    offline_judge: str = "",
    reading: str = "strict",
    similarity: str = MINILM,
    probes: dict[str, dict[str, float]] | None = None,
    cases: int = 12,
) -> Path:
    """Write the page.

    Args:
        rows: `rarft.evaluation.tables.report`, whose first row is the model's.
        table: the same as Markdown; lines below the table are shown as notes.
        judge: `about` of a `rarft.evaluation.judges.llm.LLMJudge`, if one was asked.
        offline_judge: who judged the categories, in words.
        reading, similarity: how completions were read, and the sentence encoder; see `how_read`.
        probes: see `rarft.evaluation.probes.probe`.
        cases: how many worst cases, half of each relevance.
    """
    # The template ends in .html; escaping is stated, not left to that.
    template = Environment(loader=PackageLoader("rarft.evaluation", "."), autoescape=True).get_template("page.html")
    lines = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("|---")]
    with GuardedReader() as reader:
        shown = [_case(p, value, reader) for p, value in worst(predictions, cases)]
    page = template.render(
        model=model,
        data=data,
        machine=machine,
        samples=len(predictions),
        irrelevant=sum(not p.sample.relevant for p in predictions),
        table=[[html.unescape(cell.strip()) for cell in line.strip("|").split("|")] for line in lines],
        figures=FIGURES,
        probes=probes,
        plots=[*_plots(rows, model), *_risk(predictions, model)],
        judge=judge,
        offline_judge=offline_judge,
        how_read=how_read(reading, similarity),
        notes=[html.unescape(line) for line in table.splitlines() if line and not line.startswith("|")],
        cases=shown,
    )
    return write_text(path, page)


def how_read(reading: str, similarity: str) -> str:
    """What a report says of how completions became figures."""
    return f"Completions are read by the {reading} reading; texts are compared by {similarity}."


def worst(predictions: Sequence[Prediction], count: int) -> list[tuple[Prediction, float]]:
    """The predictions of lowest RA-IoU with that figure, half of each relevance; perfect ones are left out."""
    values = scores(predictions)["ra_iou"]
    relevant = np.array([p.sample.relevant for p in predictions])
    chosen: list[int] = []
    for kind in (True, False):
        places = np.flatnonzero((relevant == kind) & (values < 1)).tolist()
        chosen += sorted(places, key=lambda i: values[i])[: count // 2]
    return [(predictions[i], float(values[i])) for i in chosen]


def _plots(rows: dict[str, dict], model: str) -> list[tuple[str, str, str]]:
    shown = {name: {label: row[key] for key, label in PLOTTED.items() if key in row} for name, row in rows.items()}
    plots = [("All systems", shown)]
    for kind, groups in rows[model]["groups"].items():
        if groups:
            shares = {name: group["refused"] for name, group in groups.items()}
            plots.append((f"Irrelevant queries refused, by {kind}", {model: shares}))
    return [(title, data_uri(bars(values, "share")), f"Bars: {values}") for title, values in plots]


def _risk(predictions: Sequence[Prediction], model: str) -> list[tuple[str, str, str]]:
    coverage, risk = selective_risk(scores(predictions))
    if not len(coverage):
        return []
    alt = f"Risk {risk[-1]:.2f} if all queries are decided, {risk[len(risk) // 2]:.2f} for the surer half"
    return [
        (
            "Risk and coverage by the model's own refusal probability",
            data_uri(risk_coverage({model: (coverage, risk)})),
            alt,
        )
    ]


def _case(prediction: Prediction, value: float, reader: GuardedReader) -> dict:
    sample, response = prediction.sample, prediction.response
    case = {
        "query": sample.query,
        "video": sample.video,
        "truth": " and ".join(map(str, sample.spans)) if sample.relevant else f"irrelevant: {sample.answer}",
        "verdict": response.verdict.value,
        "answer": response.answer or "(none)",
        "correction": response.correction or "(none)",
        "completion": prediction.completion,
        "ra_iou": f"{value:.2f}",
    }
    try:
        clip = reader(sample.video, start=sample.start, end=sample.end, **STRIP)
    except (OSError, ValueError) as error:
        return {**case, "image": None, "no_image": str(error)}
    return {**case, "image": data_uri(frame_strip(clip))}
