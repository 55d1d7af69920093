"""Completion ↔ `Response`: think, answer, correction, and what the answer claims.

One parser for rewards and evaluation. All of it runs in time linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from rarft.reading.denial import denies
from rarft.reading.segments import read_answer
from rarft.schema import Span, Verdict
from rarft.system.errors import InputError

NIL = "NIL"
_TAGS = re.compile(r"<(/?)(think|answer|correction|correct)>")  # the paper writes <correct>
_ANY_CASE = re.compile(_TAGS.pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """What a completion says. A field is None where its tag is missing.

    well_formed: exactly one think, answer and correction, in that order, none empty, nothing outside of them.
    verdict: whether the answer grounds, refuses, or can be read as neither; see `rarft.reading.segments.read_answer`.
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
        """The answer says something, and claims no segment."""
        return self.verdict is Verdict.REFUSES

    @property
    def nil(self) -> bool:
        """The correction is NIL and nothing else: the model finds the query right."""
        return self.correction is not None and self.correction.strip(" .!\n\t").upper() == NIL


READINGS = ("strict", "official")
_ENDINGS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


def parse_response(text: str, reading: str = "strict") -> Response:
    """Read a completion. Where a tag is repeated the last complete pair counts; white space and end-of-turn tokens at
    the end do not count.

    Args:
        reading: "strict": what stands in no `<answer>` block, in lower case, is no answer, and what claims neither a
            segment nor a refusal is unreadable. "official": as the released evaluator reads, with its plain rule in
            place of its language model: tags in any case, without an answer block the whole text but for its think,
            and a refusal only where the text says so; all else claims relevance, with or without a segment.

    Raises InputError for another reading.
    """
    if reading not in READINGS:
        raise InputError(f"unknown reading {reading!r}; choose one of {', '.join(READINGS)}")
    return _read_again(text, reading) if len(text) < LONG else _read(text, reading)


LONG = 20_000  # characters; completions above are not kept in memory


def _read(text: str, reading: str) -> Response:
    text = _without_ending(text)
    return _strict(text) if reading == "strict" else _official(text)


# Four rewards read each completion of a step, and a report reads each prediction several times.
_read_again = lru_cache(maxsize=4096)(_read)


def _without_ending(text: str) -> str:
    text = text.strip()
    while text.endswith(_ENDINGS):
        text = text[: text.rindex("<")].rstrip()
    return text


def _official(text: str) -> Response:
    response = _strict(_ANY_CASE.sub(lambda tag: tag[0].lower(), text))
    answer = response.answer
    if answer is None:
        _, _, rest = text.rpartition("</think>")
        answer = _TAGS.sub(" ", rest).strip()
    verdict, spans = read_answer(answer)
    verdict = Verdict.REFUSES if not spans and denies(answer) else Verdict.GROUNDS
    return replace(response, answer=answer, verdict=verdict, spans=spans)


def _strict(text: str) -> Response:
    fields: dict[str, str] = {}
    order: list[str] = []
    outside: list[str] = []
    opened, begin, end = "", 0, 0
    for tag in _TAGS.finditer(text):
        name = "correction" if tag[2] == "correct" else tag[2]
        if not tag[1]:
            order.append(name)
            outside.append(text[end : tag.start()])
            opened, begin = name, tag.end()
        else:
            order.append("/" + name)
            if name == opened:
                fields[name] = text[begin : tag.start()].strip()
            opened = ""
        end = tag.end()
    outside.append(text[end:])
    complete = ["think", "/think", "answer", "/answer", "correction", "/correction"]
    well_formed = order == complete and not any(map(str.strip, outside)) and all(fields.values())
    verdict, spans = read_answer(fields.get("answer", ""))
    return Response(fields.get("think"), fields.get("answer"), fields.get("correction"), well_formed, verdict, spans)


def format_completion(think: str, answer: str, correction: str) -> str:
    """Write a completion in the format that the format reward asks for."""
    return f"<think> {think} </think><answer> {answer} </answer><correction> {correction} </correction>"


def text_of(completion: str | list[dict]) -> str:
    """The text of a completion as TRL passes it to rewards: a string, or a list with one assistant message."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
