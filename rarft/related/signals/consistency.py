"""A fifth reward: does the answer agree with what the model itself has written down of the video?

The model writes a timeline before it answers. Sub-questions about the query, put to that timeline as Vgent puts them to
captions (`rarft.related.long_video.vgent`), have an answer of their own: where the query happens, or that it does
not. The reward compares the two. It needs no label: neither the true segment nor whether the query is relevant.

What it cannot do: a timeline that is wrong earns as much as one that is right, as long as the answer fits it.
"""

from __future__ import annotations

from typing import Any

from rarft.metrics import best_iou
from rarft.reading.completion import parse_response, text_of
from rarft.world.language import parse
from rarft.world.timelines import story_of
from rarft.world.truth import spans_of


def consistency_reward(completions: list, query: list[str], duration: list[float | None], **_: Any) -> list[float]:
    """By the model's own timeline, the query happens: IoU of the answer with where it does; it does not: 1 for a
    refusal. 0 for a timeline that cannot be read."""
    return [
        _agreement(text_of(completion), asked, round(length or 0))
        for completion, asked, length in zip(completions, query, duration, strict=True)
    ]


def _agreement(text: str, query: str, duration: int) -> float:
    response, slots = parse_response(text), parse(query)
    story = story_of(response.think or "", duration)
    if story is None or slots is None:
        return 0.0
    spans = spans_of(story, slots)
    return best_iou(response.spans[:1], spans) if spans else float(response.refused)
