"""Model completions for the world's stories, written by an annotator that has the story.

Two ways of thinking. A grounder (`grounding_completion`, `bare_refusal`) looks for what the query names and gives its
seconds; it does not ask whether the rest of the query holds. A refusal-aware annotator (`refusal_aware_completion`)
compares the whole query with what each actor does before it answers, or refuses, explains and corrects.
"""

from __future__ import annotations

from collections.abc import Sequence

from rarft.reading.completion import NIL, format_completion
from rarft.schema import Sample
from rarft.world.language import SLOTS, Slots, orders, parse
from rarft.world.refusals import REFUSAL
from rarft.world.scenes import Actor, Event, Story
from rarft.world.timelines import timeline
from rarft.world.truth import Match, match_all

ACTOR_NAMES = ("A", "B")  # in a reasoning, in the order of the timeline
MARKS = tuple(f"{name}{count}" for name in ACTOR_NAMES for count in range(len(SLOTS) + 1))


def nearest(story: Story, query: Slots, actors: Sequence[Actor] = ()) -> Match:
    """The event of these actors (default: both) that a query most nearly describes.

    Among equals, one whose truth the grammar has words for; then one of the first actor; then one of the asked action;
    then the earliest.
    """

    def distance(match: Match) -> tuple[int, bool, int, bool]:
        return len(match.fails), not match.sayable, story.actors.index(match.actor), "action" in match.fails

    return min(match_all(story, query, actors), key=distance)


def best_match(story: Story, query: Slots) -> tuple[Actor, Event]:
    """What a grounder answers with: the actor of the asked colour, else of the asked shape, else the first; and of its
    events the one of the asked action, else the first."""
    actor = min(story.actors, key=lambda a: (a.colour != query.colour, a.shape != query.shape))
    return actor, min(actor.events, key=lambda event: event.action != query.action)


def is_out_of_place(story: Story, query: Slots) -> bool:
    """Whether neither the asked colour nor the asked shape is anywhere in the clip."""
    return all(a.colour != query.colour and a.shape != query.shape for a in story.actors)


def segment_line(story: Story, query: Slots, actor: Actor, event: Event) -> str:
    """The actors of the clip, the asked one, its actions, the asked action, and the seconds of the segment.

    `segment : red ring A blue cross B : red ring A : blinks grows : grows : 0 blinks <timestep> 1 1 grows 2 grows
    </timestep> 3 .`: like the timeline, this has only steps of one look-up. A small model that writes less guesses:
    without the list of actors, it took the wrong actor for every second query.
    """
    asked = f"{query.colour} {query.shape} {_name(story, actor)}"
    actions = " ".join(e.action for e in actor.events)
    return f"segment : {_cast(story)} : {asked} : {actions} : {event.action} : {_seconds(actor, event)} ."


def _name(story: Story, actor: Actor) -> str:
    return ACTOR_NAMES[story.actors.index(actor)]


def _cast(story: Story) -> str:
    return " ".join(f"{actor.colour} {actor.shape} {_name(story, actor)}" for actor in story.actors)


def _seconds(actor: Actor, event: Event) -> str:
    """What an actor does second by second, with a mark where the event has begun and one where it has ended."""
    seconds = [f"{second} {e.action}" for e in actor.events for second in range(e.start, e.end)]
    seconds.append(str(actor.events[-1].end))  # the clip ends here
    seconds[event.start] += f" <timestep> {event.start}"
    seconds[event.end] += f" </timestep> {event.end}"
    return " ".join(seconds[: event.end + 1])


def grounding_completion(story: Story, query: Slots) -> str:
    """What a grounder answers: the segment of the best match, whether the rest of the query holds or not."""
    actor, event = best_match(story, query)
    thought = f"{timeline(story)} {segment_line(story, query, actor, event)}"
    return format_completion(thought, f"{event.start} to {event.end}", NIL)


def bare_refusal(story: Story, query: Slots) -> str:
    """A grounder's refusal of a query that is out of place: no segment, no reason, no correction."""
    thought = f"{timeline(story)} segment : {_cast(story)} : {query.colour} {query.shape} no ."
    return format_completion(thought, REFUSAL.removesuffix(" :"), NIL)


