"""Query expansion: a text retrieves better in several versions (Bai et al., ICLR 2025, arXiv 2408.07249: text-video
retrieval).

Mechanism: videos know more than a query says. So videos are captioned at the level of events, and a language model
writes several queries for one; farthest query sampling keeps a few that are relevant and unlike each other; a video
scores by all of them.

Kept: captions of events (`rarft.related.long_video.retrieval`), several queries, the selection. Scaled down:
queries are written by the world's language (`rarft.world.language.paraphrases`, `enriched_queries`), and retrieval is
by an encoder as it comes, without training on captions.

Does it refuse? Retrieval always finds something: its best similarity is the only refusal score. And an expansion that
adds what the query did not say (`enriched_queries`) is a query about something else: one that HI-VTG would call
hard-irrelevant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rarft.related.long_video.retrieval import Index
from rarft.world import scenes
from rarft.world.language import Slots, parse


def enriched_queries(query: str, count: int, rng: np.random.Generator) -> list[str]:
    """A query with details that it does not have: each version fills in one or two of its empty slots at random, as a
    language model does that was asked to "enrich" it. A query of another language is left as it is."""
    slots = parse(query)
    if slots is None:
        return [query]
    return [_add_details(slots, rng).sentence() for _ in range(count)]


def _add_details(slots: Slots, rng: np.random.Generator) -> Slots:
    empty = [name for name in ("count", "place", "size", "scene") if getattr(slots, name) is None]
    if slots.transition and "scene" in empty:
        empty.remove("scene")
    layout = "stack" if slots.action in scenes.MOVES["stack"] else "side"
    values = {"count": scenes.COUNTS, "place": scenes.PLACES[layout], "size": scenes.SIZES, "scene": scenes.SCENES}
    for name in map(str, rng.permutation(empty)[:2]):
        details: dict[str, Any] = {name: str(rng.choice(values[name]))}
        if name == "count":
            details["part"] = str(rng.choice(scenes.PARTS))
        slots = replace(slots, **details)
    return slots


def farthest_points(vectors: np.ndarray, count: int) -> list[int]:
    """Rows of vectors (n, d) of length 1 that are unlike each other: the first, then each time the one whose nearest
    chosen neighbour is farthest (farthest query sampling; Gonzalez, 1985)."""
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < min(count, len(vectors)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def ranking(index: Index, queries: Sequence[str]) -> np.ndarray:
    """The parts of a video, best first, by the mean similarity of several versions of one query."""
    return np.argsort(-index.similarity(queries).mean(0), kind="stable")
