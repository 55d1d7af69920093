"""Slots of meaning ↔ sentences of the world's grammar: queries, timelines, refusals.

the COLOUR SHAPE [with COUNT PART(s)] [PLACE the other] [SIZE than the other] ACTION
    [on the SCENE | as the SCENE turns to SCENE] [before|after it ACTION]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from rarft.schema import Category
from rarft.world import scenes
from rarft.world.scenes import Actor, Event, Story


@dataclass(frozen=True)
class Slots:
    """The meaning of a query. None: not mentioned. `transition` is (from, to), `order` ("before"|"after", action)."""

    colour: str
    shape: str
    action: str
    part: str | None = None
    count: str | None = None
    place: str | None = None
    size: str | None = None
    scene: str | None = None
    transition: tuple[str, str] | None = None
    order: tuple[str, str] | None = None

    @property
    def filled(self) -> list[str]:
        """Names of the slots that are mentioned."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]

    def sentence(self) -> str:
        """The query in words."""
        words = [f"the {self.colour} {self.shape}"]
        if self.count:
            words.append(f"with {self.count} {self.part}{'s' if self.count != 'one' else ''}")
        if self.place:
            words.append(f"{self.place} the other")
        if self.size:
            words.append(f"{self.size} than the other")
        words.append(self.action)
        if self.scene:
            words.append(f"on the {self.scene}")
        if self.transition:
            words.append("as the {} turns to {}".format(*self.transition))
        if self.order:
            words.append("{} it {}".format(*self.order))
        return " ".join(words)


def _one_of(name: str, words: tuple[str, ...]) -> str:
    return f"(?P<{name}>{'|'.join(words)})"


_PLACES = scenes.PLACES["side"] + scenes.PLACES["stack"]
_QUERY = re.compile(
    rf"the {_one_of('colour', scenes.COLOURS)} {_one_of('shape', scenes.SHAPES)}"
    rf"(?: with {_one_of('count', scenes.COUNTS)} {_one_of('part', scenes.PARTS)}s?)?"
    rf"(?: {_one_of('place', _PLACES)} the other)?"
    rf"(?: {_one_of('size', scenes.SIZES)} than the other)?"
    rf" {_one_of('action', scenes.ACTIONS)}"
    rf"(?: on the {_one_of('scene', scenes.SCENES)})?"
    rf"(?: as the {_one_of('from', scenes.SCENES)} turns to {_one_of('to', scenes.SCENES)})?"
    rf"(?: {_one_of('order', ('before', 'after'))} it {_one_of('neighbour', scenes.ACTIONS)})?"
)


def parse(sentence: str) -> Slots | None:
    """The slots of a sentence of the grammar, or None if it is not one. Case and extra spaces do not matter."""
    match = _QUERY.fullmatch(" ".join(sentence.lower().rstrip(" .").split()))
    if match is None:
        return None
    values = match.groupdict()
    source, target = values.pop("from"), values.pop("to")
    order, neighbour = values.pop("order"), values.pop("neighbour")
    return Slots(
        **values,
        transition=(source, target) if source else None,
        order=(order, neighbour) if order else None,
    )


def describe(story: Story, actor: Actor, event: Event) -> Slots:
    """Every slot that holds for an event. Two may be None: `scene` and `transition` exclude each other."""
    scene = next((s.scene for s in story.settings if s.start <= event.start and event.end <= s.end), None)
    return Slots(
        colour=actor.colour,
        shape=actor.shape,
        action=event.action,
        part=actor.part,
        count=actor.count,
        place=actor.place,
        size=actor.size,
        scene=scene,
        transition=(story.settings[0].scene, story.settings[1].scene) if scene is None else None,
        order=None,  # an event has up to two neighbours: see `orders`
    )


def orders(actor: Actor, event: Event) -> list[tuple[str, str]]:
    """What can be said of an event's place among its actor's: ("after", previous), ("before", next)."""
    at = actor.events.index(event)
    return [("after", e.action) for e in actor.events[max(0, at - 1) : at]] + [
        ("before", e.action) for e in actor.events[at + 1 : at + 2]
    ]


