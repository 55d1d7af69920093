"""Slots of meaning ↔ sentences of the world's grammar: queries, timelines, refusals.

    the COLOUR SHAPE [with COUNT PART(s)] [PLACE the other] [SIZE than the other] ACTION
    [on the SCENE | as the SCENE turns to SCENE] [before|after it ACTION]

That is the plain form; `rarft.world.wordings` has the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from rarft.schema import Category
from rarft.world import scenes, wordings
from rarft.world.scenes import Actor, Event, Story
from rarft.world.wordings import FRONTS, Form, worded


@dataclass(frozen=True)
class Slots:
    """The meaning of a query. None: not mentioned. `transition` is (from, to), `order` ("before"|"after", action).

    form: how it is worded; two queries that differ in it alone are equal."""

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
    form: Form = field(default=wordings.PLAIN, compare=False)

    @property
    def filled(self) -> list[str]:
        """Names of the slots that are mentioned."""
        return [name for name in SLOTS if getattr(self, name) is not None]

    @property
    def plain(self) -> Slots:
        """The same meaning in the plain form."""
        return replace(self, form=wordings.PLAIN)

    @property
    def unseen(self) -> bool:
        """Whether the sentence has a wording that training never shows."""
        actions = [self.action, *(self.order or ())[1:]]
        third = self.form.action == 2 and any(len(wordings.ACTIONS[action]) > 2 for action in actions)
        return (
            third
            or bool(self.transition and self.form.transition == 2)
            or bool(self.order and FRONTS[self.form.front] == "order")
        )

    def sentence(self) -> str:
        """The query in words."""
        form, front = self.form, FRONTS[self.form.front]
        setting, order = self._setting(), self._order(plain=front == "order")
        words = [setting] if front == "setting" else [order] if front == "order" else []
        words.append(f"the {self.colour} {self.shape}")
        if self.count:
            parts = f"{self.part}{'s' if self.count != 'one' else ''}"
            words.append(wordings.PARTS[form.parts].format(count=self.count, parts=parts))
        if self.place:
            words.append(f"{wordings.PLACES[self.place][form.place]} the other")
        if self.size:
            words.append(f"{wordings.SIZES[self.size][form.size]} than the other")
        words.append(worded(wordings.ACTIONS[self.action], form.action))
        words += [setting] if front != "setting" else []
        words += [order] if front != "order" else []
        return " ".join(word for word in words if word)

    def _setting(self) -> str:
        if self.scene:
            return wordings.SCENES[self.form.scene].format(scene=self.scene)
        if self.transition:
            source, target = self.transition
            return wordings.TRANSITIONS[self.form.transition].format(source=source, target=target)
        return ""

    def _order(self, *, plain: bool) -> str:
        if not self.order:
            return ""
        word, action = self.order
        number = 0 if plain else self.form.order
        return wordings.ORDERS[word][number].format(neighbour=worded(wordings.ACTIONS[action], self.form.action))

    def phrases(self) -> dict[str, str]:
        """Each mentioned slot in the query's words: {"colour": "red", "order": "before it grows"}."""
        said = {slot: _worded(slot, self, self.form) for slot in self.filled}
        for slot in ("place", "size"):
            if slot in said:
                said[slot] += " the other" if slot == "place" else " than the other"
        if self.scene or self.transition:
            said["scene" if self.scene else "transition"] = self._setting()
        if self.order:
            said["order"] = self._order(plain=FRONTS[self.form.front] == "order")
        return said


SLOTS = tuple(f.name for f in fields(Slots) if f.name != "form")


def _either(phrases: Iterable[str]) -> str:
    """A pattern for any of these; the longest first, for "goes to and fro" begins as "goes" might."""
    return "|".join(sorted(phrases, key=len, reverse=True))


_PLACES = scenes.PLACES["side"] + scenes.PLACES["stack"]
_ACTION = _either(phrase for phrases in wordings.ACTIONS.values() for phrase in phrases)
_SCENE = _either(scenes.SCENES)


def _setting_pattern(end: str) -> str:
    scene = "|".join(t.format(scene=f"(?P<scene{n}{end}>{_SCENE})") for n, t in enumerate(wordings.SCENES))
    transition = "|".join(
        t.format(source=f"(?P<source{n}{end}>{_SCENE})", target=f"(?P<target{n}{end}>{_SCENE})")
        for n, t in enumerate(wordings.TRANSITIONS)
    )
    return f"{scene}|{transition}"


def _order_pattern(end: str) -> str:
    return "|".join(
        template.format(neighbour=f"(?P<{word}{number}{end}>{_ACTION})")
        for word, templates in wordings.ORDERS.items()
        for number, template in enumerate(templates)
    )


