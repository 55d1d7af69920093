"""Questions with a planted shortcut: what an actor does can be seen, or be guessed from a scene that has nothing to do
with it.

A video is two shots. The question names an actor of one of them; the scene of the *other* shot goes with the answer by
a rule, in as large a share of the videos as is asked for. A model that follows the rule needs no question and no
actor; where the rule is another one, it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.world.dataset import WorldClip
from rarft.world.scenes import IN_PLACE, SCENES, Actor, Story

ANSWERS = IN_PLACE  # one for each scene


@dataclass(frozen=True)
class TwoShotQuestion:
    """What an actor does in a video of two shots."""

    shots: tuple[Sample, Sample]  # in the order in which they are shown; their queries are the question
    asked: int | None  # which of them has the actor; None if neither has
    answer: int | None  # its action, as an index of `ANSWERS`; None if there is none


def scene_by_rule(action: str, rule: int) -> str:
    """The scene that goes with an action: rule 0, or one of three that never agree with it."""
    return SCENES[(IN_PLACE.index(action) + rule) % len(SCENES)]


def draw_questions(
    clips: Sequence[WorldClip], count: int, *, rule: int | None = 0, share: float = 1.0, seed: int = 0
) -> list[TwoShotQuestion]:
    """Questions about pairs of clips in which every actor does one thing (the split "align").

    Args:
        rule: see `scene_by_rule`; None for none, then every other shot will do.
        share: of the questions that follow the rule; in the others the second shot is any, and so follows it one time
            in four.

    Raises InputError where no clip has an action of `ANSWERS`.
    """
    rng = np.random.default_rng(seed)
    cases = [(clip, actor) for clip in clips for actor in clip.story.actors if actor.events[0].action in ANSWERS]
    if not cases:
        raise InputError("no clip has an actor that stays in its place; more clips are needed")
    questions: list[TwoShotQuestion] = []
    while len(questions) < count:
        clip, actor = cases[rng.integers(len(cases))]
        action = actor.events[0].action
        scene = scene_by_rule(action, rule) if rule is not None and rng.random() < share else None
        other = _another_clip(clips, actor, scene, rng)
        if other is not None:
            place = int(rng.integers(2))
            shots = _shots((clip, other) if place == 0 else (other, clip), actor)
            questions.append(TwoShotQuestion(shots, place, ANSWERS.index(action)))
    return questions


def draw_absent_questions(clips: Sequence[WorldClip], count: int, *, seed: int = 0) -> list[TwoShotQuestion]:
    """Questions about an actor that neither shot has, asked of two shots of which each has some actor."""
    rng = np.random.default_rng(seed)
    questions: list[TwoShotQuestion] = []
    while len(questions) < count:
        first, second, third = (clips[int(i)] for i in rng.integers(len(clips), size=3))
        actor = third.story.actors[rng.integers(2)]
        if not (has_actor(first.story, actor) or has_actor(second.story, actor)) and first is not second:
            questions.append(TwoShotQuestion(_shots((first, second), actor), None, None))
    return questions


def has_actor(story: Story, actor: Actor) -> bool:
    """Whether a story has an actor of this colour and shape."""
    return any((a.colour, a.shape) == (actor.colour, actor.shape) for a in story.actors)


def _another_clip(
    clips: Sequence[WorldClip], actor: Actor, scene: str | None, rng: np.random.Generator
) -> WorldClip | None:
    """A random clip without this actor, in this scene or in any; None where there is none."""
    for number in rng.permutation(len(clips)).tolist():
        story = clips[number].story
        if not has_actor(story, actor) and scene in (None, story.settings[0].scene):
            return clips[number]
    return None


def _shots(clips: tuple[WorldClip, WorldClip], actor: Actor) -> tuple[Sample, Sample]:
    query = f"what does the {actor.colour} {actor.shape} do"
    first, second = (Sample(str(clip.path), query, duration=float(clip.story.duration)) for clip in clips)
    return first, second