def timeline(story: Story) -> str:
    """The whole story in words: the text that goes into `<think>`, one entry a second (`4 blinks 5 blinks 6 grows`).

    HI-VTG writes segments, `<timestep>4 to 6</timestep> blinks`. A small model learns those only as far as they can be
    guessed: an end is found by comparing seconds that it has not put into words. Here each entry is one look-up,
    the frames behind one timestamp, and the segment of an answer is read off the model's own words.
    """
    lines = []
    for actor in story.actors:
        looks = (
            f"{actor.colour} {actor.shape} with {actor.count} {actor.part}{'s' if actor.count != 'one' else ''}"
            f" {actor.place} the other {actor.size}"
        )
        lines.append(f"{looks} : {_second_by_second([(e.start, e.end, e.action) for e in actor.events])}")
    lines.append(f"scene : {_second_by_second([(s.start, s.end, s.scene) for s in story.settings])}")
    return " . ".join(lines) + " ."


def _second_by_second(segments: list[tuple[int, int, str]]) -> str:
    return " ".join(f"{second} {what}" for start, end, what in segments for second in range(start, end))


REFUSAL = "no such segment :"


def refusal(query: Slots, truth: Slots, failing: list[str]) -> str:
    """Why the video does not show `query`: what it shows instead, slot by slot (`red not blue`)."""
    return f"{REFUSAL} " + " and ".join(f"{_value(slot, truth)} not {_value(slot, query)}" for slot in failing)


def _value(slot: str, slots: Slots) -> str:
    value = getattr(slots, slot)
    if slot == "transition":
        return "{} to {}".format(*value)
    return value[0] if slot == "order" else value


_VALUES = {
    "colour": scenes.COLOURS,
    "shape": scenes.SHAPES,
    "action": scenes.ACTIONS,
    "part": scenes.PARTS,
    "count": scenes.COUNTS,
    "place": _PLACES,
    "size": scenes.SIZES,
    "scene": scenes.SCENES,
    "transition": tuple(f"{a} to {b}" for a in scenes.SCENES for b in scenes.SCENES if a != b),
    "order": ("before", "after"),
}
_SLOT_OF = {value: slot for slot, values in _VALUES.items() for value in values}


def claims(answer: str) -> list[tuple[str, str, str]]:
    """The claims of a refusal: (slot, what is said to be true, what is said to be false).

    A claim with an unknown word, or with words of two different slots, is returned under the slot "".
    """
    text = " ".join(answer.lower().rstrip(" .").split()).removeprefix(REFUSAL).strip()
    made = []
    for claim in re.split(r" and ", text):
        true, separator, false = claim.partition(" not ")
        slot = _SLOT_OF.get(true.strip(), "") if separator else ""
        if slot != _SLOT_OF.get(false.strip()):
            slot = ""
        made.append((slot, true.strip(), false.strip()))
    return made


def value_of(slot: str, slots: Slots) -> str | None:
    """The word for a slot as refusals spell it, or None if the slot is not mentioned."""
    return None if getattr(slots, slot) is None else _value(slot, slots)


def category(slot: str, value: str) -> Category:
    """The HI-VTG category of an edit of `slot`; a move is ObjectMoving, any other action FineGrainedAction."""
    if slot == "action":
        return Category.OBJECT_MOVING if value.startswith("moves") else Category.FINE_GRAINED_ACTION
    return {
        "colour": Category.ATTRIBUTE_VALUE,
        "shape": Category.OBJECT_EXISTENCE,
        "part": Category.OBJECT_PART_RELATION,
        "count": Category.COUNTING,
        "place": Category.OBJECT_SPATIAL_RELATION,
        "size": Category.COMPARISON,
        "scene": Category.SCENE_EXISTENCE,
        "transition": Category.SCENE_TRANSITION,
        "order": Category.ACTION_SEQUENCE,
    }[slot]
