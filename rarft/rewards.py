"""The four rewards of RA-RFT, in three variants.

official  what the released code computes, quirks included; kept to reproduce and to learn from
paper     the formulae of the text: raw IoU, raw cosines, no pay for NIL
robust    the default: the same aims without the holes (each is an exercise in chapters 04 to 07)

Every reward has TRL's signature, `reward(completions, **columns) -> list[float]`, and takes completions as
strings or as message lists. The columns that it needs are named in its arguments; rows of both relevances may
be mixed. Let D be the duration, cos the cosine of the sentence encoder; see each function for its formula.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rarft.encoder import SentenceEncoder, default_encoder
from rarft.metrics import temporal_iou
from rarft.response import NIL, Response, parse_response, text_of
from rarft.schema import Span

VARIANTS = ("official", "paper", "robust")
NAMES = ("format", "refuse_iou", "explain", "correction")
Spans = Sequence[Sequence[float]]


# -- what the official code reads out of a completion -----------------------------------------------------------

_THINK_ANSWER = re.compile(r"</think>\s*<answer>")
_ANSWER_CORRECTION = re.compile(r"</answer>\s*<correction>")
_TO = re.compile(r"\s+to\s+(\d+(?:\.\d+)?)")
_NUMBER_BEFORE = re.compile(r"(?:\d+\.)?\d+\Z")


def official_format(text: str) -> bool:
    """Full match of `<think>.*?</think>\\s*<answer>.*?</answer>\\s*<correction>.*?</correction>`, in linear time."""
    text = text.strip()
    if not (text.startswith("<think>") and text.endswith("</correction>")):
        return False
    first = _THINK_ANSWER.search(text, len("<think>"))
    if first is None:
        return False
    ends = [match.end() for match in _ANSWER_CORRECTION.finditer(text, first.end())]
    return bool(ends) and ends[-1] <= len(text) - len("</correction>")


def last_between(text: str, tag: str) -> str:
    """The stripped content of the last `<tag>…</tag>`, or "" if there is none."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[start + len(tag) + 2 : end].strip() if 0 <= start < end else ""


def official_span(answer: str) -> Span | None:
    """The first `X to Y` in a text, each a plain decimal number; a sign or a unit is not seen."""
    for to in _TO.finditer(answer):
        begin = to.start()
        while begin > 0 and (answer[begin - 1].isdecimal() or answer[begin - 1] == "."):
            begin -= 1
        number = _NUMBER_BEFORE.search(answer[begin : to.start()][-64:])
        if number:
            return Span(float(number[0]), float(to[1]))
    return None


# -- the rewards --------------------------------------------------------------------------------------------------


def format_reward(completions: list, variant: str = "robust", **_) -> list[float]:
    """1 if think, answer and correction follow each other with white space between, else 0.

    robust: also each exactly once and none empty.
    """
    texts = [text_of(c) for c in completions]
    if _check(variant) == "robust":
        return [float(parse_response(text).well_formed) for text in texts]
    return [float(official_format(text)) for text in texts]


def refuse_iou_reward(
    completions: list, spans: list[Spans], duration: list[float | None], variant: str = "robust", **_
) -> list[float]:
    """Ground relevant queries, refuse irrelevant ones.

    relevant (spans not empty), official and robust: IoU · (1 - |s - s'| / D) · (1 - |e - e'| / D); paper: IoU.
    irrelevant: 1 for a refusal, else 0.
    robust: reads every usual way of writing times, in the answer only; the boundary factors do not go below 0;
    the best of several true spans counts; a refusal has to say something (`is_refusal`).
    """
    _check(variant)
    rewards = []
    for completion, truth, length in zip(completions, spans, duration, strict=True):
        text = text_of(completion)
        if variant == "robust":
            response = parse_response(text)
            predicted = response.spans[0] if response.spans else None
            refused = is_refusal(response)
        else:
            predicted = official_span(last_between(text, "answer"))
            refused = predicted is None
        if not truth:
            rewards.append(float(refused))
        elif predicted is None:
            rewards.append(0.0)
        else:
            rewards.append(max(_grounding(predicted, Span(*true), length, variant) for true in truth))
    return rewards


def _grounding(predicted: Span, true: Span, duration: float | None, variant: str) -> float:
    iou = temporal_iou(predicted, true)
    if variant == "paper":
        return iou
    if not duration:
        raise ValueError("the column 'duration' (seconds) is empty; the official and robust rewards divide by it")
    start = 1 - abs(predicted.start - true.start) / duration
    end = 1 - abs(predicted.end - true.end) / duration
    return iou * max(0.0, start) * max(0.0, end) if variant == "robust" else iou * start * end


