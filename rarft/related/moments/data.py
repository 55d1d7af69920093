"""What the systems of chapter 13 learn from: groups of queries about each world clip, with the negatives that a setting
allows, as data sets of the field have them; and what is read off the words of such queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarft.schema import Category, Group, Sample
from rarft.system.errors import InputError
from rarft.system.progress import progress
from rarft.world.dataset import WorldClip, draw_edits, group_of, names_held_out, shuffled_samples
from rarft.world.edits import reversed_order, sample_worded_query
from rarft.world.language import SLOTS, parse
from rarft.world.truth import spans_of

ORDER_TRIES = 200  # draws of a query until one with an order is found
NEGATIVES = ("none", "shuffled", "all")  # all: hard-irrelevant ones of three difficulties, and a shuffled one


def query_groups(world: Sequence[WorldClip], *, negatives: str, queries: int = 4, seed: int = 0) -> list[Group]:
    """Groups about training clips, with the negatives of the setting.

    Args:
        world: clips of the split "train".
        negatives: "none", "shuffled" (the query of another clip) or "all" (that one, and three edits).
        queries: different queries about each clip; the first is the clip's own, the others are drawn like it.

    Raises InputError for another setting.
    """
    if negatives not in NEGATIVES:
        raise InputError(f"unknown negatives {negatives!r}; choose one of {', '.join(NEGATIVES)}")
    rng = np.random.default_rng(seed)
    groups: list[Group] = []
    for clip in progress(world, total=len(world), desc="queries"):
        groups.append(clip.group)
        groups += [_draw_group(clip, rng) for _ in range(queries - 1)]
    if negatives == "none":
        return [Group(group.relevant) for group in groups]
    others = [other for other in shuffled_samples(world, rng) for _ in range(queries)]
    edits = slice(None) if negatives == "all" else slice(0)
    return [Group(g.relevant, (*g.irrelevant[edits], other)) for g, other in zip(groups, others, strict=True)]


def _draw_group(clip: WorldClip, rng: np.random.Generator) -> Group:
    """Another query about a clip and its edits, by the rules of `rarft.world.dataset.draw_clip`."""
    while True:
        query = sample_worded_query(clip.story, rng)
        edits = draw_edits(clip.story, query, rng)
        if edits and not names_held_out(query, edits):
            return group_of(str(clip.path), clip.story, query, edits)


def order_pairs(world: Sequence[WorldClip], *, seed: int = 0) -> list[tuple[Sample, Sample]]:
    """For each clip whose story allows one: a relevant query with an order, and the same query with the order reversed,
    which happens nowhere in the clip. The two differ in the words of the order alone."""
    rng = np.random.default_rng(seed)
    pairs = []
    for clip in world:
        for _ in range(ORDER_TRIES):
            query = sample_worded_query(clip.story, rng)
            if query.order is None:
                continue
            spans, wrong = spans_of(clip.story, query), replace(query, order=reversed_order(query.order))
            if len(spans) == 1 and not spans_of(clip.story, wrong):
                relevant = replace(clip.group.relevant, query=query.sentence(), spans=spans)
                irrelevant = replace(relevant, query=wrong.sentence(), spans=[], correction=relevant.query)
                pairs.append((relevant, replace(irrelevant, categories=[Category.ACTION_SEQUENCE])))
                break
    return pairs


def slot_values(queries: Sequence[str]) -> dict[str, list]:
    """The values of each slot that these queries mention, where there are several: what a system can say instead of a
    wrong one. An order is left out, for it is no property of one object. Nothing for queries that are not of the
    world."""
    parsed = [slots for slots in map(parse, queries) if slots]
    found = {slot: {getattr(query, slot) for query in parsed} - {None} for slot in SLOTS if slot != "order"}
    return {slot: sorted(values) for slot, values in found.items() if len(values) > 1}