_PARTS = "|".join(
    t.format(
        count=f"(?P<count{n}>{_either(scenes.COUNTS)})",
        parts=f"(?P<part{n}>{_either(scenes.PARTS)})s?",
    )
    for n, t in enumerate(wordings.PARTS)
)
_QUERY = re.compile(
    rf"(?:(?:{_setting_pattern('_front')}) |(?:{_order_pattern('_front')}) )?"
    rf"the (?P<colour>{_either(scenes.COLOURS)}) (?P<shape>{_either(scenes.SHAPES)})"
    rf"(?: (?:{_PARTS}))?"
    rf"(?: (?P<place>{_either(p for ps in wordings.PLACES.values() for p in ps)}) the other)?"
    rf"(?: (?P<size>{_either(s for ss in wordings.SIZES.values() for s in ss)}) than the other)?"
    rf" (?P<action>{_ACTION})"
    rf"(?: (?:{_setting_pattern('_back')}))?"
    rf"(?: (?:{_order_pattern('_back')}))?"
)
_WORDING = {  # slot → phrase → (value, number of the wording)
    slot: {phrase: (value, n) for value, phrases in table.items() for n, phrase in enumerate(phrases)}
    for slot, table in (("action", wordings.ACTIONS), ("place", wordings.PLACES), ("size", wordings.SIZES))
}


def parse(sentence: str) -> Slots | None:
    """The slots of a sentence of the grammar in any wording, with its form, or None if it is not one.

    Case and extra spaces do not matter."""
    text = " ".join(sentence.lower().rstrip(" .").split())
    match = _QUERY.fullmatch(text)
    if match is None:
        return None
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    form: dict[str, int] = {}
    values: dict[str, str] = {"colour": found["colour"], "shape": found["shape"]}
    for slot in ("action", "place", "size"):
        if slot in found:
            values[slot], form[slot] = _WORDING[slot][found[slot]]
    transition: dict[str, str] = {}
    order = None
    for name, value in found.items():
        kind, number, end = re.fullmatch(r"([a-z]+?)(\d?)(_front|_back|)", name).groups()  # type: ignore[union-attr]
        if kind in ("count", "part"):
            values[kind], form["parts"] = value, int(number)
        elif kind == "scene":
            values["scene"], form["scene"] = value, int(number)
        elif kind in ("source", "target"):
            transition[kind], form["transition"] = value, int(number)
        elif kind in wordings.ORDERS:
            neighbour, number_of_action = _WORDING["action"][value]
            order, form["order"] = (kind, neighbour), int(number)
            form["action"] = max(form["action"], number_of_action)
        if end == "_front":
            form["front"] = FRONTS.index("order" if kind in wordings.ORDERS else "setting")
    slots = Slots(
        **values,
        transition=(transition["source"], transition["target"]) if transition else None,
        order=order,
        form=Form(**form),
    )
    return slots if slots.sentence() == text else None  # two settings, or two wordings


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
    """Why the video does not show `query`: what it shows instead, slot by slot (`red not blue`), in its wording."""
    reasons = [f"{_worded(slot, truth, query.form)} not {_worded(slot, query, query.form)}" for slot in failing]
    return f"{REFUSAL} {' and '.join(reasons)}"


def _value(slot: str, slots: Slots) -> str:
    value = getattr(slots, slot)
    if slot == "transition":
        return "{} to {}".format(*value)
    return value[0] if slot == "order" else value


def _worded(slot: str, slots: Slots, form: Form) -> str:
    value = _value(slot, slots)
    match slot:
        case "action":
            return worded(wordings.ACTIONS[value], form.action)
        case "place":
            return wordings.PLACES[value][form.place]
        case "size":
            return wordings.SIZES[value][form.size]
    return value


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
# Every wording of a value → its slot and the value itself.
_MEANING = {value: (slot, value) for value, slot in _SLOT_OF.items()} | {
    phrase: (slot, value) for slot, table in _WORDING.items() for phrase, (value, _) in table.items()
}


_CLAIM_BOUNDARY = re.compile(r" and (?!off\b|fro\b)")  # not inside "turns on and off", "goes to and fro"


def claims(answer: str) -> list[tuple[str, str, str]]:
    """The claims of a refusal: (slot, what is said to be true, what is said to be false), in plain words.

    A claim with an unknown word, or with words of two different slots, is returned under the slot "".
    """
    text = " ".join(answer.lower().rstrip(" .").split()).removeprefix(REFUSAL).strip()
    made = []
    for claim in _CLAIM_BOUNDARY.split(text):
        true, _, false = (part.strip() for part in claim.partition(" not "))
        slot, meant = _MEANING.get(true, ("", true))
        other, denied = _MEANING.get(false, ("", false))
        made.append((slot if slot == other else "", meant, denied))
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
