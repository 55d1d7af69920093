"""A small world whose every event is known exactly: stories, their videos, their sentences, their edits."""

from rarft.world.edits import edit_query
from rarft.world.language import Slots, parse
from rarft.world.render import render, write_video
from rarft.world.scenes import Story, sample_story
from rarft.world.truth import failing_slots, spans_of

__all__ = [
    "Slots",
    "Story",
    "edit_query",
    "failing_slots",
    "parse",
    "render",
    "sample_story",
    "spans_of",
    "write_video",
]
