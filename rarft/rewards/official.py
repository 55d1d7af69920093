"""The rewards as the released code computes them, quirks included. Behaviour: JINSUBY/RA-RFT; the code here is our own.

The rules, each of which a test compares with a second, independent statement of them:

- A block is a lazy match of `<tag>(.*?)</tag>` from left to right, in lower case; the last one counts, stripped. An
  opening tag inside is content. Without a complete block a reward pays 0, whatever the relevance.
- A span is the first `X to Y` in the answer, `to` in any case, X and Y such as `5`, `5.` or `5.25`. Signs and units are
  not seen.
- Where a formula has no value, without a duration, a union or a reference query, the reward is 0.

All of it runs in time linear in the length of the completion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rarft.reading import NIL, text_of
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Span

Spans = Sequence[Sequence[float]]


_FORMAT = re.compile(  # the stripped text, in full; the released pattern has no atomic groups `(?>…)`: they save time
    r"<think>(?>.*?</think>\s*<answer>)(?>.*?</answer>\s*<correction>).*</correction>", re.DOTALL
)


def is_formatted(text: str) -> bool:
    """Full match of `<think>.*?</think>\\s*<answer>.*?</answer>\\s*<correction>.*?</correction>` by the
    stripped text."""
    return _FORMAT.fullmatch(text.strip()) is not None


def last_block(text: str, tag: str) -> str | None:
    """The stripped content of the last `<tag>(.*?)</tag>`, matched from left to right; None if there is none."""
    closed = text[: text.rfind(f"</{tag}>") + len(f"</{tag}>")]  # so that no opening tag is searched to the end in vain
    blocks = re.findall(f"<{tag}>(.*?)</{tag}>", closed, re.DOTALL)
    return blocks[-1].strip() if blocks else None


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
        refuse_iou(c, truth, partial(_timestamp_iou, truth, length))
        for c, truth, length in zip(completions, spans, duration, strict=True)
    ]


def refuse_iou(completion: str | list, truth: Spans, iou: Callable[[Span], float]) -> float:
    """What a completion earns: `iou` of its span for a relevant query (`truth` not empty), 1 without a span for an
    irrelevant one, and 0 otherwise."""
    answer = last_block(text_of(completion), "answer")
    if answer is None:
        return 0.0
    predicted = Span.first_in(answer)
    if predicted is None:
        return 0.0 if truth else 1.0
    return iou(predicted) if truth else 0.0


def _timestamp_iou(truth: Spans, duration: float | None, predicted: Span) -> float:
    true = Span(*truth[0])
    union = max(predicted.end, true.end) - min(predicted.start, true.start)
    if not duration or not union > 0:
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
    to_truth, to_other = (blocks_and_cosines(completions, "answer", texts, encoder) for texts in (answer, contrast))
    return [
        None if not (true.strip() and other.strip()) else 0.0 if block is None else scale * float(near - far)
        for (block, near), (_, far), true, other in zip(to_truth, to_other, answer, contrast, strict=True)
    ]


def blocks_and_cosines(
    completions: list, tag: str, references: list[str], encoder: SentenceEncoder | None
) -> list[tuple[str | None, np.floating]]:
    """The last block of each completion, and its cosine with a reference."""
    blocks = [last_block(text_of(c), tag) for c in completions]
    cosines = (encoder or default_encoder()).cosine([block or "" for block in blocks], list(references))
    return list(zip(blocks, cosines, strict=True))


def correction_reward(
    completions: list, spans: list[Spans], correction: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float]:
    """relevant: 1 if "NIL" is anywhere in the correction, in any case. irrelevant: ½ (1 + cos(c', correction)); 0 for
    NIL anywhere, and without a reference query."""
    rewards = []
    found = blocks_and_cosines(completions, "correction", correction, encoder)
    for (block, near), truth, true in zip(found, spans, correction, strict=True):
        nil = NIL in (block or "").upper()
        if truth:
            rewards.append(float(nil))
        else:
            rewards.append(0.0 if block is None or nil or not true else 0.5 * (1 + float(near)))
    return rewards
