"""Invert4TVG: grounding trained together with its inverse (Chen et al., 2025, arXiv 2508.07388).

Mechanism: GRPO on grounding alone makes a model find segments and forget what actions look like. So a part of the
prompts show the *segment* and ask for the *words*: complete the query's verb, name the actions, describe what happens.
The answers are known from the grounding data, and each task has a reward of its own.

Kept: the three tasks, their place in the GRPO mix (about a fifth of the prompts). Scaled down: prompts are as short
as the tiny base's own; the verb is found by the world's grammar in place of a parser; the similarity of a description
is the sentence encoder's cosine.

Does it refuse? It is not about that. The question here is what it does to refusing: does a model that is kept able to
name an action compare better?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from datasets import Dataset

from rarft.prompts import build_prompt
from rarft.reading.completion import NIL, format_completion, parse_response, text_of
from rarft.rewards import Reward
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Sample
from rarft.world.language import parse
from rarft.world.scenes import Event, Setting, Story
from rarft.world.timelines import timeline

GROUND, VERB, ACTIONS, DESCRIPTION = "ground", "verb", "actions", "description"
TASKS = (VERB, ACTIONS, DESCRIPTION)
SHARE = 0.2  # of the prompts
MASK = NIL  # a word that the tiny base has a token for
Part = TypeVar("Part", Event, Setting)
QUESTIONS = {ACTIONS: "describe segment", DESCRIPTION: "describe the segment"}


def invert_sample(sample: Sample, story: Story, task: str) -> tuple[Sample, str] | None:
    """A relevant sample with its roles exchanged: a sample that shows the segment and asks for words, and the words.

    None where the query's verb cannot be found in the sentence. `actions` asks for all that happens in the segment, in
    the order of actors and time.
    """
    span, start = sample.spans[0], sample.start or 0.0
    query = parse(sample.query)
    if query is None:
        return None
    words = query.plain.sentence()
    asked = QUESTIONS.get(task, "")
    if task == ACTIONS:
        part = crop_story(story, int(span.start), int(span.end))
        words = " ".join(event.action for actor in part.actors for event in actor.events)
    if task == VERB:
        verb, words = query.phrases()["action"], query.action
        asked = sample.query.replace(verb, MASK, 1)
        if f" {verb}" not in sample.query:
            return None
    shown = replace(sample, start=start + span.start, end=start + span.end, duration=span.end - span.start)
    return replace(shown, query=asked, spans=[], think=""), words


def crop_story(story: Story, start: int, end: int) -> Story:
    """What a story shows from `start` to `end` (seconds), as a story of its own."""

    def within(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        clipped = (replace(part, start=max(part.start, start), end=min(part.end, end)) for part in parts)
        return tuple(replace(p, start=p.start - start, end=p.end - start) for p in clipped if p.start < p.end)

    first, second = (replace(actor, events=within(actor.events)) for actor in story.actors)
    return Story(end - start, story.layout, (first, second), within(story.settings))


def inverse_demonstrations(world: Sequence[tuple[Story, Sample]]) -> list[tuple[Sample, str]]:
    """Each task about each relevant sample, with a completion: the segment's timeline, then the words."""
    shown = []
    for story, sample in world:
        part = crop_story(story, *(int(second) for second in sample.spans[0]))
        for task in TASKS:
            inverse = invert_sample(sample, story, task)
            if inverse is not None:
                shown.append((inverse[0], format_completion(timeline(part), inverse[1], NIL)))
    return shown


def mix_dataset(
    grounding: Dataset, inverses: Sequence[tuple[Sample, str, str]], style: str, *, share: float = SHARE, seed: int = 0
) -> Dataset:
    """The rows of a grounding set (`rarft.training.dataset.refusal_dataset`), of which a share are inverse tasks.

    inverses: sample, words, task. Which rows are replaced depends on (seed, row) alone.
    """

    def row(index: int) -> dict:
        rng = np.random.default_rng([seed, index])
        ground = {**grounding[index], "task": GROUND, "words": ""}
        if rng.random() >= share:
            return ground
        sample, words, task = inverses[int(rng.integers(len(inverses)))]
        prompt = build_prompt(sample.query, style, video=sample.video, start=sample.start, end=sample.end)
        empty = {"spans": [], "answer": "", "contrast": "", "correction": ""}
        own = {"prompt": prompt, "query": sample.query, "duration": sample.duration, "task": task, "words": words}
        return {**ground, **empty, **own}

    def rows(batch: dict) -> dict:
        drawn = [row(index) for index in batch["index"]]
        return {name: [one[name] for one in drawn] for name in drawn[0]}

    return Dataset.from_dict({"index": list(range(len(grounding)))}).with_transform(rows)


def restrict_to_grounding(reward: Reward) -> Reward:
    """A reward of grounding in a mix of tasks: None for the rows of the others."""

    def graded(completions: list, task: list[str], **columns: Any) -> list[float | None]:
        kept = [i for i, name in enumerate(task) if name == GROUND]
        chosen = {
            name: [values[i] for i in kept]
            for name, values in columns.items()
            if isinstance(values, list) and len(values) == len(task)
        }
        values = iter(reward([completions[i] for i in kept], **chosen) if kept else [])
        return [next(values) if name == GROUND else None for name in task]

    graded.__name__ = reward.__name__
    return graded


def inverse_reward(
    completions: list, task: list[str], words: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float | None]:
    """verb: 1 for the very action. actions: F1 of the actions named. description: max(0, cosine) with the query.

    None for rows of grounding, 0 for a completion without an answer.
    """
    encoder = encoder or default_encoder()
    given = [parse_response(text_of(completion)).answer or "" for completion in completions]
    near = encoder.cosine(given, list(words))
    graders: dict[str, Callable[[int], float | None]] = {
        GROUND: lambda i: None,
        VERB: lambda i: float(given[i] == words[i]),
        ACTIONS: lambda i: set_f1(given[i].split(), words[i].split()),
        DESCRIPTION: lambda i: max(0.0, float(near[i])) if given[i] else 0.0,
    }
    return [graders[name](i) for i, name in enumerate(task)]


def set_f1(found: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two sets of words."""
    both = len(set(found) & set(true))
    return 2 * both / (len(set(found)) + len(set(true))) if both else 0.0