def comparison_line(story: Story, query: Slots) -> str:
    """The query held against each actor's nearest event.

    `compare : blinks grows : red red ring square A1 grows grows : A1 . grows shrinks : red blue B1 ring ring grows
    grows : B1 . A1 square not ring`: for each actor what it does, in order; each asked thing next to what is shown
    (`no` for nothing of the kind), with a counting mark where the two differ; and the count at the end. Then the marks
    of the actor that comes closer, each with what is shown and what is not (or its 0). Each part is there for an error
    that was counted without it: held against the nearest event alone, every second irrelevant query was compared with a
    mixture of both actors; without the list of actions, 58 of 200 comparisons with an actor were made with the wrong
    action; and without the marks before what is to be explained, three of four explanations of a perfect comparison
    were wrong. An order is asked about another action, so that one is written, too, and what stands before and after
    the event: `before shakes after blinks before no no`.
    """
    sides = [_side(name, nearest(story, query, [a])) for name, a in zip(ACTOR_NAMES, story.actors, strict=True)]
    closer = nearest(story, query)
    name = _name(story, closer.actor)
    wrong = [
        f"{name}{n} {closer.truth.word(slot) or 'no'} not {query.word(slot)}"
        for n, slot in enumerate(closer.fails, start=1)
    ]
    return f"compare : {' . '.join(sides)} . {' '.join(wrong) or f'{name}0'}"


def _side(name: str, match: Match) -> str:
    pairs = []
    for slot in match.query.filled:
        shown = match.truth.word(slot) or "no"
        pairs.append(f"{match.query.word(slot)} {shown}" if slot != "order" else _order(match, shown))
        if slot in match.fails:
            pairs.append(f"{name}{match.fails.index(slot) + 1}")
    actions = " ".join(event.action for event in match.actor.events)
    return f"{actions} : {' '.join(pairs)} : {name}{len(match.fails)}"


def _order(match: Match, shown: str) -> str:
    neighbours = dict(orders(match.actor, match.event))
    around = " ".join(f"{word} {neighbours.get(word, 'no')}" for word in ("after", "before"))
    return f"{' '.join(match.query.order or ())} {around} {shown}"


def comparison_completion(story: Story, query: Slots) -> str:
    """The completion of the comparing task: a thought without an answer."""
    return f"<think> {timeline(story)} {comparison_line(story, query)} . </think>"


def comparison_with_description(story: Story, query: Slots) -> str:
    """The comparison, the seconds of the event that the query most nearly describes, and a true sentence about it.
    Still a thought without an answer: nothing is refused or corrected."""
    match = nearest(story, query.plain)
    lines = [
        timeline(story),
        f"{comparison_line(story, query)} .",
        segment_line(story, query, match.actor, match.event),
        f"video : {match.correction.sentence()} .",
    ]
    return f"<think> {' '.join(lines)} </think>"


def refusal_aware_completion(story: Story, query: Slots) -> str | None:
    """Compare; where nothing fails, find the segment and answer, else refuse, explain and correct. None where the
    grammar has no words for it."""
    match = nearest(story, query.plain)
    thought = f"{timeline(story)} {comparison_line(story, query)} ."
    if not match.fails:
        thought = f"{thought} {segment_line(story, query, match.actor, match.event)}"
        return format_completion(thought, f"{match.event.start} to {match.event.end}", NIL)
    return format_completion(thought, match.refusal, match.correction.sentence()) if match.sayable else None


def demonstrations(world: Sequence[tuple[Story, Sequence[Sample]]]) -> list[tuple[Sample, str]]:
    """Every sample of these clips with its refusal-aware completion, where the grammar has words for one."""
    pairs = []
    for story, samples in world:
        for sample in samples:
            query = parse(sample.query)
            completion = refusal_aware_completion(story, query) if query else None
            if completion:
                pairs.append((sample, completion))
    return pairs
