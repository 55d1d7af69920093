"""Answers next to what the video shows: cards of what went wrong, and one query before and after training, as a moving
picture."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from coursekit.diagrams import BLUE, GREEN, GREY, ORANGE, RED, WIDTH
from rarft.evaluation import Prediction
from rarft.evaluation.figures import png
from rarft.metrics import best_iou
from rarft.reading.completion import parse_response
from rarft.schema import Sample, Span, Verdict
from rarft.system.files import replacing
from rarft.video.reader import Clip

FRAMES = 8  # of a clip on a card
MILLISECONDS = 500  # for each second frame of the moving picture, and four times as long for the last


def failure_of(prediction: Prediction) -> str | None:
    """What is wrong with a judged prediction, in a few words; None if nothing is.

    A segment is wrong below an IoU of 0.5. Reasons and corrections are those that `world_judge` found false.
    """
    sample, response = prediction.sample, prediction.response
    if response.verdict is Verdict.UNREADABLE or not response.well_formed:
        return "an answer out of form"
    if sample.relevant and response.refused:
        return "refuses what is there"
    if not sample.relevant and response.spans:
        return "grounds what is not there"
    if sample.relevant:
        return "a wrong segment" if best_iou(response.spans, sample.spans) < 0.5 else None
    if prediction.judged.get("explanation_true") == 0:
        return "a false reason"
    return "a correction that does not happen" if prediction.judged.get("correction_true") == 0 else None


def failures(predictions: Sequence[Prediction], each: int = 2) -> list[tuple[str, Prediction]]:
    """The first `each` failures of every kind, by kind."""
    found: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        kind = failure_of(prediction)
        if kind:
            found.setdefault(kind, []).append(prediction)
    return [(kind, prediction) for kind in sorted(found) for prediction in found[kind][:each]]


def right_answer(sample: Sample) -> str:
    """The segment of a relevant query, the refusal of an irrelevant one, as a line of text."""
    return ", ".join(f"{s.start:g} to {s.end:g} s" for s in sample.spans) if sample.relevant else sample.answer


def answer_in_words(completion: str) -> str:
    """What a completion says: its segment, or its refusal with the correction, or that it cannot be read."""
    response = parse_response(completion)
    if response.spans:
        return ", ".join(f"{s.start:g} to {s.end:g} s" for s in response.spans)
    if not response.refused:
        return "nothing that can be read"
    return f"{response.answer} → {response.correction or 'no correction'}"


def card(clip: Clip, prediction: Prediction, kind: str) -> Figure:
    """Frames of a clip, the true and the answered segment below them, and what was asked, said and true."""
    sample = prediction.sample
    said = {
        "asked": sample.query,
        "answer": answer_in_words(prediction.completion),
        "right": right_answer(sample),
    }
    lines = [(name, line) for name, text in said.items() for line in textwrap.wrap(text, 84)]
    height = 2.35 + 0.2 * len(lines)
    figure = Figure(figsize=(WIDTH, height))

    def place(left: float, top: float, width: float, tall: float) -> Axes:
        """Axes at a place in inches, counted from the top left corner."""
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    side = (WIDTH - 0.2) / FRAMES
    for column, number in enumerate(np.linspace(0, len(clip.frames) - 1, FRAMES).round().astype(int)):
        axis = place(0.1 + side * column, 0.55, side - 0.06, 0.92)
        axis.imshow(clip.frames[number])
        axis.set_title(f"{clip.seconds[number]:.0f} s", fontsize=8.5, pad=3)
        axis.axis("off")
    bars = place(0.75, 1.6, WIDTH - 0.9, 0.42)
    draw_spans(bars, clip.duration, {"right": sample.spans, "answer": prediction.response.spans})
    text = place(0.1, 2.3, WIDTH - 0.2, 0.2 * len(lines))
    text.axis("off")
    text.set(xlim=(0, WIDTH), ylim=(len(lines), 0))
    for row, (name, line) in enumerate(lines):
        first = row == 0 or lines[row - 1][0] != name
        text.text(0.0, row + 0.5, name if first else "", va="center", fontsize=9, color=GREY)
        text.text(0.66, row + 0.5, line, va="center", fontsize=9)
    figure.text(0.5, 1 - 0.15 / height, kind, ha="center", va="center", fontsize=11)
    return figure


def draw_spans(axis: Axes, duration: float, rows: Mapping[str, Sequence[Span]]) -> None:
    """A bar for each segment, a row for each name, on an axis of seconds."""
    for row, (name, spans) in enumerate(rows.items()):
        for span in spans:
            axis.barh(row, span.length, left=span.start, height=0.6, color=GREEN if name == "right" else ORANGE)
        if not spans:
            axis.text(duration / 2, row, "no segment", ha="center", va="center", fontsize=8.5, color=GREY)
    axis.set(xlim=(0, duration), ylim=(len(rows) - 0.5, -0.5))
    axis.set_yticks(range(len(rows)), list(rows), fontsize=8.5)
    axis.tick_params(axis="x", labelsize=8)


def before_and_after(clip: Clip, query: str, answers: Mapping[str, str], path: Path) -> Path:
    """Write a moving picture (GIF): the clip, the query, and what each model answers, with its segment if it has one.

    Args:
        answers: name of a model → its completion.
        path: of the file; it is replaced as a whole.
    """
    shown = range(0, len(clip.frames), 2)
    pictures = [_still(clip, query, answers, number).quantize(64, dither=Image.Dither.NONE) for number in shown]
    times = [MILLISECONDS] * (len(pictures) - 1) + [4 * MILLISECONDS]
    with replacing(path) as unfinished:
        pictures[0].save(unfinished, "gif", save_all=True, append_images=pictures[1:], duration=times, loop=0)
    return path


def _still(clip: Clip, query: str, answers: Mapping[str, str], number: int) -> Image.Image:
    """One frame of the moving picture."""
    figure = Figure(figsize=(7.2, 2.5))
    frame = figure.add_axes((0.01, 0.04, 0.32, 0.9))
    frame.imshow(clip.frames[number])
    frame.axis("off")
    axis = figure.add_axes((0.35, 0.0, 0.64, 1.0))
    axis.axis("off")
    axis.set(xlim=(0, clip.duration), ylim=(10, 0))
    axis.text(0, 1.0, "\n".join(textwrap.wrap(f"When: {query}?", 52)), va="center", fontsize=10.5, weight="bold")
    for row, (name, completion) in enumerate(answers.items()):
        y, spans = 3.2 + 3.3 * row, parse_response(completion).spans
        colour = RED if row == 0 else BLUE
        axis.text(0, y, name, va="center", fontsize=9.5, color=colour)
        said = textwrap.wrap(answer_in_words(completion).removeprefix("no such segment : "), 60)
        axis.text(0, y + 0.85 + 0.35 * (len(said) > 1), "\n".join(said[:2]), va="center", fontsize=9)
        axis.plot((0, clip.duration), (y + 2.1, y + 2.1), color="#cccccc", lw=5, solid_capstyle="butt")
        for span in spans:
            axis.plot((span.start, span.end), (y + 2.1, y + 2.1), color=colour, lw=5, solid_capstyle="butt")
        now = clip.seconds[number]
        axis.plot((now, now), (y + 1.8, y + 2.4), color="black", lw=1.5)
    axis.text(0, 9.6, f"{clip.seconds[number]:.0f} of {clip.duration:.0f} s", va="center", fontsize=8, color=GREY)
    return Image.open(io.BytesIO(png(figure, dpi=84))).convert("RGB")
