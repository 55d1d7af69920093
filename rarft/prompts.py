"""A query becomes chat messages: the same ones for training, rollouts and inference."""

from __future__ import annotations

from typing import Any

# For models that have to be told the task. Our own words; the tags are those of the official release.
INSTRUCT = (
    'When in the video does this happen: "{query}"?\n'
    "First write a timeline of the video inside <think> </think>, each step as "
    "<timestep>START to END</timestep> and what happens then, in seconds.\n"
    "If the video shows the event, give its segment as <answer>START to END</answer> and then "
    "<correction>NIL</correction>.\n"
    "If it does not, say inside <answer> </answer> which part of the query does not match and what the video "
    "shows instead, without any times, and then write inside <correction> </correction> a corrected query that "
    "the video does show."
)
# For models that already know the format, such as data/base: no instruction, fewer tokens.
PLAIN = "{query}"
STYLES = {"instruct": INSTRUCT, "plain": PLAIN}

DESCRIBE = "describe the video"  # the only query of stage "tell" (rarft.base)


def build_prompt(query: str, style: str = "instruct") -> list[dict[str, Any]]:
    """Chat messages with one video part, which has no content: the loader brings the frames.

    Args:
        query: what to look for.
        style: "instruct" or "plain"; a checkpoint names its own as `rarft_prompt_style` in config.json.

    Raises ValueError for an unknown style or an empty query.
    """
    if style not in STYLES:
        raise ValueError(f"unknown prompt style {style!r}; choose one of {', '.join(STYLES)}")
    if not query.strip():
        raise ValueError("the query is empty")
    text = STYLES[style].format(query=query.strip())
    return [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}]
