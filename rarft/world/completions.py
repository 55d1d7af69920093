"""Model completions for the world's stories: what a perfect, or a deliberately imperfect, teacher would write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rarft.response import NIL, format_completion
from rarft.world import edits
from rarft.world.language import REFUSAL, Slots, describe, refusal, timeline, value_of
from rarft.world.scenes import Actor, Event, Story
from rarft.world.truth import candidates, order_word

REFUSAL_CHANCE = {1: 0.1, 2: 0.15, 3: 0.25}  # by the number of slots that fail; see `refusal_chance`


def nearest(story: Story, query: Slots) -> tuple[list[str], Slots, Actor, Event]:
    """The event that a query most nearly describes: the slots that fail, what is true of the event, its actor, itself."""
    fails, actor, event = candidates(story, query)[0]
    truth = describe(story, actor, event)
    word = order_word(actor, event, query)
    return fails, replace(truth, order=(word, query.order[1]) if word else None), actor, event


def reasoning(story: Story, query: Slots) -> str:
    """What a teacher thinks: the timeline, then the query held against it.

    `segment : red red and ring square not ring and grows grows . 0 blinks 1 grows <timestep> 1 2 grows 3 blinks </timestep> 3 .`:
    each thing asked beside what the nearest event shows (`no` where there is nothing of the kind), with a remark where the
    two differ; then that actor's seconds once more, with a mark where the event has begun and one where it has ended.
    Like the timeline, it only has steps of one look-up or one comparison; answer, refusal and correction are then copied
    from it. Without it, a small model learns to write the timeline and then guesses.
    """
    _, truth, actor, event = nearest(story, query)
    pairs = " and ".join(_held_against(value_of(slot, query), value_of(slot, truth) or "no") for slot in query.filled)
    told = [f"{second} {e.action}" for e in actor.events for second in range(e.start, e.end)]
    told.append(str(story.duration))  # nothing is to be seen there
    told[event.start] += f" <timestep> {event.start}"
    told[event.end] += f" </timestep> {event.end}"
    return f"{timeline(story)} segment : {pairs} . {' '.join(told[: event.end + 1])} ."


def _held_against(asked: str, shown: str) -> str:
    return f"{asked} {shown}" if asked == shown else f"{asked} {shown} not {asked}"


def answered(story: Story, query: Slots) -> str:
    """Answer with the segment of the event that the query most nearly describes, whether it matches or not."""
    *_, event = nearest(story, query)
    return format_completion(reasoning(story, query), f"{event.start} to {event.end}", NIL)


def refused(story: Story, query: Slots) -> str | None:
    """Refuse, explain and correct; None where the grammar has no words for it."""
    fails, truth, _, _ = nearest(story, query)
    true = {slot: getattr(truth, slot) for slot in fails}
    if None in true.values():
        return None
    return format_completion(reasoning(story, query), refusal(query, truth, fails), replace(query, **true).sentence())


def refusal_chance(fails: list[str]) -> float:
    """How often the base refuses a query of which these slots fail.

    As a grounder that was seldom told no: hardly ever, but more so the less fits, and mostly if next to nothing
    does. Reinforcement learning can only strengthen what is sampled now and then.
    """
    if not fails:
        return 0.0
    if len(fails) >= 4 or len(fails) == 3 and {"colour", "shape"} <= set(fails):
        return 0.75
    return REFUSAL_CHANCE[len(fails)]


def base_lesson(story: Story, others: list[Story], rng: np.random.Generator) -> tuple[str, str, str]:
    """Draw one (query, completion, given) of the base model's training: a grounder that seldom says no.

    5 in 10 queries are right; 3 in 10 are wrong in one to three slots; 2 in 10 come from another clip. What is wrong
    is thought, and mostly answered all the same (`refusal_chance`), as a system trained on ordinary grounding data does.
    For every second wrong query the opening words of a refusal are given, not learned: the base learns how to explain
    and correct, if it ever comes to that, but not to refuse.
    """
    kind = rng.random()
    query, _ = edits.sample_query(others[rng.integers(len(others))] if kind < 0.2 else story, rng)
    if 0.2 <= kind < 0.5:
        edit = edits.edit_query(story, query, int(rng.integers(1, 4)), rng)
        query = edit.query if edit else query
    fails = nearest(story, query)[0]
    refusal = refused(story, query) if fails else None
    if refusal and rng.random() < 0.5:
        return query.sentence(), refusal, refusal[: refusal.index(REFUSAL) + len(REFUSAL)]
    if refusal and rng.random() < refusal_chance(fails):
        return query.sentence(), refusal, ""
    return query.sentence(), answered(story, query), ""
