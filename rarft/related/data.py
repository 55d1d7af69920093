"""Training groups of world clips: several queries a clip, as data sets of the field have, with the negatives that a
setting allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from rarft.schema import Category, Group, Sample
from rarft.system.errors import InputError
from rarft.system.progress import progress
from rarft.world.dataset import LEVELS, WorldClip, group_of, shuffled
from rarft.world.edits import edit_query, sample_query, turned_round
from rarft.world.language import Slots
from rarft.world.scenes import held_out
from rarft.world.truth import spans_of
from rarft.world.wordings import draw_form

ORDER_TRIES = 200  # draws of a query until one with an order is found
NEGATIVES = ("none", "shuffled", "all")  # all: hard-irrelevant ones of three levels, and a shuffled one


def training_groups(world: Sequence[WorldClip], *, negatives: str, queries: int = 4, seed: int = 0) -> list[Group]:
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
        groups += [_drawn_group(clip, rng) for _ in range(queries - 1)]
    if negatives == "none":
        return [Group(group.relevant) for group in groups]
    others = _repeated(shuffled(list(world), rng), queries)
    if negatives == "shuffled":
        return [Group(group.relevant, (other,)) for group, other in zip(groups, others, strict=True)]
    return [Group(group.relevant, (*group.irrelevant, other)) for group, other in zip(groups, others, strict=True)]


def _repeated(samples: Sequence[Sample], times: int) -> list[Sample]:
    return [sample for sample in samples for _ in range(times)]


def _drawn_group(clip: WorldClip, rng: np.random.Generator) -> Group:
    """Another query about a clip and its edits, by the rules of `rarft.world.dataset.draw_clip`."""
    while True:
        query = replace(sample_query(clip.story, rng)[0], form=draw_form(rng))
        edits = {level: edit_query(clip.story, query, number + 1, rng) for number, level in enumerate(LEVELS)}
        made = {level: edit for level, edit in edits.items() if edit is not None}
        whole = len(made) == len(LEVELS) and len(spans_of(clip.story, query)) == 1
        if whole and not _names_held_out([query, *(edit.query for edit in made.values())]):
            return group_of(str(clip.path), clip.story, query, made)


def _names_held_out(queries: Iterable[Slots]) -> bool:
    return any(held_out(query.colour, query.shape, query.action) for query in queries)


def order_pairs(world: Sequence[WorldClip], *, seed: int = 0) -> list[tuple[Sample, Sample]]:
    """For each clip whose story allows one: a relevant query with an order, and the same with the order turned round,
    which happens nowhere in the clip. The two differ in the words of the order alone."""
    rng = np.random.default_rng(seed)
    pairs = []
    for clip in world:
        for _ in range(ORDER_TRIES):
            query = replace(sample_query(clip.story, rng)[0], form=draw_form(rng))
            if query.order is None:
                continue
            turned = replace(query, order=turned_round(query.order))
            if len(spans_of(clip.story, query)) == 1 and not spans_of(clip.story, turned):
                relevant = replace(clip.group.relevant, query=query.sentence(), spans=spans_of(clip.story, query))
                pairs.append((relevant, _irrelevant(relevant, turned)))
                break
    return pairs


def _irrelevant(relevant: Sample, query: Slots) -> Sample:
    categories = [Category.ACTION_SEQUENCE]
    return replace(relevant, query=query.sentence(), spans=[], correction=relevant.query, categories=categories)
