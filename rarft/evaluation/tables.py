"""Tables of systems on the same samples, with trivial policies and an oracle for reference."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rarft.asking.answer import Answer, Prediction
from rarft.evaluation.scoring import by_group, intervals, scores, summary
from rarft.reading.completion import NIL, format_completion
from rarft.schema import Sample, Span


def always_refuse(sample: Sample) -> str:
    """Refuses every query."""
    return format_completion("-", "the video does not show this at all", "-")


def never_refuse(sample: Sample) -> str:
    """Answers with the whole video as the segment."""
    return format_completion("-", str(Span(0.0, sample.duration or 0.0)), NIL)


def oracle(sample: Sample) -> str:
    """The right answer, as far as the data set states it."""
    if sample.relevant:
        return format_completion("-", str(sample.spans[0]), NIL)
    return format_completion("-", sample.answer, sample.correction) if sample.answer else always_refuse(sample)


REFERENCE_ROWS: dict[str, Callable[[Sample], str]] = {
    "always refuse": always_refuse,
    "never refuse": never_refuse,
    "oracle": oracle,
}


def reference_predictions(samples: Sequence[Sample], name: str) -> list[Prediction]:
    """The predictions of a trivial policy ("always refuse", "never refuse") or of the "oracle"."""
    return [Prediction(sample, Answer(REFERENCE_ROWS[name](sample))) for sample in samples]


def report(predictions: Mapping[str, Sequence[Prediction]], **options: Any) -> dict[str, dict]:
    """Summaries, intervals and groups of several systems on the same samples, and of the reference rows.

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


def cells(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str], head: str = "system") -> list[list[str]]:
    """The texts of a table of systems by figures, head first. A figure comes with its interval if it has one."""
    return [[head, *columns], *([name, *(_cell(row, column) for column in columns)] for name, row in rows.items())]


def _cell(row: Mapping[str, Any], column: str) -> str:
    value, around = row.get(column), row.get("intervals", {}).get(column)
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" + (f" [{around[0]:.3f}, {around[1]:.3f}]" if around else "")


def markdown(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The same table as Markdown."""
    head, *body = cells(rows, columns)
    lines = [head, ["---"] * len(head), *([plain(name), *figures] for name, *figures in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_MARKUP = re.compile(r"[\\`*\[\]|!]")


def plain(text: str) -> str:
    """A text escaped for a cell of a Markdown table."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", html.escape(" ".join(text.split()), quote=False))
