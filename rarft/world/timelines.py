"""Timelines: a story in words, second by second, and back to a story, as far as a model's words can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import groupby
from typing import TypeVar

from rarft.world import scenes
from rarft.world.language import plural
from rarft.world.scenes import Actor, Event, Setting, Story

T = TypeVar("T", bound=Hashable)
_LOOKS = re.compile(
    r"(?P<colour>\w+) (?P<shape>\w+) with (?P<count>\w+) (?P<part>\w+?)s?"
    r" (?P<place>\w+(?: of)?) the other (?P<size>\w+)"
)
_LAYOUT = {place: layout for layout, places in scenes.PLACES.items() for place in places}


def timeline(story: Story) -> str:
    """The whole story in words: the text that goes into `<think>`, one entry a second (`4 blinks 5 blinks 6 grows`).

    HI-VTG writes segments, `<timestep>4 to 6</timestep> blinks`. A small model learns those only as far as they can be
    guessed: an end is found by comparing seconds that it has not put into words. Here each entry is one look-up,
    the frames behind one timestamp, and the segment of an answer is read off the model's own words.
    """
    lines = [
        f"{actor.colour} {actor.shape} with {actor.count} {plural(actor.part, actor.count)}"
        f" {actor.place} the other {actor.size} : {_second_by_second((e.start, e.end, e.action) for e in actor.events)}"
        for actor in story.actors
    ]
    scene = _second_by_second((setting.start, setting.end, setting.scene) for setting in story.settings)
    return " . ".join([*lines, f"scene : {scene}"]) + " ."


def _second_by_second(segments: Iterable[tuple[int, int, str]]) -> str:
    return " ".join(f"{second} {what}" for start, end, what in segments for second in range(start, end))


def lines_of_timeline(think: str) -> dict[str, dict[int, str]]:
    """What a `timeline` says of each second, by actor's looks and for `scene`.

    Only the timeline of a longer thought is read. Words that are no timeline give nothing.
    """
    text = re.split(r" (?:compare|segment) :", think)[0].removesuffix(" .")
    lines = [line.partition(" : ") for line in text.split(" . ") if " : " in line]
    return {looks.strip(): _by_second(what) for looks, _, what in lines}


def _by_second(text: str) -> dict[int, str]:
    seconds: dict[int, str] = {}
    for word in text.split():
        if word.isdecimal():
            now = int(word)
            seconds[now] = ""
        elif seconds:
            seconds[now] = f"{seconds[now]} {word}".strip()
    return seconds


def story_of(think: str, duration: int) -> Story | None:
    """The story that a timeline tells of a clip of `duration` seconds; None if it is not one of two actors and a scene.

    A second that is left out, or has a word that is no action, takes what was said of the second before.
    """
    lines = lines_of_timeline(think)
    looks = [match for match in map(_LOOKS.fullmatch, lines) if match]
    scene = _filled(lines.get("scene", {}), duration, scenes.SCENES.__contains__)
    if len(looks) != 2 or not scene:
        return None
    actors = []
    for match in looks:
        doing = _filled(lines[match[0]], duration, scenes.ACTIONS.__contains__)
        if not doing or match["place"] not in _LAYOUT:
            return None
        actors.append(Actor(**match.groupdict(), events=tuple(Event(*run) for run in runs(doing))))
    settings = tuple(Setting(*run) for run in runs(scene))
    return Story(duration, _LAYOUT[actors[0].place], (actors[0], actors[1]), settings[:2])


def _filled(said: Mapping[int, str], duration: int, known: Callable[[str], bool]) -> list[str]:
    """A value for each second, or nothing where none is known."""
    values = {second: what for second, what in said.items() if known(what)}
    if not values:
        return []
    filled, last = [], values[min(values)]
    for second in range(duration):
        last = values.get(second, last)
        filled.append(last)
    return filled


def runs(values: Iterable[T]) -> list[tuple[T, int, int]]:
    """Equal values in a row as (value, first place, one past the last)."""
    found, start = [], 0
    for value, group in groupby(values):
        end = start + len(list(group))
        found.append((value, start, end))
        start = end
    return found
