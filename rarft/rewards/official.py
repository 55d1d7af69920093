"""The rewards as the released code computes them, quirks included. Behaviour: JINSUBY/RA-RFT; the code here is our own.

The rules, each of which a test compares with a second, independent statement of them:

- A block is a lazy match of `<tag>(.*?)</tag>` from left to right, in lower case; the last one counts, stripped. An
  opening tag inside is content. Without a complete block a reward pays 0, whatever the relevance.
- A span is the first `X to Y` in the answer, `to` in any case, X and Y such as `5`, `5.` or `5.25`. Signs and units are
  not seen.
- Where a formula has no value, for want of a duration, of a union or of a reference query, the reward is 0.

All of it runs in time linear in the length of the completion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from rarft.reading.completion import NIL, text_of
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Span

Spans = Sequence[Sequence[float]]


# -- what the released code reads out of a completion ------------------------------------------------------------------

_THINK_ANSWER = re.compile(r"</think>\s*<answer>")
_ANSWER_CORRECTION = re.compile(r"</answer>\s*<correction>")
_TO = re.compile(r"(?<=\s)to\s+(\d+\.?\d*)", re.IGNORECASE)
_NUMBER_BACKWARDS = re.compile(r"\d*\.\d+|\d+")


def is_formatted(text: str) -> bool:
    """Full match of `<think>.*?</think>\\s*<answer>.*?</answer>\\s*<correction>.*?</correction>` by the
    stripped text."""
    text = text.strip()
    if not (text.startswith("<think>") and text.endswith("</correction>")):
        return False
    first = _THINK_ANSWER.search(text, len("<think>"))
    if first is None:
        return False
    ends = [match.end() for match in _ANSWER_CORRECTION.finditer(text, first.end())]
    return bool(ends) and ends[-1] <= len(text) - len("</correction>")


def last_block(text: str, tag: str) -> str | None:
    """The stripped content of the last `<tag>(.*?)</tag>`, matched from left to right; None if there is none."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    content, position = None, 0
    while (start := text.find(opening, position)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        content, position = text[start + len(opening) : end].strip(), end + len(closing)
    return content


def first_span(answer: str) -> Span | None:
    """The first match of `(\\d+\\.?\\d*)\\s+to\\s+(\\d+\\.?\\d*)`, in any case.

    The number before is read backwards from each `to`, and no further than the `to` before it: linear time.
    """
    begin = 0
    for to in _TO.finditer(answer):
        start = _number_at_end(answer[begin : to.start()].rstrip())
        if start is not None:
            return Span(start, float(to[1]))
        # What follows the last "to" may be the number before the next one: "x to 1 to 5".
        begin = to.start(1)
    return None


def _number_at_end(text: str) -> float | None:
    """The longest `\\d+\\.?\\d*` that ends a text, as a match from the left would take it."""
    backwards = _NUMBER_BACKWARDS.match(text[::-1])
    return float(backwards[0][::-1]) if backwards else None


# -- the rewards -------------------------------------------------------------------------------------------------------


def format_reward(completions: list, **_: Any) -> list[float]:
    """1 if think, answer and correction follow each other with white space between, else 0. Repeated and empty blocks
    pass."""
    return [float(is_formatted(text_of(c))) for c in completions]


def refuse_iou_reward(completions: list, spans: list[Spans], duration: list[float | None], **_: Any) -> list[float]:
    """Ground relevant queries, refuse irrelevant ones.

    relevant (spans not empty): IoU · (1 - |s - s'| / D) · (1 - |e - e'| / D), of the first true span; the IoU's union
    is max(e, e') - min(s, s'), and the factors may go below 0. irrelevant: 1 without an `X to Y` in the answer, else 0.
    """
    return [
        _refuse_iou(last_block(text_of(c), "answer"), truth, length)
        for c, truth, length in zip(completions, spans, duration, strict=True)
    ]


def _refuse_iou(answer: str | None, truth: Spans, duration: float | None) -> float:
    if answer is None:
        return 0.0
    predicted = first_span(answer)
    if not truth:
        return float(predicted is None)
    if predicted is None or not duration:
        return 0.0
    true = Span(*truth[0])
    union = max(predicted.end, true.end) - min(predicted.start, true.start)
    if not union > 0:
        return 0.0
    overlap = max(0.0, min(predicted.end, true.end) - max(predicted.start, true.start))
    start, end = (1 - abs(a - b) / duration for a, b in zip(predicted, true, strict=True))
    value = overlap / union * start * end
    return value if math.isfinite(value) else 0.0


def explain_reward(
    completions: list, answer: list[str], contrast: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float | None]:
    """½ (cos(a', answer) - cos(a', contrast)), where a' is the completion's answer, `answer` the true one and
    `contrast` one of the opposite relevance for the same video. None where either reference is empty."""
    return contrast_reward(completions, answer, contrast, encoder, scale=0.5)


def contrast_reward(
    completions: list, answer: list[str], contrast: list[str], encoder: SentenceEncoder | None, *, scale: float
) -> list[float | None]:
    """`scale` times how much nearer each completion's answer is to the true one than to its contrast; see
    `explain_reward`."""
    encoder = encoder or default_encoder()
    blocks = [last_block(text_of(c), "answer") for c in completions]
    given = [block or "" for block in blocks]
    differences = encoder.cosine(given, list(answer)) - encoder.cosine(given, list(contrast))
    return [
        None if not (true.strip() and other.strip()) else 0.0 if block is None else scale * float(difference)
        for block, difference, true, other in zip(blocks, differences, answer, contrast, strict=True)
    ]


def correction_reward(
    completions: list, spans: list[Spans], correction: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float]:
    """relevant: 1 if "NIL" is anywhere in the correction, in any case. irrelevant: ½ (1 + cos(c', correction)); 0 for
    NIL anywhere, and without a reference query."""
    encoder = encoder or default_encoder()
    blocks = [last_block(text_of(c), "correction") for c in completions]
    similar = encoder.cosine([block or "" for block in blocks], list(correction))
    rewards = []
    for block, near, truth, true in zip(blocks, similar, spans, correction, strict=True):
        nil = NIL in (block or "").upper()
        if truth:
            rewards.append(float(nil))
        else:
            rewards.append(0.0 if block is None or nil or not true else 0.5 * (1 + float(near)))
    return rewards
