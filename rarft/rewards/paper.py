"""The rewards as the paper's text has them: raw IoU, raw cosines, no reward for NIL.

The text defines a reward of the answer and of the correction of a completion, and does not say what a completion earns
that has none. Here it earns 0 there, as in the released code: no formula of the text rewards silence. Blocks and spans
are read as `rarft.rewards.official` reads them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rarft.metrics import best_iou
from rarft.rewards.encoder import SentenceEncoder
from rarft.rewards.official import Spans, blocks_and_cosines, contrast_reward, format_reward, refuse_iou
from rarft.schema import Span

__all__ = ["correction_reward", "explain_reward", "format_reward", "refuse_iou_reward"]


def refuse_iou_reward(completions: list, spans: list[Spans], **_: Any) -> list[float]:
    """relevant (spans not empty): IoU with the nearest true span. irrelevant: 1 without a span in the answer,
    else 0."""
    return [refuse_iou(c, truth, partial(_nearest_iou, truth)) for c, truth in zip(completions, spans, strict=True)]


def _nearest_iou(truth: Spans, predicted: Span) -> float:
    return best_iou([predicted], [Span(*true) for true in truth])


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
    found = blocks_and_cosines(completions, "correction", correction, encoder)
    return [
        0.0 if truth or block is None or not true else float(near)
        for (block, near), truth, true in zip(found, spans, correction, strict=True)
    ]
