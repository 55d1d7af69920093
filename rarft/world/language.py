"""Slots of meaning ↔ queries, the sentences of the world's grammar.

    the COLOUR SHAPE [with COUNT PART(s)] [PLACE the other] [SIZE than the other] ACTION
    [on the SCENE | as the SCENE turns to SCENE] [before|after it ACTION]

That is the plain form; `rarft.world.wordings` has the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rarft.world import scenes, wordings
from rarft.world.scenes import Actor, Event, Story
from rarft.world.wordings import FRONTS, Form, pick_wording


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
        third_action = self.form.action == 2 and any(len(wordings.ACTIONS[action]) > 2 for action in actions)
        third_transition = self.transition is not None and self.form.transition == 2
        return third_action or third_transition or (self.order is not None and FRONTS[self.form.front] == "order")

    def word(self, slot: str) -> str | None:
        """The word for a slot in the plain form, as refusals spell it; None if the slot is not mentioned."""
        value = getattr(self, slot)
        if value is None or isinstance(value, str):
            return value
        return value[0] if slot == "order" else f"{value[0]} to {value[1]}"

    def wording(self, slot: str, form: Form) -> str:
        """The word for a mentioned slot in any form."""
        word = self.word(slot)
        assert word is not None, slot
        return pick_wording(wordings.SYNONYMS[slot][word], getattr(form, slot)) if slot in wordings.SYNONYMS else word

    def phrases(self) -> dict[str, str]:
        """Each mentioned slot in the query's words: {"colour": "red", "order": "before it grows"}."""
        form = self.form
        phrases = {slot: self.wording(slot, form) for slot in self.filled}
        if self.place:
            phrases["place"] += " the other"
        if self.size:
            phrases["size"] += " than the other"
        if self.scene:
            phrases["scene"] = wordings.SCENES[form.scene].format(scene=self.scene)
        if self.transition:
            source, target = self.transition
            phrases["transition"] = wordings.TRANSITIONS[form.transition].format(source=source, target=target)
        if self.order:
            word, action = self.order
            template = wordings.ORDERS[word][0 if FRONTS[form.front] == "order" else form.order]
            phrases["order"] = template.format(neighbour=pick_wording(wordings.ACTIONS[action], form.action))
        return phrases

    def sentence(self) -> str:
        """The query in words."""
        phrases, parts = self.phrases(), ""
        if self.count and self.part:
            parts = wordings.PARTS[self.form.parts].format(count=self.count, parts=plural(self.part, self.count))
        clauses = {"setting": phrases.get("scene") or phrases.get("transition"), "order": phrases.get("order")}
        front = clauses.pop(FRONTS[self.form.front] or "", None)
        actor = [f"the {self.colour} {self.shape}", parts, phrases.get("place"), phrases.get("size")]
        return " ".join(words for words in (front, *actor, phrases["action"], *clauses.values()) if words)


SLOTS = tuple(f.name for f in fields(Slots) if f.name != "form")


def plural(part: str, count: str) -> str:
    """The name of an actor's parts: "dot" for one, "dots" for more."""
    return part if count == "one" else part + "s"


def _any_of(phrases: Iterable[str]) -> str:
    """A pattern for any of these, the longest first: "goes" must not match the beginning of "goes to and fro"."""
    return "|".join(sorted(phrases, key=len, reverse=True))


# slot → wording → (value, number of the wording)
WORDINGS = {
    slot: {phrase: (value, n) for value, phrases in table.items() for n, phrase in enumerate(phrases)}
    for slot, table in wordings.SYNONYMS.items()
}
_ACTION, _SCENE = _any_of(WORDINGS["action"]), _any_of(scenes.SCENES)


def _setting_pattern(end: str) -> str:
    scene = [t.format(scene=f"(?P<scene{n}{end}>{_SCENE})") for n, t in enumerate(wordings.SCENES)]
    transition = [
        t.format(source=f"(?P<source{n}{end}>{_SCENE})", target=f"(?P<target{n}{end}>{_SCENE})")
        for n, t in enumerate(wordings.TRANSITIONS)
    ]
    return "|".join(scene + transition)


