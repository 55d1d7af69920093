"""The rewards that the course trains with: the paper's aims without the holes of the released code.

Each hole is an exercise in chapters 04 to 07. Answers are read by `rarft.reading`, as in evaluation.
"""

from __future__ import annotations

import re
from typing import Any

from rarft.metrics import temporal_iou
from rarft.reading import Response, parse_response, text_of
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.rewards.official import Spans
from rarft.schema import Span
from rarft.system.errors import InputError


def format_reward(completions: list, **_: Any) -> list[float]:
    """1 if think, answer and correction follow each other, each exactly once and none empty, else 0."""
    return [float(response.well_formed) for response in _responses(completions)]


def _responses(completions: list) -> list[Response]:
    return [parse_response(text_of(completion)) for completion in completions]


def refuse_iou_reward(completions: list, spans: list[Spans], duration: list[float | None], **_: Any) -> list[float]:
    """Ground relevant queries, refuse irrelevant ones.

    relevant (spans not empty): IoU · max(0, 1 - |s - s'| / D) · max(0, 1 - |e - e'| / D), of the best of the true
    spans.
    irrelevant: 1 for a refusal that says something (`is_refusal`), else 0.

    Raises InputError for a relevant row without a duration.
    """
    rewards = []
    for r, truth, length in zip(_responses(completions), spans, duration, strict=True):
        grounded = [_grounding(span, Span(*t), length) for span in r.spans[:1] for t in truth]
        rewards.append(max(grounded, default=0.0) if truth else float(is_refusal(r)))
    return rewards


def _grounding(predicted: Span, true: Span, duration: float | None) -> float:
    if not duration:
        raise InputError("the column 'duration' (seconds) is empty; the robust reward divides by it")
    start, end = (max(0.0, 1 - abs(a - b) / duration) for a, b in zip(predicted, true, strict=True))
    return temporal_iou(predicted, true) * start * end


# Scripts that put no space between words: a character counts as a word.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:['’-][^\W_]+)*"
)


def words(text: str) -> list[str]:
    """The words of a text, in lower case; each character of Chinese, Japanese, Thai, Lao, Tibetan, Burmese and
    Khmer."""
    return _WORD.findall(text.lower())


def is_refusal(response: Response) -> bool:
    """A refusal that says something: at least four words, three of them different."""
    said = words(response.answer or "") if response.refused else []
    return len(said) >= 4 and len(set(said)) >= 3


def explain_reward(
    completions: list, spans: list[Spans], answer: list[str], encoder: SentenceEncoder | None = None, **_: Any
) -> list[float | None]:
    """Say what the reference explanation says.

    irrelevant and refused: max(0, cos(a', answer)) · min(1, 2 · words(answer) / words(a')), so that length earns
    nothing; otherwise 0. None for an irrelevant row whose reference is empty."""
    encoder = encoder or default_encoder()
    responses = _responses(completions)
    given = [r.answer or "" for r in responses]
    rewards: list[float | None] = []
    for near, r, a, true, truth in zip(
        encoder.cosine(given, list(answer)), responses, given, answer, spans, strict=True
    ):
        if truth:
            rewards.append(0.0)
        elif not true.strip():
            rewards.append(None)
        else:
            rewards.append(max(0.0, float(near)) * _brevity(a, true) if is_refusal(r) else 0.0)
    return rewards


def _brevity(given: str, reference: str) -> float:
    return min(1.0, 2 * len(words(reference)) / max(1, len(words(given))))


def correction_reward(
    completions: list,
    spans: list[Spans],
    query: list[str],
    correction: list[str],
    encoder: SentenceEncoder | None = None,
    **_: Any,
) -> list[float | None]:
    """Correct the query of an irrelevant one; say NIL to a relevant one. c' is the completion's correction.

    relevant: 1 for NIL, and nothing else, next to a span. irrelevant: max(0, cos(c', correction)) · min(1, 2 ·
    words(correction) / words(c')) next to a refusal, and only if c' is nearer to the true correction than to the query
    itself: repeating the query, or nothing, earns nothing. None for an irrelevant row whose reference is empty.
    """
    encoder = encoder or default_encoder()
    responses = _responses(completions)
    given = [r.correction or "" for r in responses]
    to_truth, to_query = encoder.cosine(given, list(correction)), encoder.cosine(given, list(query))
    rewards: list[float | None] = []
    for r, c, near, copied, truth, true in zip(responses, given, to_truth, to_query, spans, correction, strict=True):
        if truth:
            rewards.append(float(r.nil and bool(r.spans)))
        elif not true.strip():
            rewards.append(None)
        elif is_refusal(r) and c and not r.nil and near > copied:
            rewards.append(max(0.0, float(near)) * _brevity(c, true))
        else:
            rewards.append(0.0)
    return rewards
