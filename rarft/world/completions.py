"""Model completions for the world's stories, written by an annotator that knows the story.

Two ways of thinking. A grounder (`grounded`, `turned_down`) looks for what the query names and gives its seconds; it
does not ask whether the rest of the query holds. A refusal-aware annotator (`refusal_aware`) compares the whole query
with what each actor does before it answers, or refuses, explains and corrects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rarft.reading.completion import NIL, format_completion
from rarft.schema import Sample
from rarft.world.language import REFUSAL, SLOTS, Slots, describe, orders, parse, refusal, timeline, value_of
from rarft.world.scenes import Actor, Event, Story
from rarft.world.truth import failing_at, order_word

NAMES = ("A", "B")  # of the actors in a reasoning, in the order of the timeline
MARKS = tuple(f"{name}{count}" for name in NAMES for count in range(len(SLOTS) + 1))


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


def most_alike(story: Story, query: Slots) -> tuple[Actor, Event]:
    """Whom a grounder takes for the asked one: the actor of the asked colour, else of the asked shape, else the first;
    and of its events the one of the asked action, else the first."""
    actor = min(story.actors, key=lambda a: (a.colour != query.colour, a.shape != query.shape))
    return actor, min(actor.events, key=lambda event: event.action != query.action)


def is_out_of_place(story: Story, query: Slots) -> bool:
    """Whether neither the colour nor the shape of what is asked for is anywhere in the clip."""
    return all(a.colour != query.colour and a.shape != query.shape for a in story.actors)


def located(story: Story, query: Slots, actor: Actor, event: Event) -> str:
    """Who is there, who is meant, what it does, the action, and the seconds of what is asked.

    `segment : red ring A blue cross B : red ring A : blinks grows : grows : 0 blinks <timestep> 1 1 grows 2 grows
    </timestep> 3 .`: like the timeline, this has only steps of one look-up. A small model that writes less guesses:
    without the list of who is there, it took the wrong actor for every second query.
    """
    asked = f"{query.colour} {query.shape} {NAMES[story.actors.index(actor)]}"
    actions = " ".join(e.action for e in actor.events)
    return f"segment : {_there(story)} : {asked} : {actions} : {event.action} : {_seconds(actor, event)} ."


def _there(story: Story) -> str:
    return " ".join(f"{a.colour} {a.shape} {name}" for a, name in zip(story.actors, NAMES, strict=True))


def _seconds(actor: Actor, event: Event) -> str:
    """What an actor does second by second, with a mark where the event has begun and one where it has ended."""
    seconds = [f"{second} {e.action}" for e in actor.events for second in range(e.start, e.end)]
    seconds.append(str(actor.events[-1].end))  # nothing is to be seen there
    seconds[event.start] += f" <timestep> {event.start}"
    seconds[event.end] += f" </timestep> {event.end}"
    return " ".join(seconds[: event.end + 1])


def grounded(story: Story, query: Slots) -> str:
    """What a grounder answers: the segment of what is most alike, whether the rest of the query holds or not."""
    actor, event = most_alike(story, query)
    thought = f"{timeline(story)} {located(story, query, actor, event)}"
    return format_completion(thought, f"{event.start} to {event.end}", NIL)


def turned_down(story: Story, query: Slots) -> str:
    """What a grounder says where what is asked for is nowhere: no segment. It gives no reason and corrects nothing."""
    thought = f"{timeline(story)} segment : {_there(story)} : {query.colour} {query.shape} no ."
    return format_completion(thought, REFUSAL.removesuffix(" :"), NIL)


def compared(story: Story, query: Slots) -> str:
    """The query held against each actor's nearest event.

    `compare : blinks grows : red red ring square A1 grows grows : A1 . grows shrinks : red blue B1 ring ring grows
    grows : B1 . A1 square not ring`: for each actor what it does, in order; each thing asked beside what is shown (`no`
    where there is nothing of the kind), with a counting mark where the two differ; and the count at the end. Then the
    marks of the actor that comes closer, each with what is shown and what is not (or its 0). Each part is there for an
    error that was counted without it: held against the nearest event alone, every second irrelevant query was compared
    with a mixture of both actors; without the list of actions, 58 of 200 comparisons with an actor were made with the
    wrong action; and without the marks before what is to be explained, three of four explanations of a perfect
    comparison were wrong. An order is asked about another action, so that one is written, too, and what stands before
    and after the event: `before shakes after blinks before no no`.
    """
    sides = [
        _comparison(name, query, actor, *nearest_of(story, query, actor))
        for name, actor in zip(NAMES, story.actors, strict=True)
    ]
    fails, truth, actor, _ = nearest(story, query)
    name = NAMES[story.actors.index(actor)]
    wrong = [
        f"{name}{n} {value_of(slot, truth) or 'no'} not {value_of(slot, query)}"
        for n, slot in enumerate(fails, start=1)
    ]
    return f"compare : {' . '.join(sides)} . {' '.join(wrong) or f'{name}0'}"


def _comparison(name: str, query: Slots, actor: Actor, fails: list[str], truth: Slots, event: Event) -> str:
    pairs = []
    for slot in query.filled:
        shown = value_of(slot, truth) or "no"
        pairs.append(f"{value_of(slot, query)} {shown}" if slot != "order" else _order(query, actor, event, shown))
        if slot in fails:
            pairs.append(f"{name}{fails.index(slot) + 1}")
    return f"{' '.join(e.action for e in actor.events)} : {' '.join(pairs)} : {name}{len(fails)}"


def _order(query: Slots, actor: Actor, event: Event, shown: str) -> str:
    assert query.order is not None
    neighbours = dict(orders(actor, event))
    around = " ".join(f"{word} {neighbours.get(word, 'no')}" for word in ("after", "before"))
    return f"{' '.join(query.order)} {around} {shown}"


def comparison(story: Story, query: Slots) -> str:
    """The completion of the comparing task: a thought without an answer."""
    return f"<think> {timeline(story)} {compared(story, query)} . </think>"


def compared_and_described(story: Story, query: Slots) -> str:
    """The comparison, the seconds of the event that the query most nearly describes, and a sentence about it that is
    true. Still a thought without an answer: nothing is refused or corrected."""
    fails, truth, actor, event = nearest(story, query)
    true = replace(query.plain, **{slot: getattr(truth, slot) for slot in fails})
    found = located(story, query, actor, event)
    return f"<think> {timeline(story)} {compared(story, query)} . {found} video : {true.sentence()} . </think>"


def refusal_aware(story: Story, query: Slots) -> str | None:
    """Compare; where nothing fails, find the segment and answer, else refuse, explain and correct. None where the
    grammar has no words for it."""
    fails, truth, actor, event = nearest(story, query)
    thought = f"{timeline(story)} {compared(story, query)} ."
    if not fails:
        thought = f"{thought} {located(story, query, actor, event)}"
        return format_completion(thought, f"{event.start} to {event.end}", NIL)
    true = {slot: getattr(truth, slot) for slot in fails}
    if None in true.values():
        return None
    plain = query.plain
    return format_completion(thought, refusal(plain, truth, fails), replace(plain, **true).sentence())


def demonstrations(world: Sequence[tuple[Story, Sequence[Sample]]]) -> list[tuple[Sample, str]]:
    """Every sample of these clips with its refusal-aware completion, where the grammar has words for one."""
    pairs = []
    for story, samples in world:
        for sample in samples:
            query = parse(sample.query)
            completion = refusal_aware(story, query) if query else None
            if completion:
                pairs.append((sample, completion))
    return pairs
