"""Model completions for the world's stories: written by a perfect, or a deliberately imperfect, annotator."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from rarft.response import NIL, format_completion
from rarft.world import edits
from rarft.world.language import Slots, describe, refusal, timeline, value_of
from rarft.world.scenes import Actor, Event, Story
from rarft.world.truth import failing_at, order_word

REFUSAL_CHANCE = {1: 0.1, 2: 0.15, 3: 0.25}  # by the number of slots that fail; see `refusal_chance`


def nearest_of(story: Story, query: Slots, actor: Actor) -> tuple[list[str], Slots, Event]:
    """The event of one actor that a query most nearly describes: the slots that fail, what is true of it, itself.

    Among equals, one whose truth the grammar has words for, then one of the asked action, then the earliest.
    """
    compared = []
    for event in actor.events:
        word = order_word(actor, event, query)
        truth = replace(describe(story, actor, event), order=(word, query.order[1]) if word and query.order else None)
        compared.append((failing_at(story, actor, event, query), truth, event))
    return min(compared, key=lambda item: (*_distance(*item[:2]), "action" in item[0]))


def _distance(fails: list[str], truth: Slots) -> tuple[int, bool]:
    return len(fails), any(getattr(truth, slot) is None for slot in fails)


def nearest(story: Story, query: Slots) -> tuple[list[str], Slots, Actor, Event]:
    """`nearest_of` the actor that comes closer to the query; the first one among equals."""
    compared = [(*nearest_of(story, query, actor), actor) for actor in story.actors]
    fails, truth, event, actor = min(compared, key=lambda item: _distance(*item[:2]))
    return fails, truth, actor, event


NAMES = ("A", "B")  # of the actors in a reasoning, in the order of the timeline
MARKS = tuple(f"{name}{count}" for name in NAMES for count in range(len(fields(Slots)) + 1))


def reasoning(story: Story, query: Slots) -> str:
    """The reasoning: the timeline, then the query compared with each actor's nearest event, then the segment.

    `segment : blinks grows : red red ring square A1 grows grows : A1 . grows shrinks : red blue B1 ring ring grows
    grows : B1 .
    A1 square not ring : 0 blinks 1 grows <timestep> 1 2 grows 3 blinks </timestep> 3 .`: for each actor what it does,
    in order; each thing asked beside what is shown (`no` where there is nothing of the kind), with a counting mark
    where the two differ; and the count at the end. Then the marks of the actor that comes closer, each with what is
    shown and what is not (or its 0), and its seconds once more, with a mark where the event has begun and one where it
    has ended. Like the timeline, this has only steps of one look-up or one comparison; answer, refusal and correction
    are then copied from it. A small model that writes less learns the timeline and then guesses. Each part is there for
    an error that was
    counted without it: held against the nearest event alone, every second irrelevant query was compared with a mixture
    of both actors; without the list of actions, 58 of 200 comparisons with an actor were made with the wrong action;
    and without the marks before what is to be explained, three of four explanations of a perfect comparison were wrong.
    """
    comparisons = [
        _comparison(name, query, actor, *nearest_of(story, query, actor))
        for name, actor in zip(NAMES, story.actors, strict=True)
    ]
    fails, truth, actor, event = nearest(story, query)
    seconds = [f"{second} {e.action}" for e in actor.events for second in range(e.start, e.end)]
    seconds.append(str(story.duration))  # nothing is to be seen there
    seconds[event.start] += f" <timestep> {event.start}"
    seconds[event.end] += f" </timestep> {event.end}"
    name = NAMES[story.actors.index(actor)]
    wrong = [
        f"{name}{n} {value_of(slot, truth) or 'no'} not {value_of(slot, query)}"
        for n, slot in enumerate(fails, start=1)
    ]
    chosen = " ".join(wrong) or f"{name}0"
    return f"{timeline(story)} segment : {' . '.join(comparisons)} . {chosen} : {' '.join(seconds[: event.end + 1])} ."


def _comparison(name: str, query: Slots, actor: Actor, fails: list[str], truth: Slots, _: Event) -> str:
    pairs = []
    for slot in query.filled:
        pairs.append(f"{value_of(slot, query)} {value_of(slot, truth) or 'no'}")
        if slot in fails:
            pairs.append(f"{name}{fails.index(slot) + 1}")
    return f"{' '.join(e.action for e in actor.events)} : {' '.join(pairs)} : {name}{len(fails)}"


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

    Like a grounder trained on few refusals: hardly ever, but more so the less fits, and mostly if next to nothing
    does. Reinforcement learning can only strengthen what is sampled now and then.
    """
    if not fails:
        return 0.0
    if len(fails) >= 4 or len(fails) == 3 and {"colour", "shape"} <= set(fails):
        return 0.75
    return REFUSAL_CHANCE[len(fails)]


def base_example(story: Story, others: list[Story], rng: np.random.Generator) -> tuple[str, str, bool]:
    """Draw one (query, completion, forced) of the base model's training: a grounder that seldom says no.

    5 in 10 queries are right; 3 in 10 are wrong in one to three slots; 2 in 10 come from another clip. What is wrong is
    thought, and mostly answered all the same (`refusal_chance`), as a system trained on ordinary grounding data does.
    Every second wrong query is refused with `forced` set: its opening words, `REFUSAL`, are masked in the loss.
    So the base learns how to explain and correct, if it ever comes to that, but not to refuse."""
    kind = rng.random()
    query, _ = edits.sample_query(others[rng.integers(len(others))] if kind < 0.2 else story, rng)
    if 0.2 <= kind < 0.5:
        edit = edits.edit_query(story, query, int(rng.integers(1, 4)), rng)
        query = edit.query if edit else query
    fails = nearest(story, query)[0]
    refusal = refused(story, query) if fails else None
    if refusal and rng.random() < 0.5:
        return query.sentence(), refusal, True
    if refusal and rng.random() < refusal_chance(fails):
        return query.sentence(), refusal, False
    return query.sentence(), answered(story, query), False
