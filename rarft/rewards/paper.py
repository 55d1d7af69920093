"""The rewards as the paper's text has them: raw IoU, raw cosines, no reward for NIL.

The text defines a reward of the answer and of the correction of a completion, and does not say what a completion earns
that has none. Here it earns 0 there, as in the released code: no formula of the text rewards silence. Blocks and spans
are read as `rarft.rewards.official` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rarft.metrics import temporal_iou
from rarft.reading.completion import text_of
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.rewards.official import contrast_reward, first_span, format_reward, last_block
from rarft.schema import Span

__all__ = ["correction_reward", "explain_reward", "format_reward", "refuse_iou_reward"]

Spans = Sequence[Sequence[float]]


def refuse_iou_reward(completions: list, spans: list[Spans], **_: Any) -> list[float]:
    """relevant (spans not empty): IoU with the nearest true span. irrelevant: 1 without a span in the answer,
    else 0."""
    return [_refuse_iou(last_block(text_of(c), "answer"), truth) for c, truth in zip(completions, spans, strict=True)]


def _refuse_iou(answer: str | None, truth: Spans) -> float:
    if answer is None:
        return 0.0
    predicted = first_span(answer)
    if not truth:
        return float(predicted is None)
    return 0.0 if predicted is None else max(temporal_iou(predicted, Span(*true)) for true in truth)


def explain_reward(
    completions: list, answer: list[str], contrast: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float | None]:
    """cos(a', answer) - cos(a', contrast), where a' is the completion's answer, `answer` the true one and `contrast`
    one of the opposite relevance for the same video. None where either reference is empty."""
    return contrast_reward(completions, answer, contrast, encoder, scale=1.0)


def correction_reward(
    completions: list, spans: list[Spans], correction: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float]:
    """relevant: 0. irrelevant: cos(c', correction), where c' is the completion's correction; 0 without a reference."""
    encoder = encoder or default_encoder()
    blocks = [last_block(text_of(c), "correction") for c in completions]
    similar = encoder.cosine([block or "" for block in blocks], list(correction))
    return [
        0.0 if truth or block is None or not true else float(near)
        for block, near, truth, true in zip(blocks, similar, spans, correction, strict=True)
    ]
