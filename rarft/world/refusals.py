"""Refusals of the world's queries: their words, the claims that they make, and the categories of these claims."""

from __future__ import annotations

import re

from rarft.schema import Category
from rarft.world import scenes
from rarft.world.language import WORDINGS, Slots, normalized

REFUSAL = "no such segment :"


def refusal(query: Slots, truth: Slots, failing: list[str]) -> str:
    """Why the video does not show `query`: what it shows instead, slot by slot (`red not blue`), in its wording."""
    reasons = [f"{truth.wording(slot, query.form)} not {query.wording(slot, query.form)}" for slot in failing]
    return f"{REFUSAL} {' and '.join(reasons)}"


# The words of a refusal in the plain form, each with its slot.
SLOT_OF_WORD = (
    {word: slot for slot, groups in scenes.VALUES.items() for group in groups for word in group}
    | {f"{a} to {b}": "transition" for a in scenes.SCENES for b in scenes.SCENES if a != b}
    | dict.fromkeys(("before", "after"), "order")
)
# Every wording of a value → its slot and the value itself.
_MEANING = {word: (slot, word) for word, slot in SLOT_OF_WORD.items()} | {
    phrase: (slot, value) for slot, table in WORDINGS.items() for phrase, (value, _) in table.items()
}
_CLAIM_BOUNDARY = re.compile(r" and (?!off\b|fro\b)")  # not inside "turns on and off", "goes to and fro"


def claims(answer: str) -> list[tuple[str, str, str]]:
    """The claims of a refusal: (slot, what is said to be true, what is said to be false), in plain words.

    A claim with an unknown word, or with words of two different slots, is returned under the slot "".
    """
    found = []
    for claim in _CLAIM_BOUNDARY.split(normalized(answer).removeprefix(REFUSAL).strip()):
        true, _, false = (part.strip() for part in claim.partition(" not "))
        slot, meant = _MEANING.get(true, ("", true))
        other, denied = _MEANING.get(false, ("", false))
        found.append((slot if slot == other else "", meant, denied))
    return found


_CATEGORIES = {
    "colour": Category.ATTRIBUTE_VALUE,
    "shape": Category.OBJECT_EXISTENCE,
    "action": Category.FINE_GRAINED_ACTION,
    "part": Category.OBJECT_PART_RELATION,
    "count": Category.COUNTING,
    "place": Category.OBJECT_SPATIAL_RELATION,
    "size": Category.COMPARISON,
    "scene": Category.SCENE_EXISTENCE,
    "transition": Category.SCENE_TRANSITION,
    "order": Category.ACTION_SEQUENCE,
}


def category(slot: str, value: str) -> Category:
    """The HI-VTG category of an edit of `slot`; a move is ObjectMoving, any other action FineGrainedAction."""
    if slot == "action" and value.startswith("moves"):
        return Category.OBJECT_MOVING
    return _CATEGORIES[slot]