def is_refusal(response: Response) -> bool:
    """A refusal that says something: no span, and at least four words, not all the same."""
    words = (response.answer or "").lower().split()
    return response.refused and len(words) >= 4 and len(set(words)) >= 3


def explain_reward(
    completions: list,
    spans: list[Spans],
    answer: list[str],
    contrast: list[str],
    variant: str = "robust",
    encoder: SentenceEncoder | None = None,
    **_,
) -> list[float]:
    """Say what the reference explanation says.

    official: ½ (cos(a', answer) - cos(a', contrast)); paper: cos(a', answer) - cos(a', contrast), where a' is the
    model's answer, `answer` the true one and `contrast` one of the opposite relevance for the same video.
    robust: irrelevant and refused: max(0, cos(a', answer)) · min(1, 2 · words(answer) / words(a')), so that
    length does not pay; otherwise 0.
    """
    _check(variant)
    encoder = encoder or default_encoder()
    texts = [text_of(c) for c in completions]
    if variant == "robust":
        responses = [parse_response(text) for text in texts]
        given = [r.answer or "" for r in responses]
        similar = encoder.cosine(given, list(answer))
        return [
            max(0.0, float(s)) * _brevity(a, true) if not truth and is_refusal(r) else 0.0
            for s, r, a, true, truth in zip(similar, responses, given, answer, spans, strict=True)
        ]
    given = [last_between(text, "answer") for text in texts]
    difference = encoder.cosine(given, list(answer)) - encoder.cosine(given, list(contrast))
    scale = 0.5 if variant == "official" else 1.0
    return [scale * float(d) for d in difference]


def _brevity(given: str, reference: str) -> float:
    return min(1.0, 2 * len(reference.split()) / max(1, len(given.split())))


def correction_reward(
    completions: list,
    spans: list[Spans],
    query: list[str],
    correction: list[str],
    variant: str = "robust",
    encoder: SentenceEncoder | None = None,
    **_,
) -> list[float]:
    """Correct the query of an irrelevant one; say NIL to a relevant one. c' is the model's correction.

    official: relevant: 1 if "NIL" is anywhere in c'; irrelevant: ½ (1 + cos(c', correction)), NIL anywhere: 0.
    paper: relevant: 0; irrelevant: cos(c', correction).
    robust: relevant: 1 for NIL beside a span; irrelevant: max(0, cos(c', correction)) · min(1, 2 · words(correction) /
    words(c')) beside a refusal, and only if c' is nearer to the true correction than to the query itself:
    repeating the query, or nothing, earns nothing.
    """
    _check(variant)
    encoder = encoder or default_encoder()
    texts = [text_of(c) for c in completions]
    if variant != "robust":
        given = [last_between(text, "correction") for text in texts]
        similar = encoder.cosine(given, list(correction))
        return [
            _lenient_correction(c, float(s), bool(truth), variant)
            for c, s, truth in zip(given, similar, spans, strict=True)
        ]
    responses = [parse_response(text) for text in texts]
    given = [r.correction or "" for r in responses]
    to_truth, to_query = encoder.cosine(given, list(correction)), encoder.cosine(given, list(query))
    rewards = []
    for r, c, near, copied, truth, true in zip(responses, given, to_truth, to_query, spans, correction, strict=True):
        if truth:
            rewards.append(float(r.nil and bool(r.spans)))
        elif is_refusal(r) and c and not r.nil and near > copied:
            rewards.append(max(0.0, float(near)) * _brevity(c, true))
        else:
            rewards.append(0.0)
    return rewards


def _lenient_correction(given: str, similarity: float, relevant: bool, variant: str) -> float:
    nil = NIL in given.upper()
    if relevant:
        return float(nil) if variant == "official" else 0.0
    if variant == "official":
        return 0.0 if nil else 0.5 * (1 + similarity)
    return similarity


def make_rewards(
    variant: str = "robust", names: Sequence[str] = NAMES, encoder: SentenceEncoder | None = None
) -> list[Callable[..., list[float]]]:
    """The named rewards as functions for `GRPOTrainer(reward_funcs=…)`, in the order of `names`.

    Raises ValueError for an unknown variant or name.
    """
    _check(variant)
    known = dict(
        zip(NAMES, (format_reward, refuse_iou_reward, explain_reward, correction_reward), strict=True)
    )
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(f"unknown reward {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")

    def bind(name: str) -> Callable[..., list[float]]:
        def reward(completions: list, **columns) -> list[float]:
            return known[name](completions, **{**columns, "variant": variant, "encoder": encoder})

        reward.__name__ = name
        return reward

    return [bind(name) for name in names]


def _check(variant: str) -> str:
    if variant not in VARIANTS:
        raise ValueError(f"unknown reward variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    return variant
