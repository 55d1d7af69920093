"""What can happen in the world: two actors act at the same time, on a scene that may change once.

Every choice is uniform and independent of its value (red is as likely as blue, left as right). The test that
queries leak nothing about their relevance rests on that symmetry; keep it when you add something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SHAPES = ("ring", "square", "triangle", "cross")
PARTS = ("dot", "bar")
COUNTS = ("one", "two", "three")
SCENES = ("sand", "snow", "rock", "moss")
IN_PLACE = ("grows", "shrinks", "blinks", "shakes")
MOVES = {"side": ("moves up", "moves down"), "stack": ("moves left", "moves right")}
ACTIONS = IN_PLACE + MOVES["side"] + MOVES["stack"]
# side: two lanes next to each other, actors move up and down; stack: one lane above the other.
PLACES = {"side": ("left of", "right of"), "stack": ("above", "below")}
SIZES = ("bigger", "smaller")
# The values of each slot, in groups: an edit replaces a value by another one of its group. Directions stay on their
# axis, since a direction across the layout would show in the text.
VALUES = {
    "colour": (COLOURS,),
    "shape": (SHAPES,),
    "action": (IN_PLACE, *MOVES.values()),
    "part": (PARTS,),
    "count": (COUNTS,),
    "place": tuple(PLACES.values()),
    "size": (SIZES,),
    "scene": (SCENES,),
}

SHORTEST, LONGEST = 12, 20  # seconds of a clip
SHORTEST_EVENT = 3  # seconds


@dataclass(frozen=True)
class Event:
    """One actor does one thing from `start` to `end` (seconds)."""

    action: str
    start: int
    end: int


@dataclass(frozen=True)
class Actor:
    """An actor keeps its looks for the whole clip and is always busy: its events tile the clip."""

    colour: str
    shape: str
    part: str
    count: str  # how many parts
    place: str  # relative to the other actor: "left of", "right of", "above", "below"
    size: str  # relative to the other actor: "bigger", "smaller"
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Setting:
    """The background from `start` to `end` (seconds)."""

    scene: str
    start: int
    end: int


@dataclass(frozen=True)
class Story:
    """All that happens in one clip. `actors` are in reading order: left or top first."""

    duration: int  # seconds
    layout: str  # "side" or "stack"
    actors: tuple[Actor, Actor]
    settings: tuple[Setting, ...]  # one, or two if the scene changes


def held_out(colour: str, shape: str, action: str) -> bool:
    """True for the eighth of all (colour, shape, action) combinations that training never shows or mentions.

    A Latin rule: every pair (colour, shape), (colour, action), (shape, action) is seen in training, so that
    a held-out clip asks for a new combination of known things, never for an unknown thing.
    """
    return (COLOURS.index(colour) + SHAPES.index(shape) + ACTIONS.index(action)) % len(ACTIONS) == 0


def shows_held_out(story: Story) -> bool:
    """Whether any event of the story is a held-out combination."""
    return any(held_out(actor.colour, actor.shape, event.action) for actor in story.actors for event in actor.events)


def sample_story(rng: np.random.Generator, *, duration: int | None = None, seen_only: bool = True) -> Story:
    """Draw a story.

    Args:
        rng: the only source of randomness; the same generator state gives the same story.
        duration: seconds; drawn from 12 to 20 if None. Under 12 (for alignment) each actor does one thing.
        seen_only: draw again until no held-out combination is shown (training); False allows them.
    """
    while True:
        story = _draw_story(rng, duration)
        if not (seen_only and shows_held_out(story)):
            return story


def _draw_story(rng: np.random.Generator, duration: int | None) -> Story:
    if duration is None:
        duration = int(rng.integers(SHORTEST, LONGEST + 1))
    layout = str(rng.choice(list(PLACES)))
    colours = rng.choice(COLOURS, 2, replace=False)
    sizes = rng.permutation(SIZES)
    first, second = (
        Actor(
            colour=str(colours[i]),
            shape=str(rng.choice(SHAPES)),
            part=str(rng.choice(PARTS)),
            count=str(rng.choice(COUNTS)),
            place=PLACES[layout][i],
            size=str(sizes[i]),
            events=_draw_events(rng, duration, layout),
        )
        for i in range(2)
    )
    return Story(duration, layout, (first, second), _draw_settings(rng, duration))


def _draw_events(rng: np.random.Generator, duration: int, layout: str) -> tuple[Event, ...]:
    """Two to four different actions that tile the clip, each at least SHORTEST_EVENT seconds; one in a short clip."""
    count = 1 if duration < SHORTEST else int(rng.integers(2, 5))
    slack = duration - count * SHORTEST_EVENT
    # Uniform among all ways to distribute the spare seconds: choose the positions of the separators.
    cuts = np.sort(rng.choice(slack + count - 1, count - 1, replace=False)) if count > 1 else np.array([], int)
    spare = np.diff(np.concatenate([[-1], cuts, [slack + count - 1]])) - 1
    bounds = np.concatenate([[0], np.cumsum(spare + SHORTEST_EVENT)])
    actions = rng.choice(IN_PLACE + MOVES[layout], count, replace=False)
    return tuple(Event(str(a), int(s), int(e)) for a, s, e in zip(actions, bounds[:-1], bounds[1:], strict=True))


def _draw_settings(rng: np.random.Generator, duration: int) -> tuple[Setting, ...]:
    """One scene, or, in half of the full-length clips, a change from one to another."""
    first, second = (str(s) for s in rng.choice(SCENES, 2, replace=False))
    if duration < SHORTEST or rng.random() < 0.5:
        return (Setting(first, 0, duration),)
    change = int(rng.integers(4, duration - 3))
    return Setting(first, 0, change), Setting(second, change, duration)