def _order_pattern(end: str) -> str:
    return "|".join(
        template.format(neighbour=f"(?P<{word}{number}{end}>{_ACTION})")
        for word, templates in wordings.ORDERS.items()
        for number, template in enumerate(templates)
    )


_COUNT, _PART = _any_of(scenes.COUNTS), _any_of(scenes.PARTS)
_PARTS = "|".join(
    t.format(count=f"(?P<count{n}>{_COUNT})", parts=f"(?P<part{n}>{_PART})s?") for n, t in enumerate(wordings.PARTS)
)
_QUERY = re.compile(
    rf"(?:(?:{_setting_pattern('_front')}) |(?:{_order_pattern('_front')}) )?"
    rf"the (?P<colour>{_any_of(scenes.COLOURS)}) (?P<shape>{_any_of(scenes.SHAPES)})"
    rf"(?: (?:{_PARTS}))?"
    rf"(?: (?P<place>{_any_of(WORDINGS['place'])}) the other)?"
    rf"(?: (?P<size>{_any_of(WORDINGS['size'])}) than the other)?"
    rf" (?P<action>{_ACTION})"
    rf"(?: (?:{_setting_pattern('_back')}))?"
    rf"(?: (?:{_order_pattern('_back')}))?"
)
_GROUP = re.compile(r"([a-z]+)(\d)(?:_(front|back))?")  # the name of a group of `_QUERY`: slot, number, end


def normalized(sentence: str) -> str:
    """A sentence in lower case, with single spaces and without its full stop."""
    return " ".join(sentence.lower().rstrip(" .").split())


def parse(sentence: str) -> Slots | None:
    """The slots of a sentence of the grammar in any wording, with its form, or None if it is not one.

    Case and extra spaces do not matter."""
    text = normalized(sentence)
    match = _QUERY.fullmatch(text)
    if match is None:
        return None
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    values: dict[str, Any] = {slot: found.pop(slot) for slot in ("colour", "shape")}
    form: dict[str, int] = {}
    for slot in WORDINGS.keys() & found.keys():
        values[slot], form[slot] = WORDINGS[slot][found.pop(slot)]
    transition: dict[str, str] = {}
    for name, value in found.items():
        kind, number, end = _GROUP.fullmatch(name).groups()  # type: ignore[union-attr]
        if kind in wordings.ORDERS:
            neighbour, number_of_action = WORDINGS["action"][value]
            values["order"], form["order"] = (kind, neighbour), int(number)
            form["action"] = max(form["action"], number_of_action)
        elif kind in ("source", "target"):
            transition[kind], form["transition"] = value, int(number)
        else:
            values[kind], form["scene" if kind == "scene" else "parts"] = value, int(number)
        if end == "front":
            form["front"] = FRONTS.index("order" if kind in wordings.ORDERS else "setting")
    if transition:
        values["transition"] = (transition["source"], transition["target"])
    slots = Slots(**values, form=Form(**form))
    return slots if slots.sentence() == text else None  # two settings, or two wordings


def paraphrases(query: str) -> list[str]:
    """The query, and the same in the other wordings that training shows; a query of another language stays alone."""
    slots = parse(query)
    if slots is None:
        return [query]
    forms = (Form(*[number] * 7) for number in (0, 1))
    return list(dict.fromkeys([query, *(replace(slots, form=form).sentence() for form in forms)]))


def describe(story: Story, actor: Actor, event: Event) -> Slots:
    """Every slot that holds for an event. `scene` and `transition` exclude each other, so one of them is None. So is
    `order`: an event has up to two neighbours, see `orders`."""
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
    )


def orders(actor: Actor, event: Event) -> list[tuple[str, str]]:
    """What can be said of an event's place among its actor's: ("after", previous), ("before", next)."""
    at = actor.events.index(event)
    return [("after", e.action) for e in actor.events[max(0, at - 1) : at]] + [
        ("before", e.action) for e in actor.events[at + 1 : at + 2]
    ]
