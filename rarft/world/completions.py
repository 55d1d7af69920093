"""Model completions for the world's stories: what a perfect, or a deliberately imperfect, teacher would write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rarft.response import NIL, format_completion
from rarft.world import edits
from rarft.world.language import Slots, describe, timeline
from rarft.world.scenes import Story
from rarft.world.truth import candidates, order_word


def answered(story: Story, query: Slots) -> str:
    """Answer with the segment of the event that the query most nearly describes, whether it matches or not."""
    event = candidates(story, query)[0][2]
    return format_completion(timeline(story), f"{event.start} to {event.end}", NIL)


def refused(story: Story, query: Slots) -> str | None:
    """Refuse, explain and correct; None where the grammar has no words for it."""
    answer, correction = edits.explain(story, query), corrected(story, query)
    if answer is None or correction is None:
        return None
    return format_completion(timeline(story), answer, correction.sentence())


def corrected(story: Story, query: Slots) -> Slots | None:
    """The query with its failing slots set to what the nearest event is; None if there are no words for it."""
    fails, actor, event = candidates(story, query)[0]
    truth = describe(story, actor, event)
    changed = {slot: getattr(truth, slot) for slot in fails if slot != "order"}
    if None in changed.values():
        return None
    if "order" in fails:
        word = order_word(actor, event, query)
        if word is None:
            return None
        changed["order"] = (word, query.order[1])
    return replace(query, **changed)


def base_lesson(story: Story, others: list[Story], rng: np.random.Generator) -> tuple[str, str]:
    """Draw one (query, completion) of the base model's training: a grounder that seldom says no.

    6 in 10 queries are right; 2 in 10 are imprecise (one to three slots wrong) yet answered, as a system trained
    on ordinary grounding data learns to; 2 in 10 come from another clip, and of those every second is refused.
    """
    kind = rng.random()
    query, _ = edits.sample_query(story, rng)
    if kind < 0.6:
        return query.sentence(), answered(story, query)
    if kind < 0.8:
        edit = edits.edit_query(story, query, int(rng.integers(1, 4)), rng)
        query = edit.query if edit else query
        return query.sentence(), answered(story, query)
    query, _ = edits.sample_query(others[rng.integers(len(others))], rng)
    refusal = refused(story, query) if candidates(story, query)[0][0] else None
    if refusal is None or rng.random() < 0.5:
        return query.sentence(), answered(story, query)
    return query.sentence(), refusal
