"""Completion ↔ `Response`: think, answer, correction, and what the answer claims.

One parser for rewards and evaluation. Its running time is linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rarft.reading.answer import read_answer
from rarft.reading.segments import denies
from rarft.schema import Span, Verdict
from rarft.system.errors import InputError

NIL = "NIL"
READINGS = ("strict", "official")
_TAG = re.compile(r"<(/?(?:think|answer|correct))(?:(?<=correct)ion)?>")  # the paper writes <correct>
_ANY_CASE = re.compile(_TAG.pattern, re.IGNORECASE)
_COMPLETE = ["think", "/think", "answer", "/answer", "correct", "/correct"]
_ENDINGS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")
_LONG = 20_000  # characters; longer completions are not cached


@dataclass(frozen=True)
class Response:
    """A parsed completion.

    think, answer, correction: the texts inside the tags; None if the tag is missing.
    well_formed: whether there is exactly one think, answer and correction in this order, not empty, and nothing else.
    verdict: whether the answer grounds, refuses or is unreadable; see `rarft.reading.answer.read_answer`.
    spans: the segments of the answer, in seconds; empty unless it grounds.
    """

    think: str | None
    answer: str | None
    correction: str | None
    well_formed: bool
    verdict: Verdict
    spans: tuple[Span, ...]

    @property
    def refused(self) -> bool:
        """Whether the answer is a refusal."""
        return self.verdict is Verdict.REFUSES

    @property
    def nil(self) -> bool:
        """Whether the correction is exactly NIL: the model accepts the query as it is."""
        return self.correction is not None and self.correction.strip(" .!\n\t").upper() == NIL


def parse_response(text: str, reading: str = "strict") -> Response:
    """Parse a completion. If a tag is repeated, its last complete pair counts. White space and end-of-turn tokens at
    the end are ignored.

    Args:
        reading: "strict": only an `<answer>` block with lower-case tags is an answer, and an answer with neither a
            segment nor a refusal is unreadable. "official": like the released evaluator, with its plain rule instead
            of its language model. Tags may have any case. Without an answer block, the whole text after the think is
            the answer. Only a denial refuses; anything else claims relevance, with or without a segment.

    Raises InputError for any other reading.
    """
    if reading not in READINGS:
        raise InputError(f"unknown reading {reading!r}; choose one of {', '.join(READINGS)}")
    return _read_again(text, reading) if len(text) < _LONG else _read(text, reading)


def _read(text: str, reading: str) -> Response:
    text = text.strip()
    while text.endswith(_ENDINGS):
        text = text[: text.rindex("<")].rstrip()
    if reading == "official":
        text = _ANY_CASE.sub(lambda tag: tag[0].lower(), text)
    pieces = _TAG.split(text)  # texts and tags alternate
    texts, tags = pieces[::2], pieces[1::2]
    # A block is an opening tag directly followed by its closing tag, without a tag between them.
    blocks = {tag: texts[n].strip() for n, (tag, then) in enumerate(pairwise(tags), start=1) if then == f"/{tag}"}
    well_formed = tags == _COMPLETE and not any(map(str.strip, texts[::2])) and all(blocks.values())
    answer = blocks.get("answer")
    if answer is None and reading == "official":
        answer = _TAG.sub(" ", text.rpartition("</think>")[2]).strip()
    verdict, spans = read_answer(answer or "")
    if reading == "official":
        verdict = Verdict.REFUSES if not spans and denies(answer or "") else Verdict.GROUNDS
    return Response(blocks.get("think"), answer, blocks.get("correct"), well_formed, verdict, spans)


# Cached: four rewards parse each completion of a step, and a report parses each prediction several times.
_read_again = lru_cache(maxsize=4096)(_read)


def format_completion(think: str, answer: str, correction: str) -> str:
    """A completion in the format that the format reward requires."""
    return f"<think> {think} </think><answer> {answer} </answer><correction> {correction} </correction>"


def text_of(completion: str | list[dict]) -> str:
    """The text of a completion in the forms in which TRL passes it to rewards: a string, or a list of messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
