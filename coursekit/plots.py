"""The chapters' figures: timelines, reward surfaces, training curves, and those of the library's reports.

Each returns a matplotlib figure; `show` displays one with a text for readers who cannot see it.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rarft.evaluation.figures import COLOURS, bars, data_uri, frame_strip, risk_curves
from rarft.schema import Span

__all__ = [
    "bars",
    "curves",
    "described",
    "frame_strip",
    "places",
    "risk_curves",
    "show",
    "surface",
    "timelines",
]


def show(picture: Figure | Path, alt: str) -> None:
    """Display a figure, or a picture file, in a notebook, with alternative text."""
    from IPython.display import HTML, display

    if isinstance(picture, Path):
        kind = picture.suffix.lstrip(".")
        source = f"data:image/{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"
    else:
        source = data_uri(picture)
    display(HTML(f'<img alt="{html.escape(alt)}" style="max-width:100%" src="{source}">'))


def described(values: Mapping[str, object]) -> str:
    """Numbers in words for an alternative text: `before: F1 0.51, mIoU 0.80; after: F1 0.93, mIoU 0.79`.

    values: name → number, or name → (name → number).
    """
    if any(isinstance(value, Mapping) for value in values.values()):
        return "; ".join(f"{name}: {described(inner)}" for name, inner in values.items() if isinstance(inner, Mapping))
    return ", ".join(f"{name} {v:.2f}" if isinstance(v, float) else f"{name} {v}" for name, v in values.items())


def timelines(rows: Mapping[str, Sequence[tuple[Span, str]]], duration: float, title: str = "") -> Figure:
    """Labelled segments, one row a name: the truth above the predictions, say."""
    figure = Figure(figsize=(9, 0.5 * len(rows) + 0.8))
    axis = figure.subplots()
    for y, (_name, segments) in enumerate(rows.items()):
        for k, (span, label) in enumerate(segments):
            axis.barh(y, span.length, left=span.start, color=COLOURS[k % len(COLOURS)], edgecolor="white", height=0.7)
            axis.text((span.start + span.end) / 2, y, label, ha="center", va="center", fontsize=8, color="white")
    axis.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, duration)
    axis.set_xlabel("seconds")
    axis.set_title(title, fontsize=10)
    return figure


def surface(
    values: Callable[[float, float], float], duration: float, true: Span, title: str, points: int = 41
) -> Figure:
    """A reward as a function of the predicted start and end: what the model climbs."""
    times = np.linspace(0, duration, points)
    grid = np.array([[values(s, e) if s < e else np.nan for s in times] for e in times])
    figure = Figure(figsize=(4.6, 3.8))
    axis = figure.subplots()
    image = axis.imshow(
        grid, origin="lower", extent=(0, duration, 0, duration), cmap="viridis", vmin=min(0, np.nanmin(grid)), vmax=1
    )
    axis.plot(true.start, true.end, "o", color="white", markeredgecolor="black")
    axis.set(xlabel="predicted start, s", ylabel="predicted end, s", title=title)
    figure.colorbar(image, label="reward")
    return figure


def curves(
    series: Mapping[str, Sequence[float]],
    xlabel: str = "step",
    title: str = "",
    smooth: int = 5,
    x: Sequence[float] | None = None,
) -> Figure:
    """Lines, each with its moving average over `smooth` points. x: where the points stand; 0, 1, 2, … by default."""
    figure = Figure(figsize=(7, 3))
    axis = figure.subplots()
    for colour, (name, values) in zip(COLOURS * 3, series.items(), strict=False):
        values = np.asarray(values, float)
        places = np.arange(len(values)) if x is None else np.asarray(x, float)
        axis.plot(places, values, color=colour, alpha=0.25)
        if len(values) >= smooth:
            kernel = np.ones(smooth) / smooth
            axis.plot(places[smooth - 1 :], np.convolve(values, kernel, "valid"), color=colour, label=name)
        else:
            axis.plot(places, values, color=colour, label=name)
    axis.set(xlabel=xlabel, title=title)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def places(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Named points, each with its number in the plot and its name in a list next to it."""
    figure = Figure(figsize=(8, 0.22 * len(points) + 2))
    axis = figure.subplots()
    for number, (name, (x, y)) in enumerate(points.items(), start=1):
        axis.scatter(x, y, s=130, color=COLOURS[number % len(COLOURS)], alpha=0.85, label=f"{number}  {name}")
        axis.annotate(str(number), (x, y), ha="center", va="center", fontsize=7, color="white")
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.legend(
        fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=0, handletextpad=0.2, markerscale=0
    )
    return figure
