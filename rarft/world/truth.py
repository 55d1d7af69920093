"""Truth on demand: does a sentence happen in a story, when, and if not, which of its slots fail?"""

from __future__ import annotations

from rarft.schema import Span
from rarft.world.language import Slots, claims, describe, orders, parse, value_of
from rarft.world.scenes import Actor, Event, Story


def failing_at(story: Story, actor: Actor, event: Event, query: Slots) -> list[str]:
    """The mentioned slots of `query` that do not hold for this event, in the order of the grammar."""
    truth = describe(story, actor, event)
    fails = []
    for slot in query.filled:
        asked = getattr(query, slot)
        holds = asked in orders(actor, event) if slot == "order" else asked == getattr(truth, slot)
        if not holds:
            fails.append(slot)
    return fails


def candidates(story: Story, query: Slots) -> list[tuple[list[str], Actor, Event]]:
    """All events, each with its failing slots, fewest first: the head is what the query most nearly says."""
    compared = [(failing_at(story, a, e, query), a, e) for a in story.actors for e in a.events]
    return sorted(compared, key=lambda item: (len(item[0]), "order" in item[0], item[2].start))


def spans_of(story: Story, query: Slots) -> list[Span]:
    """The segments in which `query` happens, in seconds; empty if it does not."""
    return [Span(float(e.start), float(e.end)) for fails, _, e in candidates(story, query) if not fails]


def failing_slots(story: Story, query: Slots) -> list[frozenset[str]]:
    """The smallest sets of slots that must change for `query` to happen; [empty set] if it happens already."""
    ranked = candidates(story, query)
    least = len(ranked[0][0])
    return sorted({frozenset(f) for f, _, _ in ranked if len(f) == least}, key=sorted)


def order_word(actor: Actor, event: Event, query: Slots) -> str | None:
    """How the query's neighbour action lies to this event: "before", "after", or None if not next to it."""
    if query.order is None:
        return None
    return next((word for word, action in orders(actor, event) if action == query.order[1]), None)


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
    least = len(failing_slots(story, query)[0])
    true = False
    for fails, actor, event in candidates(story, query):
        if len(fails) != least:
            break
        truth = describe(story, actor, event)
        if all(
            slot in fails
            and value_of(slot, query) == false
            and (order_word(actor, event, query) if slot == "order" else value_of(slot, truth)) == said
            for slot, said, false in made
        ):
            true = True
            if slots == set(fails):
                return True, True
    return true, False


def happens(story: Story, sentence: str) -> bool:
    """Whether a sentence happens in the story; a sentence outside the grammar does not."""
    slots = parse(sentence)
    return slots is not None and bool(spans_of(story, slots))
