"""JSON in an answer → the same answer in plain words, for `rarft.reading.segments`.

`{"start": "00:04", "end": "00:09", "label": "no smoking sign"}` becomes `[00:04, 00:09]`: if JSON gives a segment, its
texts do not count. `{"answer": "no such event", "time": null}` becomes `no such event, none`, on two lines. Python
literals, unquoted keys and times, and JSON that was cut off at the token limit are read, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rarft.reading.segments import denies, tokens_of
from rarft.schema import is_finite_number


def without_json(text: str) -> str:
    """The text with each JSON object or list replaced by plain words. Brackets without JSON in them stay.

    An object without a segment becomes its texts, with the word `none` if null, an empty list or `"found": false` is in
    place of the segment. Takes time linear in the length of the text, and raises no error.
    """
    parts, done = [], 0
    has_numbers = re.search(r"\d", text) is not None
    for begin, end, value in _values(text):
        found = _findings(value)
        if found.segments or (value and "{" in text[begin:end]) or not has_numbers:  # no checkbox as in `- [ ] 4 to 9`
            parts += [text[done:begin], _in_words(found)]
            done = end
    return "".join([*parts, text[done:]])


# -- the values in a text ----------------------------------------------------------------------------------------------

_PIECE = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
    r"|'[^'\\]*+(?:\\.[^'\\]*+)*+(?:'|\\?\Z)"
    r"|“[^”]*+(?:”|\Z)|[\[\]{}(),:]|(?:[^\s;\"'“\[\]{}(),:]|(?<=\d):(?=\d))++",
    re.DOTALL,
)
_SCALAR = re.compile(r"-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][-+]?\d++)?|null|true|false|NaN|-?Infinity", re.ASCII)
_PYTHON = {"(": "[", ")": "]", "None": "null", "True": "true", "False": "false", "nan": "NaN", "inf": "Infinity"}
_CLOSING = {"[": "]", "{": "}"}


def _values(text: str) -> Iterator[tuple[int, int, Any]]:
    """The outermost JSON objects and lists of a text: where each begins and ends, and its value."""
    last = max(text.rfind("]"), text.rfind("}")) + 1
    place = 0
    while opening := re.compile(r"[\[{]").search(text, place, last):
        pieces, place = _balanced(text, opening.start(), last)
        try:  # strings may hold line breaks
            yield opening.start(), place, json.loads("".join(pieces), strict=False)
        except (ValueError, RecursionError):
            continue  # brackets in prose


def _balanced(text: str, begin: int, end: int) -> tuple[list[str], int]:
    """The pieces of the JSON value that begins at a bracket, and where it ends. A value that was cut off is closed."""
    pieces: list[str] = []
    closing: list[str] = []
    for match in _PIECE.finditer(text, begin, end):
        piece = _PYTHON.get(match[0], match[0])
        if piece in _CLOSING:
            closing.append(_CLOSING[piece])
        elif piece in ("]", "}"):
            if piece != closing.pop():
                return [], match.end()
            if pieces[-1] == ",":
                pieces.pop()
        pieces.append(_as_json(piece))
        if not closing:
            return pieces, match.end()
    return [*pieces, *reversed(closing)], end


def _as_json(piece: str) -> str:
    if piece in "[]{},:" or piece[0] == '"' or _SCALAR.fullmatch(piece):
        return piece
    return json.dumps(piece[1:-1].replace("\\'", "'") if piece[0] in "'“" else piece)


# -- what a value says -------------------------------------------------------------------------------------------------

_OF = r"(?:t|time|timestamp|clip|segment|event|moment|window|scene|pred|predicted)?"
_START = re.compile(_OF + r"(?:start|begin|onset|from|st$)")
_END = re.compile(_OF + r"(?:end|stop|finish|offset|until|till|ed$|to(?:time|sec|seconds)?$)")
_LENGTH = re.compile(r"(?:duration|length|lasts)(?:s|sec|seconds)?$")
_TIME = re.compile(
    rf"$|{_START.pattern}|{_END.pattern}|.*(?:time|second|moment|segment|window|span|interval|range|clip|answer|result"
    r"|event|scene|match|predict|highlight)"
)
_MOMENT = re.compile(r"(?:time|timestamp|at)$")
_MILLISECONDS = re.compile(r".*(?:ms|millis|milliseconds)$")
_NO_TIME = re.compile(  # keys without times: boxes, frames, counts, the repeated query, the closest segment
    r".*(?:2d$|box|keypoint|(?<!time)frame|score|confiden|salien|probab|count|number|people|year|fps|index|rank|closest"
    r"|nearest|total|video(?:duration|length|range)|size|resolution)|(?:id|points?|query|question|prompt|sentence)$"
)
_CLAIM = re.compile(  # keys whose true or false says whether the event is in the video
    r"(?:is|has|event|query|moment|segment)*(?:relevant|found|exists?|match(?:es|ed)?|present|answerable|occurs|happens"
    r"|detected|grounded|shown|answer)(?:in(?:the)?video)?$"
)


@dataclass
class _Findings:
    segments: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)  # single times, outside of any segment
    texts: list[str] = field(default_factory=list)
    empty: bool = False  # null, "" or [] in place of a time, or false for a key of `_CLAIM`


def _in_words(found: _Findings) -> str:
    if found.segments:
        return ", ".join(found.segments)
    texts = found.texts + ["none"] * found.empty
    if found.times and not denies("\n".join(texts)):
        texts = []
    return "\n" + "\n".join(found.times + texts) + "\n"


def _findings(value: Any) -> _Findings:
    found = _Findings()
    waiting = [("", value)]
    while waiting:  # a stack: values may be nested deeper than Python calls
        key, node = waiting.pop()
        if isinstance(node, Mapping) and node:
            waiting += reversed(_read_object(node, found))
        elif isinstance(node, list) and node:
            waiting += reversed(_read_list(key, node, found))
        else:
            _read_leaf(key, node, found)
    return found


_Items = list[tuple[str, Any]]


def _read_object(node: Mapping[str, Any], found: _Findings) -> _Items:
    """Add the segment that an object's own keys give. Returns the items that are still to be read."""
    found.segments += [key for key in node if _time_count(key) > 1]  # {"00:04 - 00:09": "a man opens the door"}
    items = [(key, child) for key, child in node.items() if not _NO_TIME.match(_name(key))]
    if any(_CLAIM.match(_name(key)) and _is_no(child) for key, child in items):
        found.empty = True
        return []
    start, end = _times_of(items, _START), _times_of(items, _END)
    length = _times_of(items, _LENGTH)
    if start and len(start) == len(end):
        found.segments += [f"[{a}, {b}]" for a, b in zip(start, end, strict=True)]
        return [(key, child) for key, child in items if not (_START.match(_name(key)) or _END.match(_name(key)))]
    start = start or _times_of(items, _MOMENT)
    if len(start) == len(length) == 1:
        found.segments.append(f"start {start[0]} lasts {length[0]}")
        return []
    return items


