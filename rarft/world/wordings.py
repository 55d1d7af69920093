"""The ways in which the world's sentences say the same: several words for a value, several places for a clause.

How a query is worded is drawn apart from what it says, and an edited query keeps the wording of the query that it was
made from: wording can tell nothing about relevance. Where a slot has a third wording, training never shows it, though
it shows each of its words elsewhere; queries of the test do.

Three actions have none. "becomes larger" was tried: in training, "becomes" stands with "smaller" alone, and the base
misread 17 of 19 such queries ("gets smaller" 14 of 18, "goes to and fro" 10 of 14). That says what a small model takes
a word to mean, not whether it can refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ACTIONS = {
    "grows": ("grows", "gets bigger"),
    "shrinks": ("shrinks", "becomes smaller"),
    "blinks": ("blinks", "goes on and off", "turns on and off"),
    "shakes": ("shakes", "moves to and fro"),
    "moves up": ("moves up", "slides up", "goes up"),
    "moves down": ("moves down", "goes down", "slides down"),
    "moves left": ("moves left", "slides left", "goes left"),
    "moves right": ("moves right", "goes right", "slides right"),
}
PLACES = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
SIZES = {"bigger": ("bigger", "larger"), "smaller": ("smaller", "tinier")}
# slot → value → its wordings
SYNONYMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"action": ACTIONS, "place": PLACES, "size": SIZES}
PARTS = ("with {count} {parts}", "that has {count} {parts}")
SCENES = ("on the {scene}", "with {scene} behind it")
TRANSITIONS = (
    "as the {source} turns to {target}",
    "while the {source} becomes {target}",
    "while the {source} turns to {target}",
)
ORDERS = {
    "before": ("before it {neighbour}", "and then it {neighbour}"),
    "after": ("after it {neighbour}", "when it no longer {neighbour}"),
}
# What may stand in front: nothing, the setting, and, in the test only, the order.
FRONTS = (None, "setting", "order")


@dataclass(frozen=True)
class Form:
    """Which wording of each slot a sentence takes, by its number above (the last one where there are fewer), and the
    clause that it begins with."""

    action: int = 0
    place: int = 0
    size: int = 0
    parts: int = 0
    scene: int = 0
    transition: int = 0
    order: int = 0
    front: int = 0


PLAIN = Form()


def draw_form(rng: np.random.Generator, *, unseen: bool = False) -> Form:
    """A wording of every slot; with `unseen`, the one that training does not show where a slot has one."""
    drawn = Form(*(int(number) for number in rng.integers(2, size=8)))
    if not unseen:
        return drawn
    front = int(rng.integers(3))
    return Form(2, drawn.place, drawn.size, drawn.parts, drawn.scene, 2, drawn.order, front)


def pick_wording(phrases: tuple[str, ...], number: int) -> str:
    """The wording of that number, or the last one."""
    return phrases[min(number, len(phrases) - 1)]


def all_words() -> list[str]:
    """Every word of every wording. A phrase such as "moves up" is one word, as in the plain form."""
    tables = [phrases for table in (*SYNONYMS.values(), ORDERS) for phrases in table.values()]
    phrases = [phrase for table in (*tables, PARTS, SCENES, TRANSITIONS) for phrase in table]
    words = [word for phrase in phrases for word in ([phrase] if phrase in (*ACTIONS, *PLACES) else phrase.split())]
    return [word for word in words if "{" not in word]
