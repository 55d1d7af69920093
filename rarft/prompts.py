"""A query becomes chat messages: the same ones for training, rollouts and inference.

The styles named after published models ask for the formats that those were trained to answer in; the wording is ours. A
file of your own can replace them: JSON with `text`, which holds `{query}`, and optionally `system` and `video_first`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rarft.schema import without_surrogates
from rarft.system.errors import InputError, RarftError
from rarft.system.files import read_json


@dataclass(frozen=True)
class Style:
    """A way to ask.

    text: the user's, with `{query}` where the query goes.
    system: the system prompt; None leaves it to the chat template.
    video_first: the video stands before the text.
    """

    text: str
    system: str | None = None
    video_first: bool = True


STYLES = {
    # For models that do not know the task. The tags are those of the official release.
    "instruct": Style(
        'When in the video does this happen: "{query}"?\n'
        "First write a timeline of the video inside <think> </think>, each step as "
        "<timestep>START to END</timestep> and what happens then, in seconds.\n"
        "If the video shows the event, give its segment as <answer>START to END</answer> and then "
        "<correction>NIL</correction>.\n"
        "If it does not, say inside <answer> </answer> which part of the query does not match and what the video "
        "shows instead, without any times, and then write inside <correction> </correction> a corrected query that "
        "the video does show."
    ),
    # For models that already know the format, such as data/base: no instruction, fewer tokens.
    "plain": Style("{query}"),
    # Time-R1 thinks in <timestep> ranges and answers `12.54 to 17.83`.
    "time-r1": Style(
        'Find the time period in which the event "{query}" takes place in the video.\n'
        "Reason inside <think> </think>, and mark each time or range of times that you look at as "
        "<timestep>12.54 to 17.83</timestep>.\n"
        "Then write the start and the end of the event, in seconds with two decimals, inside <answer> </answer>, such "
        "as <answer>12.54 to 17.83</answer>."
    ),
    # The same task without marked times, for the answers of VideoChat-R1 and its thinking form. The order of its video
    # and text is not known to us.
    "videochat-r1": Style(
        'Find the time period in which the event "{query}" takes place in the video.\n'
        "Reason about it inside <think> </think>. Then write the start and the end of the event, in seconds, inside "
        "<answer> </answer>, such as <answer>12.5 to 17.8</answer>."
    ),
    # RA-RFT describes both cases in the user's turn, before the video and without a system prompt; so does its demo.
    "ra-rft": Style(
        'Decide whether the video has a segment that matches the query "{query}".\n'
        "In either case reason inside <think> </think>, and mark each range of times that you look at as "
        "<timestep>12.54 to 17.83</timestep>.\n"
        "If it has one, write its start and end in seconds, such as <answer>12.54 to 17.83</answer>, and then "
        "<correction>NIL</correction>.\n"
        "If it has none, say so inside <answer> </answer> and explain why, and write inside <correction> </correction> "
        "a corrected query that the video is likely to answer.",
        video_first=False,
    ),
    # As in the released inference: a system prompt, the video first, and another wording than in training.
    "ra-rft-inference": Style(
        'Find out whether any part of the video matches the query "{query}".\n'
        "If a part does, reason inside <think> </think>, and mark each range of times that you look at as "
        "<timestep>12.54 to 17.83</timestep>. Then give its start and end in seconds, with two decimals, such as "
        "<answer>12.54 to 17.83</answer>, and close with <correction>NIL</correction>.\n"
        "If no part does, reason inside <think> </think> in the same way. Then state inside <answer> </answer> that "
        "the video has no such part and why you think so, and close with a corrected query, one that probably matches "
        "the video, inside <correction> </correction>.",
        system="You analyse videos with great care.",
    ),
}

# The tiny base's own tasks besides grounding (coursekit.base): to caption a clip, and to compare a sentence with it.
DESCRIBE = "describe the video"
COMPARE = "compare :"


def build_prompt(query: str, style: str = "instruct", **video: Any) -> list[dict[str, Any]]:
    """Chat messages with one video part.

    Args:
        query: what to look for.
        style: a name of `STYLES`, or a JSON file with a style of your own; a checkpoint names its style as
            `rarft_prompt_style` in config.json.
        video: keys of the video part, such as `video` (a path), `start` and `end`; without them it has no content, for
            the loader brings the frames.

    Raises InputError for an unknown style, a file without a style, or an empty query.
    """
    if not query.strip():
        raise InputError("the query is empty")
    chosen = STYLES.get(style) or read_style(style)
    text = {"type": "text", "text": chosen.text.replace("{query}", without_surrogates(query.strip()))}
    parts = [{"type": "video", **video}, text]
    system = [{"role": "system", "content": chosen.system}] if chosen.system else []
    return [*system, {"role": "user", "content": parts if chosen.video_first else parts[::-1]}]


@lru_cache
def read_style(path: str) -> Style:
    """A style out of a JSON file. Raises InputError that names the file and the field."""
    if not path.endswith(".json"):
        raise InputError(f"unknown prompt style {path!r}; choose one of {', '.join(STYLES)}, or give a JSON file")
    try:
        style = Style(**read_json(path))
    except (RarftError, TypeError) as error:
        raise InputError(f"{path}: not a prompt style (text, system, video_first): {error}") from error
    if not isinstance(style.text, str) or "{query}" not in style.text:
        raise InputError(f"{path}: the field 'text' has no {{query}} in it")
    return style
