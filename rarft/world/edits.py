"""Relevant queries, and the edits that make them hard-irrelevant.

Edits are symmetric: a slot goes from a to b as often as from b to a, so no word tells whether a query was edited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rarft.schema import Category
from rarft.world import scenes
from rarft.world.language import Slots, describe, orders
from rarft.world.refusals import category
from rarft.world.scenes import Story
from rarft.world.truth import candidates, explain
from rarft.world.wordings import draw_form

CLAUSES = {  # of a query, besides colour, shape and action: the slots of each
    "parts": ("part", "count"),
    "place": ("place",),
    "size": ("size",),
    "setting": ("scene", "transition"),
    "order": ("order",),
}
TRIES = 200  # for one edit; a story that allows none within these is drawn again by the caller


def sample_query(story: Story, rng: np.random.Generator, *, clauses: int | None = None) -> Slots:
    """Draw a relevant query in the plain form: colour, shape and action of one event, and `clauses` more (default: one
    or two), of those in `CLAUSES`."""
    actor = story.actors[rng.integers(2)]
    event = actor.events[rng.integers(len(actor.events))]
    wanted = rng.permutation(list(CLAUSES))[: rng.integers(1, 3) if clauses is None else clauses]
    truth, neighbours = describe(story, actor, event), orders(actor, event)
    if "order" in wanted and neighbours:
        truth = replace(truth, order=neighbours[rng.integers(len(neighbours))])
    mentioned = ("colour", "shape", "action", *(slot for clause in wanted for slot in CLAUSES[clause]))
    return Slots(**{slot: getattr(truth, slot) for slot in mentioned})


def sample_worded_query(story: Story, rng: np.random.Generator, *, clauses: int | None = None) -> Slots:
    """Draw a relevant query, and a wording that training shows."""
    return replace(sample_query(story, rng, clauses=clauses), form=draw_form(rng))


@dataclass(frozen=True)
class Edit:
    """A hard-irrelevant query, and what is wrong with it."""

    query: Slots
    changed: tuple[str, ...]  # slots
    categories: tuple[Category, ...]
    answer: str  # the refusal
    bound: bool  # every new word is true of something else in the clip: only the binding is wrong


def edit_query(story: Story, query: Slots, edits: int, rng: np.random.Generator) -> Edit | None:
    """Change `edits` slots of a relevant query so that it no longer happens, or return None if none was found.

    Half of the edits rebind (the new value belongs to the other actor or another moment) where that is possible.
    """
    if edits > len(query.filled):
        return None
    for _ in range(TRIES):
        changed = tuple(str(s) for s in rng.permutation(query.filled)[:edits])
        rebind = bool(rng.random() < 0.5)
        edited = query
        for slot in changed:
            edited = replace(edited, **{slot: _other_value(story, query, slot, rng, rebind)})
        if len(candidates(story, edited)[0].fails) != edits:  # it happens, or fewer edits explain it
            continue
        answer = explain(story, edited, prefer=frozenset(changed))
        if answer is None:
            continue
        labels = tuple(category(slot, query.action if slot == "action" else "") for slot in changed)
        bound = all(getattr(edited, slot) in _present(story, slot) for slot in changed if slot in scenes.VALUES)
        return Edit(edited, changed, labels, answer, bound)
    return None


def reversed_order(order: tuple[str, str]) -> tuple[str, str]:
    """("before", action) → ("after", action), and back."""
    word, action = order
    return ("after" if word == "before" else "before", action)


def _other_value(story: Story, query: Slots, slot: str, rng: np.random.Generator, rebind: bool) -> Any:
    old = getattr(query, slot)
    if slot == "order":
        return reversed_order(old)
    if slot == "transition":
        return old[::-1]
    group = next(group for group in scenes.VALUES[slot] if old in group)
    options = [value for value in group if value != old]
    if rebind:
        options = [value for value in options if value in _present(story, slot)] or options
    return options[rng.integers(len(options))]


def _present(story: Story, slot: str) -> set[str]:
    """The values of a slot that the clip shows anywhere."""
    if slot == "scene":
        return {setting.scene for setting in story.settings}
    if slot == "action":
        return {event.action for actor in story.actors for event in actor.events}
    return {getattr(actor, slot) for actor in story.actors}
