"""The course's diagrams, drawn from what they show: a real completion, a query and its edits, the log of the base.

Each returns a matplotlib figure of one column's width, legible on a phone; colours are those of the reports, and no
meaning hangs on colour alone.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from matplotlib.ticker import NullFormatter

from rarft.evaluation.figures import COLOURS
from rarft.reading.completion import parse_response
from rarft.world.edits import Edit
from rarft.world.language import Slots

BLUE, RED, GREEN, PINK, ORANGE, SKY = COLOURS
GREY = "#666666"
WIDTH = 8.0  # inches; one unit of an axis is one inch


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty figure whose axis is in inches, the origin at the top left."""
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    axis.axis("off")
    return figure, axis


def box(axis: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, size: float = 10) -> None:
    """A rounded box with text in it; x, y: its top left corner."""
    patch = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=f"{colour}22", edgecolor=colour
    )
    axis.add_patch(patch)
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow, with a word above its middle."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1.2})
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        axis.text(x, y - 0.08, text, ha="center", va="bottom", fontsize=8.5, color=GREY)


def log_scale(axis: Axes) -> None:
    """A vertical axis in powers of ten, their labels without formulae: figures of the course show texts as they are."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def parts_of(completion: str) -> list[tuple[str, str]]:
    """The parts of a completion of the tiny model, each with what it is."""
    response = parse_response(completion)
    head, _, found = (response.think or "").partition(" segment : ")
    timeline, _, compared = head.partition(" compare : ")
    blocks = (
        (timeline, " . ", ("timeline of the first actor", "timeline of the second actor", "timeline of the scene")),
        (
            compared,
            " . ",
            ("asked and shown, first actor", "asked and shown, second actor", "what fails, nearer actor"),
        ),
        (found, " : ", ("who is there", "who is meant", "what it does", "the action", "its seconds, with marks")),
    )
    parts = []
    for text, separator, labels in blocks:
        parts += list(zip(labels, [part for part in text.strip(" .").split(separator) if part], strict=False))
    parts.append(("answer", response.answer or ""))
    parts.append(("correction", response.correction or ""))
    return parts


def anatomy(completion: str) -> Figure:
    """A completion of the tiny model: a block for each part, with what it is."""
    blocks = [(label, textwrap.wrap(text, 66) or ["–"]) for label, text in parts_of(completion)]
    height = sum(0.19 * len(lines) + 0.14 for _, lines in blocks) + 0.1
    figure, axis = canvas(height)
    y = 0.1
    for label, lines in blocks:
        tall = 0.19 * len(lines)
        colour = BLUE if "timeline" in label else RED if label in ("answer", "correction") else GREEN
        axis.add_patch(Rectangle((2.05, y), 0.05, tall + 0.04, color=colour))
        axis.text(1.95, y + 0.04, textwrap.fill(label, 30), ha="right", va="top", fontsize=8, color=colour)
        for number, line in enumerate(lines):
            axis.text(2.2, y + 0.19 * number + 0.12, line, va="center", fontsize=8.5, family="monospace")
        y += tall + 0.14
    return figure


def pipeline() -> Figure:
    """From a video and a query to an answer, and from answers to an update."""
    figure, axis = canvas(2.75)
    box(axis, 0.1, 0.25, 1.2, 0.7, "video, 2 frames\na second", SKY)
    box(axis, 1.75, 0.25, 1.35, 0.7, "vision tower\n(frozen)", BLUE)
    box(axis, 3.55, 0.25, 1.5, 0.7, "language model\n(trained)", BLUE)
    box(
        axis,
        5.6,
        0.1,
        2.3,
        1.0,
        "<think> timeline …\n<answer> 3 to 7, or why not\n<correction> NIL, or a query",
        GREEN,
        9,
    )
    box(axis, 3.55, 1.75, 1.5, 0.7, "advantages\nwithin the group", ORANGE)
    box(axis, 5.6, 1.75, 2.3, 0.7, "four rewards: format,\nrefuse-IoU, explain, correction", RED, 9)
    box(axis, 1.75, 1.75, 1.35, 0.7, "the query,\nas text", SKY)
    arrow(axis, (1.3, 0.6), (1.75, 0.6))
    arrow(axis, (3.1, 0.6), (3.55, 0.6))
    arrow(axis, (5.05, 0.6), (5.6, 0.6), "× 8")
    arrow(axis, (6.75, 1.1), (6.75, 1.75))
    arrow(axis, (5.6, 2.1), (5.05, 2.1))
    arrow(axis, (4.3, 1.75), (4.3, 0.95))
    axis.text(4.4, 1.35, "update", va="center", fontsize=8.5, color=GREY)
    arrow(axis, (2.9, 1.75), (3.7, 0.95))
    return figure


def vision_tokens(frames: np.ndarray, patch: int = 8, merge: int = 4) -> Figure:
    """A pair of frames (2, H, W, 3) uint8, its patches, and the vision tokens that they become."""
    height, width = frames.shape[1:3]
    figure = Figure(figsize=(WIDTH, 2.5))
    titles = (
        "two frames of a second",
        f"{height // patch} × {width // patch} patches of {patch} pixels",
        f"{height // patch // merge} × {width // patch // merge} vision tokens",
    )
    axes = figure.subplots(1, 4, gridspec_kw={"wspace": 0.12})
    for axis, frame in zip(axes[:2], frames, strict=True):
        axis.imshow(frame)
    axes[2].imshow(frames[0])
    axes[3].imshow(frames[0], alpha=0.25)
    for axis, side, line in ((axes[2], patch, 0.8), (axes[3], patch * merge, 2.5)):
        for place in np.arange(0, width + 1, side) - 0.5:
            axis.axvline(place, color="black", lw=line)
        for place in np.arange(0, height + 1, side) - 0.5:
            axis.axhline(place, color="black", lw=line)
    numbers = iter(range(1, 1 + (height // patch // merge) * (width // patch // merge)))
    for y in np.arange(0, height, patch * merge):
        for x in np.arange(0, width, patch * merge):
            middle = patch * merge / 2
            axes[3].text(x + middle, y + middle, str(next(numbers)), ha="center", va="center", fontsize=13)
    axes[0].set_title(titles[0], fontsize=9.5, loc="left")
    axes[2].set_title(titles[1], fontsize=8.5)
    axes[3].set_title(titles[2], fontsize=8.5)
    for axis in axes:
        axis.axis("off")
    return figure


def rotary(turns: Sequence[float], listens_to: Sequence[int], positions: int = 6) -> Figure:
    """Rotary positions: a pair of numbers turns with the position, each pair at its own speed.

    Args:
        turns: how far each pair turns from one position to the next, in radians, the fastest first.
        listens_to: whether the pair turns with the time (0), the height (1) or the width (2) of a token.
    """
    figure = Figure(figsize=(WIDTH, 2.2))
    grid = figure.add_gridspec(
        1, 4, width_ratios=(1, 1, 1, 1.4), wspace=0.3, left=0.0, right=0.99, top=0.88, bottom=0.2
    )
    for place, pair in enumerate((0, len(turns) // 8, len(turns) // 4)):
        axis = figure.add_subplot(grid[place], aspect="equal")
        axis.add_patch(Circle((0, 0), 1, fill=False, color=GREY, lw=0.6))
        for position in range(positions):
            x, y = np.cos(turns[pair] * position), np.sin(turns[pair] * position)
            axis.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 1})
            if turns[pair] > 0.25 or position in (0, positions - 1):  # where arrows are close, so would numbers be
                axis.text(1.2 * x, 1.2 * y, str(position), ha="center", va="center", fontsize=8.5)
        axis.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
        axis.set_title(f"pair {pair}: {turns[pair]:.2g} a step", fontsize=9)
        axis.axis("off")
    axis = figure.add_subplot(grid[3])
    pairs = np.arange(len(turns))
    for kind, (name, colour, hatch) in enumerate((("time", BLUE, ""), ("height", RED, "//"), ("width", GREEN, ".."))):
        mine = [pair for pair in pairs if listens_to[pair] == kind]
        style = {"color": f"{colour}88", "edgecolor": colour, "hatch": hatch}
        axis.bar(mine, [turns[pair] for pair in mine], label=f"turns with {name}", **style)
    log_scale(axis)
    axis.set_ylim(top=100 * turns[0])  # room for the legend
    axis.set_xticks(pairs[::3])
    axis.set_xlabel("pair", fontsize=9)
    axis.set_title("radians a step", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8)
    return figure


def edited(query: Slots, edits: Mapping[str, Edit]) -> Figure:
    """A relevant query and its edits, each changed slot in a box, with the refusal."""
    figure, axis = canvas(0.55 + 0.78 * len(edits))
    size = 0.093  # inches a letter of the font below
    axis.text(0.1, 0.2, "relevant", fontsize=9.5, color=GREEN, va="center")
    axis.text(1.1, 0.2, query.sentence(), fontsize=10, family="monospace", va="center")
    original = query.sentence().split()
    for row, (level, edit) in enumerate(edits.items()):
        y, x = 0.7 + 0.78 * row, 1.1
        axis.text(0.1, y, level, fontsize=9.5, color=RED, va="center")
        words = edit.query.sentence().split()
        for number, word in enumerate(words):
            changed = number >= len(original) or original[number] != word
            if changed:
                axis.add_patch(
                    Rectangle((x - 0.03, y - 0.12), size * len(word) + 0.06, 0.24, facecolor=f"{RED}22", edgecolor=RED)
                )
            axis.text(x, y, word, fontsize=10, family="monospace", va="center")
            x += size * (len(word) + 1)
        axis.text(1.1, y + 0.3, edit.answer, fontsize=9, family="monospace", va="center", color=GREY)
    return figure


def reward_flow(values: Mapping[str, Mapping[str, float]]) -> Figure:
    """Answers to one prompt, their rewards stacked, and the advantage within the group that their sum becomes.

    values: answer → reward → value."""
    sums = np.array([sum(rewards.values()) for rewards in values.values()])
    advantages = (sums - sums.mean()) / (sums.std(ddof=1) + 1e-4)
    figure = Figure(figsize=(WIDTH, 0.42 * len(values) + 1.1))
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": (3, 2), "wspace": 0.08})
    places = np.arange(len(values))
    begin = np.zeros(len(values))
    for colour, name in zip(COLOURS, next(iter(values.values())), strict=False):
        widths = np.array([rewards[name] for rewards in values.values()])
        left.barh(places, widths, left=begin, color=colour, label=name, edgecolor="white")
        begin += widths
    left.set_yticks(places, list(values), fontsize=9)
    left.invert_yaxis()
    left.set_xlabel("rewards, and their sum")
    left.legend(fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False)
    right.barh(places, advantages, color=[GREEN if a > 0 else RED for a in advantages])
    for place, advantage in zip(places, advantages, strict=True):
        right.text(
            advantage / 2 if abs(advantage) > 0.3 else 0.25 * (advantage >= 0) - 0.12,
            place,
            f"{advantage:+.1f}",
            ha="center",
            va="center",
            fontsize=8.5,
        )
    right.axvline(0, color="black", lw=0.8)
    right.set_xlabel("advantage")
    return figure


def prefix_mask(prompt: int, answers: Sequence[int]) -> Figure:
    """Who may attend to whom in a row that holds a prompt once and several answers: lengths in tokens."""
    length = prompt + sum(answers)
    owner = np.concatenate([np.zeros(prompt, int), *(np.full(n, k + 1) for k, n in enumerate(answers))])
    allowed = (np.tri(length, dtype=bool)) & ((owner[None] == 0) | (owner[:, None] == owner[None]))
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    picture = np.where(allowed, owner[:, None] + 1, 0)
    image = np.ones((length, length, 3))
    for kind in range(1, len(answers) + 2):
        colour = COLOURS[kind - 1].lstrip("#")
        image[picture == kind] = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    axis.imshow(image)
    middles = np.cumsum([0, prompt, *answers])
    names = ["prompt", *(f"answer {k + 1}" for k in range(len(answers)))]
    ticks = (middles[:-1] + middles[1:]) / 2 - 0.5
    axis.set_xticks(ticks, [name.replace(" ", "\n") for name in names], fontsize=8.5)
    axis.set_yticks(ticks, names, fontsize=8.5)
    for edge in middles[1:-1] - 0.5:
        axis.axhline(edge, color=GREY, lw=0.6)
        axis.axvline(edge, color=GREY, lw=0.6)
    axis.set(xlabel="is attended to", ylabel="attends")
    return figure


def training_stages(log: Mapping) -> Figure:
    """The stages of the base's training, out of its training_log.json: steps, minutes, and how the loss went."""
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots(1, len(log["stages"]))
    for axis, colour, (name, stage) in zip(axes, COLOURS, log["stages"].items(), strict=False):
        losses = [(row["step"], row["loss"]) for row in stage["history"] if "loss" in row]
        axis.plot(*zip(*losses, strict=True), color=colour)
        log_scale(axis)
        axis.set_title(f"{name}\n{stage['steps']} steps\n{stage['minutes']:.0f} min", fontsize=9.5)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("step", fontsize=8.5)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("loss", fontsize=8.5)
    return figure


