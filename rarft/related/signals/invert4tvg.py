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
from typing import Any

import numpy as np
from datasets import Dataset

from rarft.prompts import build_prompt
from rarft.reading.completion import NIL, format_completion, parse_response, text_of
from rarft.rewards import Reward
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Sample
from rarft.world.language import parse, timeline
from rarft.world.scenes import Event, Setting, Story

GROUND, VERB, ACTIONS, DESCRIPTION = "ground", "verb", "actions", "description"
TASKS = (VERB, ACTIONS, DESCRIPTION)
SHARE = 0.2  # of the prompts
MASKED = NIL  # a word that the tiny base has a token for
QUESTIONS = {ACTIONS: "describe segment", DESCRIPTION: "describe the segment"}


def inverted(sample: Sample, story: Story, task: str) -> tuple[Sample, str] | None:
    """A relevant sample with its roles exchanged: a sample that shows the segment and asks for words, and the words.

    None where the query's verb cannot be found in the sentence. `actions` asks for all that happens in the segment, in
    the order of actors and time.
    """
    span = sample.spans[0]
    start = sample.start or 0.0
    shown = replace(
        sample, start=start + span.start, end=start + span.end, duration=span.end - span.start, spans=[], think=""
    )
    query = parse(sample.query)
    if query is None:
        return None
    if task == VERB:
        said = query.phrases()["action"]
        if f" {said}" not in sample.query:
            return None
        return replace(shown, query=sample.query.replace(said, MASKED, 1)), query.action
    if task == ACTIONS:
        part = cropped(story, int(span.start), int(span.end))
        return replace(shown, query=QUESTIONS[task]), " ".join(e.action for a in part.actors for e in a.events)
    return replace(shown, query=QUESTIONS[task]), query.plain.sentence()


def cropped(story: Story, start: int, end: int) -> Story:
    """What a story shows from `start` to `end` (seconds), as a story of its own."""

    def within(first: int, last: int) -> tuple[int, int] | None:
        a, b = max(first, start), min(last, end)
        return (a - start, b - start) if a < b else None

    actors = [
        replace(a, events=tuple(Event(e.action, *at) for e in a.events if (at := within(e.start, e.end))))
        for a in story.actors
    ]
    settings = tuple(Setting(s.scene, *at) for s in story.settings if (at := within(s.start, s.end)))
    return Story(end - start, story.layout, (actors[0], actors[1]), settings)


def inverse_demonstrations(world: Sequence[tuple[Story, Sample]]) -> list[tuple[Sample, str]]:
    """Each task about each relevant sample, with a completion: the segment's timeline, then the words."""
    shown = []
    for story, sample in world:
        part = cropped(story, *(int(second) for second in sample.spans[0]))
        for task in TASKS:
            made = inverted(sample, story, task)
            if made is not None:
                shown.append((made[0], format_completion(timeline(part), made[1], NIL)))
    return shown


def mixed_dataset(
    grounding: Dataset, inverses: Sequence[tuple[Sample, str, str]], style: str, *, share: float = SHARE, seed: int = 0
) -> Dataset:
    """The rows of a grounding set (`rarft.training.dataset.refusal_dataset`), of which a share are inverse tasks.

    inverses: sample, words, task. Which rows are replaced depends on (seed, row) alone.
    """

    def row(index: int) -> dict:
        rng = np.random.default_rng([seed, index])
        made = {**grounding[index], "task": GROUND, "words": ""}
        if rng.random() >= share:
            return made
        sample, words, task = inverses[int(rng.integers(len(inverses)))]
        prompt = build_prompt(sample.query, style, video=sample.video, start=sample.start, end=sample.end)
        empty = {"spans": [], "answer": "", "contrast": "", "correction": ""}
        own = {"prompt": prompt, "query": sample.query, "duration": sample.duration, "task": task, "words": words}
        return {**made, **empty, **own}

    def rows(batch: dict) -> dict:
        made = [row(index) for index in batch["index"]]
        return {name: [one[name] for one in made] for name in made[0]}

    return Dataset.from_dict({"index": list(range(len(grounding)))}).with_transform(rows)


def only_grounding(reward: Reward) -> Reward:
    """A reward of grounding in a mix of tasks: None for the rows of the others."""

    def graded(completions: list, task: list[str], **columns: Any) -> list[float | None]:
        kept = [i for i, name in enumerate(task) if name == GROUND]
        chosen = {name: [values[i] for i in kept] for name, values in columns.items() if _is_column(values, task)}
        values = iter(reward([completions[i] for i in kept], **chosen) if kept else [])
        return [next(values) if name == GROUND else None for name in task]

    graded.__name__ = reward.__name__
    return graded


def _is_column(values: object, task: list[str]) -> bool:
    return isinstance(values, list) and len(values) == len(task)


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
        ACTIONS: lambda i: overlap(given[i].split(), words[i].split()),
        DESCRIPTION: lambda i: max(0.0, float(near[i])) if given[i] else 0.0,
    }
    return [graders[name](i) for i, name in enumerate(task)]


def overlap(said: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two sets of words."""
    both = len(set(said) & set(true))
    return 2 * both / (len(set(said)) + len(set(true))) if both else 0.0
