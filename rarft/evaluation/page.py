"""An evaluation as one self-contained HTML file: the table, plots, and the frames of the worst cases.

The template escapes every text from data or model.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from rarft.asking.answer import Prediction
from rarft.evaluation.figures import bars, data_uri, frame_strip, risk_curves
from rarft.evaluation.probes import FIGURES
from rarft.evaluation.scoring import scores, selective_risk
from rarft.evaluation.tables import cells
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
STRIP = {"max_frames": 10, "max_pixels": 10 * 256 * 256}  # frames of a case, each shown about an inch wide


def write_page(
    path: Path,
    contents: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    columns: Sequence[str],
    notes: Sequence[str] = (),
    cases: int = 12,
) -> Path:
    """Write the page.

    Args:
        contents: the contents of report.json, see `rarft.evaluation.reporting.write_report`; at least `model`, `data`,
            `machine` and `rows`.
        predictions: of the evaluated model, which has the first row.
        columns: the figures in the table.
        notes: lines of Markdown below the table.
        cases: the number of worst cases, half relevant and half irrelevant.
    """
    # Escaping is on explicitly, not because the template ends in .html.
    template = Environment(loader=PackageLoader("rarft.evaluation", "."), autoescape=True).get_template("page.html")
    with GuardedReader() as reader:
        shown = [_case(p, value, reader) for p, value in worst(predictions, cases)]
    page = template.render(
        **contents,
        samples=len(predictions),
        irrelevant=sum(not p.sample.relevant for p in predictions),
        table=cells(contents["rows"], columns),
        looks=cells(contents.get("probes") or {}, FIGURES, "video"),
        plots=_plots(contents["rows"], predictions, contents["model"]),
        notes=[html.unescape(line) for line in notes],
        cases=shown,
    )
    return write_text(path, page)


def worst(predictions: Sequence[Prediction], count: int) -> list[tuple[Prediction, float]]:
    """The predictions with the lowest RA-IoU, and their RA-IoU; half relevant, half irrelevant; none is perfect."""
    values = scores(predictions)["ra_iou"]
    relevant = np.array([p.sample.relevant for p in predictions])
    chosen: list[int] = []
    for kind in (True, False):
        places = np.flatnonzero((relevant == kind) & (values < 1)).tolist()
        chosen += sorted(places, key=lambda i: values[i])[: count // 2]
    return [(predictions[i], float(values[i])) for i in chosen]


def _plots(rows: dict[str, dict], predictions: Sequence[Prediction], model: str) -> list[tuple[str, str, str]]:
    """Title, image and text of each plot: figures of all systems, refusals by group, risk over coverage."""
    shown = {name: {label: row[key] for key, label in PLOTTED.items() if key in row} for name, row in rows.items()}
    compared = [("All systems", shown)]
    for kind, groups in rows[model]["groups"].items():
        if groups:
            shares = {name: group["refused"] for name, group in groups.items()}
            compared.append((f"Irrelevant queries refused, by {kind}", {model: shares}))
    plots = [(title, data_uri(bars(values, "share")), f"Bars: {values}") for title, values in compared]
    coverage, risk = selective_risk(scores(predictions))
    if len(coverage):
        title = "Risk and coverage by the model's refusal score"
        alt = f"Risk {risk[-1]:.2f} if all queries are decided, {risk[len(risk) // 2]:.2f} for the more confident half"
        plots.append((title, data_uri(risk_curves({model: (coverage, risk)})), alt))
    return plots


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
