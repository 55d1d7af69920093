"""Systems side by side over the same samples, trivial policies and an oracle among them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rarft.evaluation.predictions import Prediction
from rarft.evaluation.scoring import by_group, intervals, scores, summary
from rarft.schema import Sample, Span


def always_refuse(sample: Sample) -> str:
    return "<think> - </think><answer> the video does not show this at all </answer><correction> - </correction>"


def never_refuse(sample: Sample) -> str:
    """Answers the whole video."""
    return f"<think> - </think><answer> {Span(0.0, sample.duration or 0.0)} </answer><correction> NIL </correction>"


def oracle(sample: Sample) -> str:
    if sample.relevant:
        return f"<think> - </think><answer> {sample.spans[0]} </answer><correction> NIL </correction>"
    if not sample.answer:  # the data set does not say why
        return always_refuse(sample)
    return f"<think> - </think><answer> {sample.answer} </answer><correction> {sample.correction} </correction>"


REFERENCE_ROWS: dict[str, Callable[[Sample], str]] = {
    "always refuse": always_refuse,
    "never refuse": never_refuse,
    "oracle": oracle,
}


def reference_predictions(samples: Sequence[Sample], name: str) -> list[Prediction]:
    """What a trivial policy ("always refuse", "never refuse") or a perfect one ("oracle") would say."""
    return [Prediction(sample, REFERENCE_ROWS[name](sample)) for sample in samples]


def report(predictions: Mapping[str, Sequence[Prediction]], **options: Any) -> dict[str, dict]:
    """Summaries with intervals and groups of several systems over the same samples, reference rows added.

    Args:
        predictions: system name → its predictions.
        options: see `scores`.
    """
    samples = [p.sample for p in next(iter(predictions.values()))]
    systems = {**predictions, **{name: reference_predictions(samples, name) for name in REFERENCE_ROWS}}
    rows = {}
    for name, given in systems.items():
        values = scores(given, **options)
        rows[name] = {**summary(values), "intervals": intervals(values), "groups": by_group(given, values)}
    return rows


_MARKUP = re.compile(r"[\\`*\[\]|!]")


def plain(text: str) -> str:
    """A text that stays what it is in a cell of a Markdown table."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", html.escape(" ".join(text.split()), quote=False))


def markdown(rows: dict[str, dict], columns: Sequence[str]) -> str:
    """A table of systems by figures; a figure with an interval is written with it."""

    def cell(row: dict, column: str) -> str:
        value = row.get(column)
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "–"
        if isinstance(value, int):
            return str(value)
        around = row.get("intervals", {}).get(column)
        return f"{value:.3f}" + (f" [{around[0]:.3f}, {around[1]:.3f}]" if around else "")

    lines = ["| system | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {plain(name)} | " + " | ".join(cell(row, c) for c in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)
