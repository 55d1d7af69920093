"""Every diagram of the course is drawn; its texts stay inside the picture, inside their boxes, and apart."""

import inspect
import json
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from coursekit import ROOT, diagrams
from rarft.evaluation.figures import png
from rarft.world.completions import refusal_aware_completion
from rarft.world.dataset import draw_clip

HAIR = 0.01  # inches
STORY, QUERY, EDITS = draw_clip(0, "train", 0)
GRAPH = nx.Graph(
    (("entity", name), ("part", part))
    for name in ("red ring", "blue cross")
    for part in range(0, 12, 1 + len(name) % 3)
)
REWARDS = {f"answer {n}": {"format": 1.0, "refuse-IoU": n % 2, "explain": 0.1 * n, "correction": 0.5} for n in range(8)}


def completion(query):
    text = refusal_aware_completion(STORY, query)
    assert text is not None
    return text


DRAWN = {
    "anatomy": lambda: diagrams.anatomy(completion(QUERY)),
    "anatomy of a refusal": lambda: diagrams.anatomy(completion(next(iter(EDITS.values())).query)),
    "pipeline": diagrams.pipeline,
    "vision_tokens": lambda: diagrams.vision_tokens(np.zeros((2, 64, 64, 3), np.uint8)),
    "rotary": lambda: diagrams.rotary([10_000 ** (-n / 16) for n in range(16)], [n % 3 for n in range(16)]),
    "edited": lambda: diagrams.edited(QUERY, EDITS),
    "reward_flow": lambda: diagrams.reward_flow(REWARDS),
    "prefix_mask": lambda: diagrams.prefix_mask(24, [8, 8, 8]),
    "training_stages": lambda: diagrams.training_stages(
        json.loads((ROOT / "data" / "base" / "training_log.json").read_text())
    ),
    "verdicts": diagrams.verdicts,
    "related_systems": diagrams.related_systems,
    "training_signals": diagrams.training_signals,
    "part_graph": lambda: diagrams.part_graph(GRAPH, ["red ring", "blue cross"], 8),
}


def test_every_diagram_is_drawn_here():
    public = inspect.getmembers(diagrams, inspect.isfunction)
    figures = {
        name
        for name, made in public
        if made.__module__ == diagrams.__name__ and made.__annotations__["return"] == "Figure"
    }
    assert {name for name in figures if not name.startswith("_")} == {name.partition(" ")[0] for name in DRAWN}


@pytest.fixture
def texts(monkeypatch):
    """Draws a figure as a chapter shows it. Returns the place of each text that is seen, in inches."""

    def draw(figure):
        seen, drawn_by = {}, Text.draw

        def draw_text(self, renderer):
            if self.get_text().strip():
                seen[self] = self.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
            drawn_by(self, renderer)

        monkeypatch.setattr(Text, "draw", draw_text)
        assert png(figure).startswith(b"\x89PNG")
        return seen

    return draw


@pytest.mark.parametrize("name", DRAWN)
def test_texts_are_inside_the_picture_and_apart(name, texts):
    figure = DRAWN[name]()
    assert isinstance(figure, Figure)
    places = texts(figure)
    assert len(places) >= 5 and not [text.get_text() for text in places if "$" in text.get_text()]
    width, height = figure.get_size_inches()
    for text, place in places.items():
        assert min(place.x0, place.y0, width - place.x1, height - place.y1) > -HAIR, text.get_text()
    for (one, a), (other, b) in combinations(places.items(), 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, down) < HAIR, (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", ["pipeline", "verdicts", "related_systems", "training_signals"])
def test_the_text_of_a_box_fits_into_it(name, texts):
    figure = DRAWN[name]()
    places = texts(figure)
    patches = [patch for axis in figure.axes for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    boxes = [patch.get_window_extent().transformed(figure.dpi_scale_trans.inverted()) for patch in patches]
    for box in boxes:
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        [inside] = [place for place in places.values() if place.contains(x, y)]
        assert inside.width <= box.width and inside.height <= box.height
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_a_diagram_says_what_it_is_drawn_from(texts):
    said = {text.get_text() for text in texts(DRAWN["edited"]())}
    assert QUERY.sentence() in said and {edit.answer for edit in EDITS.values()} <= said
    parts = dict(diagrams.parts_of(completion(QUERY)))
    shown = " ".join(text.get_text() for text in texts(DRAWN["anatomy"]()))
    assert parts["answer"] in shown and all(word in shown for word in parts["timeline of the first actor"].split())
