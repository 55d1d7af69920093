"""Timelines back into stories."""

import numpy as np
import pytest

from rarft.world.completions import grounding_completion
from rarft.world.edits import sample_query
from rarft.world.scenes import sample_story
from rarft.world.timelines import lines_of_timeline, story_of, timeline


def test_a_timeline_tells_its_story():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        story = sample_story(rng, duration=int(rng.integers(3, 21)))
        assert story_of(timeline(story), story.duration) == story


def test_of_a_longer_thought_only_the_timeline_is_read():
    rng = np.random.default_rng(1)
    for _ in range(200):
        story = sample_story(rng)
        thought = grounding_completion(story, sample_query(story, rng)).split("<think>")[1].split("</think>")[0].strip()
        assert story_of(thought, story.duration) == story


def test_what_is_left_out_goes_on_as_before():
    rng = np.random.default_rng(2)
    story = sample_story(rng, duration=16)
    words = timeline(story).split()
    second = next(e for a in story.actors for e in a.events).start + 1
    at = words.index(str(second))
    action = story.actors[0].events[0].action.split()
    assert words[at + 1 : at + 1 + len(action)] == action
    assert story_of(" ".join(words[:at] + words[at + 1 + len(action) :]), 16) == story
    garbled = words[: at + 1] + ["frobnicates"] + words[at + 1 + len(action) :]
    assert story_of(" ".join(garbled), 16) == story


@pytest.mark.parametrize(
    "text", ["", "nothing", "red ring : 0 grows .", "scene : 0 sand .", "a : b . c : d . scene : 0 sand"]
)
def test_what_is_no_timeline_tells_no_story(text):
    assert story_of(text, 16) is None
    lines_of_timeline(text)
