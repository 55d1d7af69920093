"""What the base is taught in its last two stages: to ground, and to compare a sentence with a clip.

Under the grounding prompt, the bare query, it meets queries that the clip shows and queries of other clips, as an
ordinary grounder does; never a query that was edited to be hard-irrelevant, nor its reasoning, refusal or correction.
Telling a sentence and a clip apart, word by word, is a task of its own under a prompt of its own, as a large model
brings it along from pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rarft.prompts import COMPARE
from rarft.world.completions import (
    bare_refusal,
    comparison_completion,
    comparison_with_description,
    grounding_completion,
    is_out_of_place,
)
from rarft.world.edits import edit_query, reversed_order, sample_worded_query
from rarft.world.language import Slots
from rarft.world.scenes import Story
from rarft.world.truth import spans_of

COMPARE_SHARE = 0.6  # of all lessons
SHUFFLED_SHARE = 0.3  # of the grounding lessons: queries of another clip
TURNED_DOWN = 0.75  # of those whose colour and shape the clip shows nowhere; all others are answered
EDITED_SHARE, ANOTHERS_SHARE = 0.5, 0.2  # of the comparing lessons; all others are true of the clip
ORDER_SHARE = 0.5  # of the edited queries with an order: the order alone is edited. Rarer, it was never learned


@dataclass(frozen=True)
class Lesson:
    """A prompt and its completion; task: "ground" or "compare"; kind: "relevant", "shuffled" or "edited"."""

    prompt: str
    completion: str
    task: str
    kind: str
    query: Slots


def draw_lesson(story: Story, others: Sequence[Story], rng: np.random.Generator, *, describe: bool = False) -> Lesson:
    """One lesson about a clip.

    Args:
        others: the stories that shuffled queries come from.
        describe: a comparison is followed by the seconds of the nearest event and a sentence about it.
    """
    if rng.random() < COMPARE_SHARE:
        return _compare(story, others, rng, comparison_with_description if describe else comparison_completion)
    return _ground(story, others, rng)


def _ground(story: Story, others: Sequence[Story], rng: np.random.Generator) -> Lesson:
    shuffled = rng.random() < SHUFFLED_SHARE
    query = sample_worded_query(_another(others, rng) if shuffled else story, rng)
    kind = "shuffled" if not spans_of(story, query) else "relevant"
    refuse = is_out_of_place(story, query) and rng.random() < TURNED_DOWN
    completion = bare_refusal(story, query) if refuse else grounding_completion(story, query)
    return Lesson(query.sentence(), completion, "ground", kind, query)


def _compare(
    story: Story, others: Sequence[Story], rng: np.random.Generator, write: Callable[[Story, Slots], str]
) -> Lesson:
    drawn = rng.random()
    query = sample_worded_query(story, rng)
    if drawn < EDITED_SHARE:
        query = _edited(story, query, rng)
    elif drawn < EDITED_SHARE + ANOTHERS_SHARE:
        query = sample_worded_query(_another(others, rng), rng)
    kind = "relevant" if spans_of(story, query) else "edited" if drawn < EDITED_SHARE else "shuffled"
    return Lesson(f"{COMPARE} {query.sentence()}", write(story, query), "compare", kind, query)


def _edited(story: Story, query: Slots, rng: np.random.Generator) -> Slots:
    """The query with its order turned round, or with one to three edits; as it is where no edit was found."""
    if query.order and rng.random() < ORDER_SHARE:
        return replace(query, order=reversed_order(query.order))
    edit = edit_query(story, query, int(rng.integers(1, 4)), rng)
    return edit.query if edit else query


def _another(others: Sequence[Story], rng: np.random.Generator) -> Story:
    return others[rng.integers(len(others))]
