"""The course's figures: frame strips, timelines, reward surfaces, training curves, comparisons.

Each returns a matplotlib figure; `show` displays one with a text for those who cannot see it.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from rarft.schema import Span
from rarft.video.reader import Clip

matplotlib.use("Agg")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # distinguishable to colour-blind readers


def data_uri(figure: Figure) -> str:
    """A figure as the `src` of an <img>, so that a page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(png(figure, bbox_inches='tight')).decode()}"


def png(figure: Figure, dpi: int = 110, **options: Any) -> bytes:
    """A figure as a file, its texts as they are: dollar signs in a query are no formula, and never an error.

    options: of `Figure.savefig`.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **options)
    return buffer.getvalue()


def frame_uri(frame: np.ndarray, size: tuple[int, int], kind: str = "png") -> str:
    """A frame (H, W, 3), scaled to a size (width, height), as the `src` of an <img>. kind: png or jpeg."""
    buffer = io.BytesIO()
    Image.fromarray(frame).resize(size).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


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


def frame_strip(clip: Clip, count: int = 10, title: str = "") -> Figure:
    """Evenly spread frames of a clip, each under its second."""
    chosen = np.linspace(0, len(clip.frames) - 1, min(count, len(clip.frames))).round().astype(int)
    figure = Figure(figsize=(1.1 * len(chosen), 1.5))
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axis, index in zip(axes, chosen, strict=True):
        axis.imshow(clip.frames[index])
        axis.set_title(f"{clip.seconds[index]:.1f} s", fontsize=8)
        axis.axis("off")
    figure.suptitle(title, fontsize=9, y=1.08)
    return figure


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


def risk_coverage(systems: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str = "") -> Figure:
    """Risk over coverage, a line a system; see `rarft.evaluation.scoring.selective_risk`."""
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
    """Grouped bars: system → label → value. high: top of the scale; None fits the values."""
    labels = list(dict.fromkeys(label for values in groups.values() for label in values))
    figure = Figure(figsize=(max(5, 0.9 * len(labels) + 1.5), 3))
    axis = figure.subplots()
    width = 0.8 / len(groups)
    for k, (name, values) in enumerate(groups.items()):
        heights = [values.get(label, np.nan) for label in labels]
        axis.bar(np.arange(len(labels)) + k * width, heights, width, label=name, color=COLOURS[k % len(COLOURS)])
    axis.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels, rotation=25, ha="right", fontsize=8)
    axis.set(ylabel=ylabel, title=title, ylim=(low, high))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))  # beside the bars, not on them
    return figure


def places(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Named points, each with its number in the plot and its name in a list beside it."""
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