def verdicts() -> Figure:
    """The six cases of an answer: what was true, what the answer does, and what each figure counts."""
    figure, axis = canvas(2.3)
    columns = ("grounds", "refuses", "is unreadable")
    cells = {
        ("relevant", 0): ("right: IoU counts", GREEN),
        ("relevant", 1): ("over-refusal", RED),
        ("relevant", 2): ("wrong", RED),
        ("irrelevant", 0): ("falls for it", RED),
        ("irrelevant", 1): ("right: is the reason true?\ndoes the correction happen?", GREEN),
        ("irrelevant", 2): ("wrong", RED),
    }
    for k, name in enumerate(columns):
        axis.text(2.45 + 2.2 * k, 0.2, f"the answer {name}", ha="center", va="center", fontsize=10)
    for row, kind in enumerate(("relevant", "irrelevant")):
        axis.text(0.1, 0.75 + 0.9 * row, f"{kind}\nquery", va="center", fontsize=10)
        for k in range(3):
            text, colour = cells[kind, k]
            box(axis, 1.4 + 2.2 * k, 0.4 + 0.9 * row, 2.1, 0.75, text, colour, 9)
    return figure


def related_systems() -> Figure:
    """Five ways to ground: what each computes, how it finds a segment, and what could serve as a refusal score."""
    rows = {
        "UniVTG": (
            "steps and words\nread each other",
            "f, d, s\non every step",
            "segment of the\nbest step",
            "1 − max f,\nor saliency",
        ),
        "cycle": (
            "the query points\nat regions",
            "what they hold,\ndescribed again",
            "segment heads",
            "description\n≠ query",
        ),
        "evidential": ("two pointers\nin time", "a distribution\nfor each end", "its middle", "its width"),
        "phrases": (
            "each phrase\nmeets each region",
            "the place that\nfits all of them",
            "segment around\nthat place",
            "the weakest\nphrase",
        ),
        "VTG-GPT": (
            "a caption for\neach second",
            "similarity with\nthe query",
            "longest run of\nhigh scores",
            "nothing left\nafter scaling",
        ),
    }
    return _mechanisms(rows, ("reads", "computes", "answers", "refusal score"))


