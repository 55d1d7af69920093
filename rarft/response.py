"""Completion ↔ `Response`: think, answer, correction, and the spans that an answer gives.

One parser for rewards and evaluation. All of it runs in time linear in the length of the text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rarft.schema import Span

NIL = "NIL"
_TAGS = re.compile(r"<(/?)(think|answer|correction|correct)>")  # the paper writes <correct>


@dataclass(frozen=True)
class Response:
    """What a completion says. A field is None where its tag is missing.

    well_formed: exactly one think, answer and correction, in that order, none empty, nothing outside of them.
    spans: the segments of the answer, in seconds; empty for a refusal.
    """

    think: str | None
    answer: str | None
    correction: str | None
    well_formed: bool
    spans: tuple[Span, ...]

    @property
    def refused(self) -> bool:
        """There is an answer, and it gives no span."""
        return bool(self.answer) and not self.spans

    @property
    def nil(self) -> bool:
        """The correction is NIL and nothing else: the model finds the query right."""
        return self.correction is not None and self.correction.strip(" .!\n\t").upper() == NIL


def parse_response(text: str) -> Response:
    """Read a completion. Never raises; where a tag is repeated the last complete pair counts."""
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
    answer = fields.get("answer")
    return Response(fields.get("think"), answer, fields.get("correction"), well_formed, find_spans(answer or ""))


def format_completion(think: str, answer: str, correction: str) -> str:
    """Write a completion in the format that the format reward asks for."""
    return f"<think> {think} </think><answer> {answer} </answer><correction> {correction} </correction>"


def text_of(completion: str | list[dict]) -> str:
    """The text of a completion as TRL hands it to rewards: a string, or a list with one assistant message."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


# -- times ---------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<clock>(?<![\d.:])\d{1,3}(?::\d{1,2}){1,2}(?:\.\d{1,6})?(?![\d:]))"
    r"|(?P<number>(?<![\d.:])\d{1,9}(?:\.\d{1,9})?(?![\d:]))"
    r"|(?P<joint>\bto\b|\band\b|\buntil\b|\btill\b|[-–—~])"
    r"|(?P<unit>\bseconds?\b|\bsecs?\b|\bs\b)"
    r"|(?P<between>[\s,;.()\[\]]+)"
    r"|(?P<filler>\b(?:from|between|at|in|of|the|it|is|this|that|video|event|segment|query|happens|occurs|starts|"
    r"start|ends|end|answer|about|approximately|around|relevant|shown|or|then|also)\b|:)"
    r"|(?P<word>\w{1,64}|.)",
    re.IGNORECASE | re.DOTALL,
)
# A unit may touch its number ("5s"); a word boundary inside would hide it.
_TOUCHING_UNIT = re.compile(r"(?<=\d)(?=(?:s|secs?|seconds?)\b)", re.IGNORECASE)


def find_spans(answer: str) -> tuple[Span, ...]:
    """The segments that an answer gives, in seconds, in the order in which they are written.

    Reads `5 to 15`, `5.0s to 15.0s`, `5 - 15`, `00:05 to 00:15`, `1:02:03 to 1:02:10`, `from 5 and 15`, and
    several of them. An answer is a set of segments only if it says nothing else: as soon as another word
    stands in it, it is prose ("a refusal that cites 3 to 12 s", "2 to 3 people") and there are no spans.
    A negative number, or a segment that ends before it starts, makes the answer prose, too.
    """
    spans: list[Span] = []
    numbers: list[float] = []
    joined = False  # a joint stands between the last number and what follows
    for token in _TOKEN.finditer(_TOUCHING_UNIT.sub(" ", answer)):
        kind = token.lastgroup
        if kind in ("between", "unit", "filler"):
            continue
        if kind == "joint":
            if joined or (not numbers and (not spans or token[0] not in "and")):
                return ()  # a minus sign, or words that join nothing
            joined = bool(numbers)
        elif kind in ("clock", "number"):
            value = _seconds(token[0])
            if numbers and not joined:
                return ()
            numbers.append(value)
            joined = False
            if len(numbers) == 2:
                if not numbers[0] <= numbers[1]:
                    return ()
                spans.append(Span(*numbers))
                numbers = []
        else:
            return ()
    return () if numbers or joined else tuple(spans)


def _seconds(text: str) -> float:
    value = math.fsum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))
    return value
