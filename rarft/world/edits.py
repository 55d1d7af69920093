"""Relevant queries, and the edits that make them hard-irrelevant.

Edits are symmetric: a slot goes from a to b as often as from b to a, so no word tells whether a query was edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rarft.schema import Category
from rarft.world import scenes
from rarft.world.language import Slots, category, describe, orders, refusal
from rarft.world.scenes import Actor, Event, Story
from rarft.world.truth import candidates, order_word, spans_of

CLAUSES = ("parts", "place", "size", "setting", "order")
TRIES = 200  # for one edit; a story that allows none within these is drawn again by the caller


def sample_query(story: Story, rng: np.random.Generator, *, clauses: int | None = None) -> tuple[Slots, Event]:
    """Draw a relevant query: colour, shape and action of one event, and `clauses` (default one or two) more."""
    actor = story.actors[rng.integers(2)]
    event = actor.events[rng.integers(len(actor.events))]
    return describe_in_part(story, actor, event, rng, clauses), event


def describe_in_part(
    story: Story, actor: Actor, event: Event, rng: np.random.Generator, clauses: int | None = None
) -> Slots:
    """A query for this event that mentions colour, shape, action and a random choice of the other slots."""
    wanted = rng.permutation(CLAUSES)[: rng.integers(1, 3) if clauses is None else clauses]
    truth = describe(story, actor, event)
    slots = Slots(truth.colour, truth.shape, truth.action)
    if "parts" in wanted:
        slots = replace(slots, part=truth.part, count=truth.count)
    if "place" in wanted:
        slots = replace(slots, place=truth.place)
    if "size" in wanted:
        slots = replace(slots, size=truth.size)
    if "setting" in wanted:
        slots = replace(slots, scene=truth.scene, transition=truth.transition)
    neighbours = orders(actor, event)
    if "order" in wanted and neighbours:
        slots = replace(slots, order=neighbours[rng.integers(len(neighbours))])
    return slots


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
        if spans_of(story, edited):
            continue
        nearest = candidates(story, edited)[0][0]
        if len(nearest) != edits:  # a nearer event explains it with fewer edits: the difficulty would lie
            continue
        answer = explain(story, edited, prefer=frozenset(changed))
        if answer is None:
            continue
        labels = tuple(category(slot, query.action if slot == "action" else "") for slot in changed)
        return Edit(edited, changed, labels, answer, _is_bound(story, query, edited, changed))
    return None


def explain(story: Story, query: Slots, prefer: frozenset[str] = frozenset()) -> str | None:
    """The refusal for a query that does not happen, against the event that it most nearly describes.

    Among equally near events, one whose failing slots are `prefer` wins. None where the grammar has no words
    for it (the order of two actions that are not neighbours, a scene that changes against one that does not).
    """
    ranked = candidates(story, query)
    least = len(ranked[0][0])
    nearest = [item for item in ranked if len(item[0]) == least]
    for fails, actor, event in sorted(nearest, key=lambda item: frozenset(item[0]) != prefer):
        truth = describe(story, actor, event)
        if "order" in fails:
            word = order_word(actor, event, query)
            if word is None or query.order is None:
                continue
            truth = replace(truth, order=(word, query.order[1]))
        if all(getattr(truth, slot) is not None for slot in fails):
            return refusal(query, truth, fails)
    return None


def turned_round(order: tuple[str, str]) -> tuple[str, str]:
    """("before", action) → ("after", action), and back."""
    word, action = order
    return ("after" if word == "before" else "before", action)


def _other_value(story: Story, query: Slots, slot: str, rng: np.random.Generator, rebind: bool) -> Any:
    old = getattr(query, slot)
    if slot == "order":
        return turned_round(old)
    if slot == "transition":
        return old[::-1]
    options = [value for value in _domain(slot, old) if value != old]
    if rebind:
        options = [value for value in options if value in _present(story, slot)] or options
    return options[rng.integers(len(options))]


def _domain(slot: str, old: str) -> Sequence[str]:
    """The values that may replace `old`. Directions stay on their axis: a cross-axis edit would show in the text."""
    groups: Mapping[str, Sequence[Sequence[str]]] = {
        "colour": [scenes.COLOURS],
        "shape": [scenes.SHAPES],
        "part": [scenes.PARTS],
        "count": [scenes.COUNTS],
        "size": [scenes.SIZES],
        "scene": [scenes.SCENES],
        "place": list(scenes.PLACES.values()),
        "action": [scenes.IN_PLACE, *scenes.MOVES.values()],
    }
    return next(group for group in groups[slot] if old in group)


def _present(story: Story, slot: str) -> set[str]:
    """The values of a slot that the clip shows anywhere."""
    if slot == "scene":
        return {setting.scene for setting in story.settings}
    if slot == "action":
        return {event.action for actor in story.actors for event in actor.events}
    return {getattr(actor, slot) for actor in story.actors}


def _is_bound(story: Story, query: Slots, edited: Slots, changed: tuple[str, ...]) -> bool:
    return all(slot in ("order", "transition") or getattr(edited, slot) in _present(story, slot) for slot in changed)