def _read_list(key: str, node: list[Any], found: _Findings) -> _Items:
    scored = len(node) == 3 and isinstance(node[2], float) and 0 <= node[2] <= 1  # [start, end, score]
    times = [_time(child) for child in node[:2]] if scored or len(node) == 2 else [""]
    if not all(times):
        return [(key, child) for child in node]
    found.segments.append(f"[{times[0]}, {times[1]}]")
    return []


def _read_leaf(key: str, leaf: Any, found: _Findings) -> None:
    name, time = _name(key), _time(leaf)
    if leaf is True:
        found.texts.append(key.replace("_", " "))
    elif isinstance(leaf, str) and _time_count(leaf) > 1:
        found.segments.append(leaf)
    elif time and _TIME.match(name):
        found.times.append("start " * bool(_START.match(name)) + "end " * bool(_END.match(name)) + time)
    elif not leaf and leaf is not False:
        found.empty |= bool(_TIME.match(name))
    elif isinstance(leaf, str):
        found.texts.append(leaf)


def _name(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


def _is_no(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip(" .!").lower() in ("no", "false"))


def _times_of(items: _Items, pattern: re.Pattern[str]) -> list[str]:
    """The time, or the times in a list, under the first key that matches and has any."""
    for key, child in items:
        name = _name(key)
        leaves = child if isinstance(child, list) else [child]
        if pattern.match(name) and leaves and all(times := [_time(leaf, name) for leaf in leaves]):
            return times
    return []


def _time(leaf: Any, name: str = "") -> str:
    """A single time as text: `4.2`, `4.2s`, `00:04`. Empty for all else."""
    if isinstance(leaf, str):
        return leaf if _time_count(leaf) == 1 else ""
    if isinstance(leaf, bool) or not isinstance(leaf, int | float):
        return ""
    text = f"{leaf:.6f}" if is_finite_number(leaf) else "-1"  # NaN is not a possible time
    return text + " ms" * bool(_MILLISECONDS.match(name))


def _time_count(text: str) -> int:
    """The number of times in a text without words, such as 2 in `4.2 - 9.6 s`; 0 if it has words."""
    kinds = [token.kind for token in tokens_of(text)]
    return 0 if "word" in kinds else kinds.count("time")
