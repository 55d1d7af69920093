"""Matplotlib figures for reports: frame strips, bars, risk over coverage."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from rarft.video import Clip

matplotlib.use("Agg")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # distinguishable to colour-blind readers


def data_uri(figure: Figure) -> str:
    """A figure as the `src` of an <img>, so that a page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(png(figure, bbox_inches='tight')).decode()}"


def png(figure: Figure, dpi: int = 110, **options: Any) -> bytes:
    """A figure as a PNG file. Its texts are literal: dollar signs in a query do not start a formula.

    `options` are those of `Figure.savefig`.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **options)
    return buffer.getvalue()


def frame_strip(clip: Clip, count: int = 10, title: str = "") -> Figure:
    """Evenly spaced frames of a clip, each with its time in seconds above it."""
    chosen = np.linspace(0, len(clip.frames) - 1, min(count, len(clip.frames))).round().astype(int)
    figure = Figure(figsize=(1.1 * len(chosen), 1.5))
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axis, index in zip(axes, chosen, strict=True):
        axis.imshow(clip.frames[index])
        axis.set_title(f"{clip.seconds[index]:.1f} s", fontsize=8)
        axis.axis("off")
    figure.suptitle(title, fontsize=9, y=1.08)
    return figure


def risk_curves(systems: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str = "") -> Figure:
    """Risk over coverage, a line for each system; see `rarft.evaluation.scoring.selective_risk`."""
    figure = Figure(figsize=(5, 3))
    axis = figure.subplots()
    for colour, (name, (coverage, risk)) in zip(COLOURS * 3, systems.items(), strict=False):
        axis.plot(coverage, risk, color=colour, label=name)
    axis.set(
        xlabel="coverage: share of queries decided", ylabel="risk: share decided wrongly", title=title, xlim=(0, 1)
    )
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def bars(
    groups: Mapping[str, Mapping[str, float]], ylabel: str, title: str = "", low: float = 0.0, high: float | None = 1.0
) -> Figure:
    """Grouped bars of `groups`: system → label → value. The scale ends at `high`; None fits it to the values."""
    labels = list(dict.fromkeys(label for values in groups.values() for label in values))
    figure = Figure(figsize=(max(5, 0.9 * len(labels) + 1.5), 3))
    axis = figure.subplots()
    width = 0.8 / len(groups)
    for k, (name, values) in enumerate(groups.items()):
        heights = [values.get(label, np.nan) for label in labels]
        axis.bar(np.arange(len(labels)) + k * width, heights, width, label=name, color=COLOURS[k % len(COLOURS)])
    axis.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels, rotation=25, ha="right", fontsize=8)
    axis.set(ylabel=ylabel, title=title, ylim=(low, high))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))  # next to the bars, not on them
    return figure
