"""Truth on demand: does a sentence happen in a story, when, and if not, which of its slots fail?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rarft.schema import Span
from rarft.world.language import Slots, describe, orders, parse
from rarft.world.refusals import claims, refusal
from rarft.world.scenes import Actor, Event, Story


class Match(NamedTuple):
    """A query held against one event.

    fails: the slots of the query that do not hold, in the order of the grammar. truth: every slot that holds; its
    `order` is that of the event and the query's other action, None if the two are not neighbours.
    """

    query: Slots
    actor: Actor
    event: Event
    truth: Slots
    fails: list[str]

    @property
    def sayable(self) -> bool:
        """Whether the grammar has words for what is true instead. It has none for the order of two actions that are
        not neighbours, or for a scene that changes against one that does not."""
        return all(getattr(self.truth, slot) is not None for slot in self.fails)

    @property
    def correction(self) -> Slots:
        """The query with each failing slot as it is in truth."""
        return replace(self.query, **{slot: getattr(self.truth, slot) for slot in self.fails})

    @property
    def refusal(self) -> str:
        """Why this event is not what the query asks for; only where it is `sayable`."""
        return refusal(self.query, self.truth, self.fails)


def match_all(story: Story, query: Slots, actors: Sequence[Actor] = ()) -> list[Match]:
    """The query held against every event of these actors (default: both), in the order of actors and time."""
    return [_match(story, actor, event, query) for actor in actors or story.actors for event in actor.events]


def _match(story: Story, actor: Actor, event: Event, query: Slots) -> Match:
    truth, neighbours = describe(story, actor, event), orders(actor, event)
    fails = [slot for slot in query.filled if slot != "order" and getattr(query, slot) != getattr(truth, slot)]
    if query.order is not None:
        truth = replace(truth, order=next((order for order in neighbours if order[1] == query.order[1]), None))
        fails += ["order"] if query.order not in neighbours else []
    return Match(query, actor, event, truth, fails)


def candidates(story: Story, query: Slots) -> list[Match]:
    """All events, those with the fewest failing slots first: the head is what the query most nearly says."""
    return sorted(match_all(story, query), key=lambda m: (len(m.fails), "order" in m.fails, m.event.start))


def nearest_candidates(story: Story, query: Slots) -> list[Match]:
    """The events with as few failing slots as any."""
    ranked = candidates(story, query)
    return [match for match in ranked if len(match.fails) == len(ranked[0].fails)]


def spans_of(story: Story, query: Slots) -> list[Span]:
    """The segments in which `query` happens, in seconds; empty if it does not."""
    return [Span(float(m.event.start), float(m.event.end)) for m in candidates(story, query) if not m.fails]


def failing_slots(story: Story, query: Slots) -> list[frozenset[str]]:
    """The smallest sets of slots that must change for `query` to happen; [empty set] if it happens already."""
    return sorted({frozenset(match.fails) for match in nearest_candidates(story, query)}, key=sorted)


def explain(story: Story, query: Slots, prefer: frozenset[str] = frozenset()) -> str | None:
    """The refusal for a query that does not happen, against the event that it most nearly describes.

    Among equally near events, one whose failing slots are `prefer` wins. None where the grammar has no words for it.
    """
    nearest = sorted(nearest_candidates(story, query), key=lambda match: frozenset(match.fails) != prefer)
    return next((match.refusal for match in nearest if match.sayable), None)


def explanation_is_true(story: Story, query: Slots, answer: str) -> tuple[bool, bool]:
    """Judge a refusal against the story.

    Returns (true, complete). True: there is at least one claim, and some nearest event exists for which
    every claim names a failing slot of the query, denies what the query says and states what the event is.
    Complete: the claims cover every failing slot of that event, too.
    """
    made = claims(answer)
    slots = {slot for slot, _, _ in made}
    if "" in slots or len(slots) != len(made):
        return False, False
    agreeing = [
        match
        for match in nearest_candidates(story, query)
        if all(
            slot in match.fails and query.word(slot) == false and match.truth.word(slot) == said
            for slot, said, false in made
        )
    ]
    return bool(agreeing), any(slots == set(match.fails) for match in agreeing)


def happens(story: Story, sentence: str) -> bool:
    """Whether a sentence happens in the story; a sentence outside the grammar does not."""
    slots = parse(sentence)
    return slots is not None and bool(spans_of(story, slots))