def training_signals() -> Figure:
    """Three ways to train a grounder on more than segments: what is shown, what is rewarded, what is answered, and what
    could serve as a refusal score."""
    rows = {
        "IGV": (
            "the video, and what\na mask leaves of it",
            "the kept part answers,\nthe rest cannot",
            "an answer",
            "attention to\nnothing",
        ),
        "PRVG": (
            "a paragraph,\nall sentences at once",
            "each its segment;\nattention inside",
            "a segment for\neach sentence",
            "a presence logit\nfor each",
        ),
        "Invert4TVG": (
            "whole videos, and\nsegments alone",
            "segments, verbs,\ndescriptions",
            "segment or words,\nas asked",
            "own probability\nof refusing",
        ),
    }
    return _mechanisms(rows, ("is shown", "is trained on", "answers", "refusal score"))


def _mechanisms(rows: Mapping[str, Sequence[str]], heads: Sequence[str]) -> Figure:
    """A row of four boxes for each system, under four heads; the last one stands apart."""
    figure, axis = canvas(0.5 + 0.82 * len(rows))
    for x, head in zip((1.15, 2.85, 4.55, 6.25), heads, strict=True):
        axis.text(x + 0.75, 0.25, head, ha="center", fontsize=9, color=GREY)
    for number, (name, texts) in enumerate(rows.items()):
        y = 0.42 + 0.82 * number
        axis.text(0.05, y + 0.33, name, va="center", fontsize=10)
        for x, text, colour in zip((1.15, 2.85, 4.55, 6.25), texts, (SKY, BLUE, GREEN, RED), strict=True):
            box(axis, x, y, 1.5, 0.66, text, colour, 8.5)
        arrow(axis, (2.65, y + 0.33), (2.85, y + 0.33))
        arrow(axis, (4.35, y + 0.33), (4.55, y + 0.33))
    return figure


def part_graph(graph: nx.Graph, entities: Sequence[str], limit: int) -> Figure:
    """Entities on the left; on the right the parts in which any of them appears, at most `limit`, those with more of
    them first."""
    left = [("entity", name) for name in entities if ("entity", name) in graph]
    shared = Counter(part for name in left for part in graph[name])
    right = sorted(shared, key=lambda part: (-shared[part], part))[:limit]
    heights = np.linspace(0, 1 - len(right), len(left) + 2)[1:-1].tolist()
    places = {name: (0.0, y) for name, y in zip(left, heights, strict=True)}
    places |= {part: (1.0, -float(row)) for row, part in enumerate(right)}
    figure = Figure(figsize=(7, 0.45 * max(len(right), 4)))
    axis = figure.subplots()
    nx.draw_networkx(
        graph.subgraph(places),
        pos=places,
        ax=axis,
        labels={node: f"part {node[1]}" if node[0] == "part" else node[1] for node in places},
        node_size=0,
        font_size=9,
        edge_color=GREY,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": BLUE},
    )
    axis.margins(0.2, 0.1)
    axis.axis("off")
    return figure
