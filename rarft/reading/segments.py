"""An answer in words → what it claims: a segment of the video, a refusal, or nothing that can be read.

One reader for rewards and evaluation. It takes the styles in which video language models answer: `4.2 to 9.6`,
`[(4.2, 9.6)]`, `00:04 - 00:09`, `{"start": 4.2, "end": 9.6}`, `from 1 min 5 s to 1 min 9 s`, `starts at the 4th second
and lasts 5 s`, several windows, Markdown, JSON (`rarft.reading.json_answers`), dashes and digits of any script, and
sentences such as `The man opens the door from 4.2 to 9.6 seconds.` A refusal that cites times stays a refusal. All of
it runs in time linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from rarft.reading.denial import denies
from rarft.reading.json_answers import without_json
from rarft.schema import Span, Verdict


def read_answer(answer: str) -> tuple[Verdict, tuple[Span, ...]]:
    """What an answer claims, and the segments that it gives, in seconds, in the order in which they are written.

    - GROUNDS: it gives at least one segment that can be, `0 <= start <= end`. A sentence that consists of a segment
      and words such as "the event happens from" always counts, and so does JSON with a segment, whatever its labels
      say. In other prose a segment counts if it is one of time (`from 4.2 to 9.6 seconds`, not `2 to 3 people`) and
      the answer denies nothing outside of a quoted name (`the sign "no entry"`). A segment that is repeated counts
      once.
    - REFUSES: it has words of its own, and claims no segment: "from 3 to 12 s nobody opens a door"; or it is JSON with
      null or an empty list where segments belong. What it cannot recognise: a denial that belongs to somebody in the
      video ("the person without a hat enters from 3 to 7 s" reads as a refusal), and numbers in words ("from four to
      nine seconds" reads as a refusal).
    - UNREADABLE: it is empty; it gives a time but no segment that can be (`9.6 to 4.2`, `5`); it gives frames, whose
      times depend on the video; or it has neither a time nor a word beyond "the event is in the video".
    """
    text = without_json(unicodedata.normalize("NFKC", answer))
    if not _DIGIT.search(text) and denies(text):
        return Verdict.REFUSES, ()  # most refusals: no need to look at each word
    tokens = _tokens(text)
    wordless = not any(token.kind is _Kind.WORD for token in tokens)
    pairs = list(_pairs(tokens))
    worded = _words_before(tokens)
    times = [place for place, token in enumerate(tokens) if token.kind is _Kind.TIME]
    if wordless and not pairs and len(times) == 2 and not any(token.kind in _NO_BARE_PAIR for token in tokens):
        pairs = [_Pair(times[0], times[1], certain=True)]
    claimed = [pair for pair in pairs if worded[min(pair.places)][0] == worded[max(pair.places)][1]]
    denied = denies(_QUOTED_NAME.sub(" ", text))
    in_frames = _FRAMES.search(text) and not any(tokens[place].unit or tokens[place].exact for place in times)
    if not claimed and not denied:
        claimed = [pair for pair in pairs if pair.certain or _is_time(tokens, pair)]
    if claimed and not in_frames:
        spans = dict.fromkeys(_span(tokens, pair) for pair in claimed if _is_possible(tokens, pair))
        return (Verdict.GROUNDS, tuple(spans)) if spans else (Verdict.UNREADABLE, ())
    return (Verdict.UNREADABLE if wordless or (in_frames and not denied) else Verdict.REFUSES), ()


_DIGIT = re.compile(r"\d")
_FRAMES = re.compile(  # frames 120-288, from frame 120 to frame 288
    r"\bframes?(?: number| index)?\W{0,4}\d{1,9}(?:\W|to|and|until|through|end|frame|number|index){1,24}\d",
    re.IGNORECASE,
)
_QUOTED_NAME = re.compile(  # the event "a man without a hat", the sign "no entry"
    r"\b(?:event|query|action|moment|scene|segment|sentence|sign|text|label|caption|says|saying|reads|reading)[\s:]{1,2}"
    r"(?:\"[^\"\d\n]{1,200}\"|“[^”\d\n]{1,200}”|'[^'\d\n]{1,200}'(?!\w))",
    re.IGNORECASE,
)


# -- tokens ------------------------------------------------------------------------------------------------------------


class _Kind(Enum):
    TIME = auto()  # a number or a clock time, its unit included
    JOINT = auto()  # to, until, a dash, an arrow, and
    COMMA = auto()
    OPEN = auto()
    CLOSE = auto()
    START = auto()  # the word start and its like
    END = auto()
    LENGTH = auto()  # lasts, for, duration
    FILLER = auto()  # words that say nothing of their own: the, event, happens, about
    BREAK = auto()  # the end of a sentence or line
    GAP = auto()  # quotes, colons and other marks
    JUNK = auto()  # what is no word and no number: the rest of 1.2.3
    WORD = auto()


@dataclass(frozen=True)
class _Token:
    kind: _Kind
    text: str
    value: float = 0.0  # of a TIME, in seconds; below 0 with a minus sign
    unit: float = 0.0  # of a TIME: how many seconds its unit is; 0 without a unit
    exact: bool = False  # of a TIME: written with a decimal point or as a clock


_UNITS = {
    0.001: r"ms|msecs?|milliseconds?",
    1.0: r"s|secs?|seconds?|sek|sekunden?|segs?|segundos?|secondes?|secondi|сек|секунды?|секунд|секунду",
    60.0: r"m|mins?|minutes?|minuten?|minutos?|мин|минуты?|минут",
    3600.0: r"h|hrs?|hours?|stunden?|horas?|heures?",
}
_ASIAN_UNITS = {1.0: r"秒钟|秒鐘|秒間|秒|초", 60.0: r"分钟|分鐘|分間|分|분"}
_UNIT = "|".join(
    [rf"(?:{names})(?![^\W\d_])" for names in _UNITS.values()] + [rf"(?:{names})" for names in _ASIAN_UNITS.values()]
)
_UNIT_SECONDS = [
    (re.compile(names, re.IGNORECASE), seconds) for table in (_UNITS, _ASIAN_UNITS) for seconds, names in table.items()
]
_FILLER = (
    "a an about action again all also an answer appears approx approximate approximately are around as ask asked "
    "asks at be been being believe best between briefly by ca can caption circa clearly clip closely "
    "corresponding corresponds described description during event exactly exact final following found footage "
    "from given ground grounded grounding happen happened happening happens here i identified in interval is it "
    "its json last let localization localized located location mark matched matches matching me moment "
    "moments most my near nearly occur occurred occurring occurs of okay only or output part period place portion "
    "precisely predicted prediction queried query question range relevance relevant respectively result roughly "
    "scene seen segment segments sentence shown shows so span spans specified statement sure t take takes target "
    "temporal that the then therefore think this thus time timecode timecodes timeframe times timestamp "
    "timestamps video visible was we were when where which window windows with within would yes you your"
)
_TOKEN = re.compile(
    r"(?P<clock>(?<![\d.:])\d{1,3}+(?::\d{1,2}){1,2}(?:[.,]\d{1,6})?(?!\d|:\d))"
    r"|(?P<count>(?<![\d.:])\d{1,9}+(?:\.\d{1,9}+)?+(?:%|(?:st|nd|rd|th)(?![^\W\d_])))"
    r"|(?P<number>(?<![\d.:])(?:\d{1,9}+(?:\.\d{1,9}+)?+|\.\d{1,9}+)(?!\d|:\d))"
    r"|(?P<minus>-(?=\.?\d))|(?P<joint><?[-=]{1,3}>|-{1,3}|~|\.{2,3}(?=\s{0,3}\d)|(?<![^\W\d_])(?:to|and|until|till|through|thru|bis|hasta|"
    r"até|до|إلى|à|et|und|y|al?(?=\s{0,3}\d))(?![^\W\d_])|[到至]|から|부터)"
    r"|(?P<start>(?<![^\W\d_])(?:start|begin|onset)(?:s|ning|ing|ed)?(?:_?time|_?sec(?:ond)?s?)?(?![^\W\d_])|began)"
    r"|(?P<end>(?<![^\W\d_])(?:end|finish|stop|offset|conclude)(?:s|ing|es|ed|d)?(?:_?time|_?sec(?:ond)?s?)?(?![^\W\d_]))"
    r"|(?P<length>(?<![^\W\d_])(?:for|duration|last(?:s|ed|ing)|length(?=\W{0,3}\d))(?![^\W\d_]))"
    r"|(?P<unit>" + _UNIT + r")"
    r"|(?P<filler>(?<![^\W\d_])(?:" + "|".join(_FILLER.split()) + r")(?![^\W\d_]))"
    r"|(?P<comma>[,|、])|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<break>[.!?;。\n])"
    r"|(?P<word>[^\W\d_]{1,64}(?:['’][^\W\d_]{1,8})?)|(?P<junk>\d{1,64})|(?P<gap>.)",
    re.IGNORECASE | re.DOTALL,
)
_AFTER_NUMBER = re.compile(r"[\s\"'*`]{0,4}-?\s{0,2}(" + _UNIT + ")", re.IGNORECASE)
_MARKS = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−﹘", "-"),
        **dict.fromkeys("〜∼～", "~"),
        **dict.fromkeys("→⟶⇒➔➜", "~"),
        "٫": ".",
        "٬": ",",
        "！": "!",
        "？": "?",
    }
)
_TAG = re.compile(r"</?[a-z_]{1,16}>", re.IGNORECASE)
_DECIMAL_COMMAS = re.compile(  # 4,2 - 9,6
    r"(?<![\d.,])(\d{1,4}),(\d{1,2})(\s{0,3}(?:s\w{0,8})?\s{0,3}(?:to|bis|until|à|a|y|et|und|до|[-~]{1,2})\s{0,3})"
    r"(\d{1,4}),(\d{1,2})(?![\d,])",
    re.IGNORECASE,
)
_ORDINALS = re.compile(  # from the 4th second to the 9th second, between the 4th and the 9th second
    r"(?<![\d.:])(\d{1,5})(?:st|nd|rd|th)(?=(?:\s{0,3}(?:to|and|until|till|through|[-~])\s{0,3}(?:the\s{1,3})?"
    r"\d{1,5}(?:st|nd|rd|th))?[-\s]{1,3}(?:sec(?:ond)?s?|min(?:ute)?s?)(?![^\W\d_]))",
    re.IGNORECASE,
)
_PRIMES = re.compile(r"(?<!\d)(\d{1,3})['′’](\d{1,2})(?:[\"″”]|'')")  # 1'12"
_ENUMERATION = re.compile(  # "1. 4.2 - 9.6", "Segment 2: 20 - 25"
    r"^[ \t]{0,8}\d{1,2}[.)][ \t]{1,4}(?=[\[({\"'*`]{0,3}(?:\d|start|from|between|segment))"
    r"|(?<![^\W\d_])(?:segment|event|window|clip|moment|interval|span|part|no\.)\s{0,2}#?\d{1,2}\s{0,2}[:)]",
    re.IGNORECASE | re.MULTILINE,
)


_MINUS = "minus"  # a dash that touches the number after it
_SAME = {"count": _Kind.WORD, "minus": _Kind.JOINT, "unit": _Kind.FILLER}


def _tokens(text: str) -> list[_Token]:
    text = text.translate(_MARKS)
    text = _ENUMERATION.sub(" ", _PRIMES.sub(r"\1:\2", _TAG.sub(" ", text)))
    text = _ORDINALS.sub(r"\1", _DECIMAL_COMMAS.sub(r"\1.\2\3\4.\5", text))
    tokens: list[_Token] = []
    place = 0
    while match := _TOKEN.match(text, place):
        place = match.end()
        kind, word = str(match.lastgroup), match[0]
        if kind in ("clock", "number"):
            unit = _AFTER_NUMBER.match(text, place)
            seconds = _unit_seconds(unit[1]) if unit else 0.0
            place = unit.end() if unit else place
            value = _clock_seconds(word) if kind == "clock" else float(word) * (seconds or 1.0)
            _add_time(tokens, _Token(_Kind.TIME, word, value, seconds, exact=kind == "clock" or "." in word))
        elif word == ")" and _is_repeated(tokens):
            tokens[-3:] = [max(tokens[-3], tokens[-1], key=lambda time: "." in time.text)]
        elif not word.isspace() or word == "\n":
            tokens.append(_Token(_SAME.get(kind) or _Kind[kind.upper()], _MINUS if kind == "minus" else word.lower()))
    return tokens


def _is_repeated(tokens: Sequence[_Token]) -> bool:
    """Whether the last two times are one, written twice: `00:04 (4.2 s`."""
    kinds = [token.kind for token in tokens[-3:]]
    return kinds == [_Kind.TIME, _Kind.OPEN, _Kind.TIME] and abs(tokens[-1].value - tokens[-3].value) < 1


def _unit_seconds(name: str) -> float:
    return next(seconds for pattern, seconds in _UNIT_SECONDS if pattern.fullmatch(name))


def _clock_seconds(text: str) -> float:
    parts = reversed(text.replace(",", ".").split(":"))
    return sum(float(part) * 60**power for power, part in enumerate(parts))


def _add_time(tokens: list[_Token], time: _Token) -> None:
    """Append a time: with the minus sign before it, or as the seconds of the minutes before it."""
    if tokens and tokens[-1].text == _MINUS and not any(t.kind is _Kind.TIME for t in tokens[-2:-1]):
        tokens[-1] = _Token(_Kind.TIME, time.text, -time.value, time.unit, time.exact)
        return
    # 1 min 5 s, 1 minute and 5 seconds, 4s200ms
    back = 2 if tokens and tokens[-1].text in ("and", ",") else 1
    before = tokens[-back] if len(tokens) >= back else None
    if before is not None and before.kind is _Kind.TIME and before.unit > time.unit > 0:
        del tokens[-back:]
        tokens.append(_Token(_Kind.TIME, before.text, before.value + time.value, time.unit, exact=True))
        return
    tokens.append(time)


# -- pairs of times ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """The places of two times that make a segment. certain: by its form, such as brackets or `start … end`.
    lasts: the second is the length of the segment."""

    first: int
    second: int
    certain: bool = False
    lasts: bool = False

    @property
    def places(self) -> tuple[int, int]:
        return self.first, self.second


_REACH = 16  # tokens between the two times of a segment, at the most
_LIGHT = {_Kind.GAP, _Kind.FILLER, _Kind.OPEN, _Kind.CLOSE, _Kind.START, _Kind.END, _Kind.LENGTH}
_NO_BARE_PAIR = {_Kind.JUNK, _Kind.LENGTH}
_WHOLE = {"video", "clip", "footage"}


def _pairs(tokens: Sequence[_Token]) -> Iterator[_Pair]:
    times = [place for place, token in enumerate(tokens) if token.kind is _Kind.TIME]
    i = 0
    last = _Pair(-1, -1)
    while i + 1 < len(times):
        first, second = times[i], times[i + 1]
        between = tokens[first + 1 : second]
        pair = _pair(tokens, first, second, between) if len(between) <= _REACH else None
        if pair and pair.first > pair.second and i and last.second == times[i - 1] and not last.lasts:
            pair = None  # the length of the segment before it: start 4, end 9, duration 5; start 20, …
        chained = pair and i + 2 < len(times) and not pair.certain and _only_joins(tokens[second + 1 : times[i + 2]])
        if pair and not (chained and (i + 3 >= len(times) or not _only_joins(tokens[times[i + 2] + 1 : times[i + 3]]))):
            yield pair
            last = pair
            i += 2
        else:
            i += 1 + bool(chained)


def _pair(tokens: Sequence[_Token], first: int, second: int, between: Sequence[_Token]) -> _Pair | None:
    kinds = [token.kind for token in between]
    before = [token.kind for token in tokens[max(0, first - 8) : first]]
    if _Kind.JUNK in kinds:
        return None
    if kinds == [_Kind.COMMA] and before[-1:] == [_Kind.OPEN] and _kind(tokens, second + 1) is _Kind.CLOSE:
        return _Pair(first, second, certain=True)
    started = _Kind.START in before
    if _is_length(between) and kinds.count(_Kind.WORD) <= started:  # starts at 4 s and has a duration of 5 s
        counted = not tokens[second].unit and _kind(tokens, second + 1) is _Kind.WORD  # for 3 people
        return _Pair(first, second, certain=started and not counted, lasts=True)
    if _Kind.START in kinds and _Kind.WORD not in kinds and _is_length(tokens[max(0, first - 8) : first]):
        return _Pair(second, first, certain=True, lasts=True)
    if started and _Kind.END in kinds and _Kind.START not in kinds:
        return _Pair(first, second, certain=True)
    if _only_joins(between):
        return _Pair(first, second)
    return None


def _kind(tokens: Sequence[_Token], place: int) -> _Kind | None:
    return tokens[place].kind if 0 <= place < len(tokens) else None


def _only_joins(between: Sequence[_Token]) -> bool:
    kinds = {token.kind for token in between}
    return _Kind.JOINT in kinds and kinds <= _LIGHT | {_Kind.JOINT} and not _is_length(between)


def _is_length(before: Sequence[_Token]) -> bool:
    """Whether a time after these tokens is the length of an event: `lasts about`, `duration:`. The length of the whole
    video does not count: `the video lasts`, `duration of the video`."""
    for place in range(len(before) - 1, -1, -1):
        if before[place].kind is _Kind.LENGTH:
            return place == 0 or before[place - 1].text not in _WHOLE
        if before[place].kind not in (_Kind.GAP, _Kind.FILLER, _Kind.OPEN) or before[place].text in _WHOLE:
            return False
    return False


def _words_before(tokens: Sequence[_Token]) -> list[tuple[int, int]]:
    """For each token, how many words of its own the text has before the token's sentence, and up to the end of it.

    A sentence ends at a full stop or a line's end. A pair whose first time has as many before its sentence as the
    second has up to the end of its own stands in sentences without words of their own."""
    counts: list[tuple[int, int]] = []
    words = begin = start = 0
    for place, token in enumerate(tokens):
        words += token.kind is _Kind.WORD
        if token.kind is _Kind.BREAK or place + 1 == len(tokens):
            counts += [(start, words)] * (place + 1 - begin)
            begin, start = place + 1, words
    return counts


_LASTING = {"for", "lasts", "within", "every", "frame", "frames", "lasting", "last"}


def _is_time(tokens: Sequence[_Token], pair: _Pair) -> bool:
    """Whether a pair in prose is one of times: it has a unit or decimals, or no noun follows (`2 to 3 people`)."""
    a, b = tokens[pair.first], tokens[pair.second]
    if pair.first and tokens[pair.first - 1].text in _LASTING:
        return False
    timed = bool(a.unit or b.unit or (a.exact and b.exact))
    if timed or pair.lasts:
        return timed
    if _is_year(a) and _is_year(b) and tokens[max(0, pair.first - 1)].text not in ("from", "between"):
        return False
    joint = next(t.text for t in tokens[pair.first + 1 : pair.second] if t.kind is _Kind.JOINT)
    if joint == "and" and not any(t.text == "between" for t in tokens[max(0, pair.first - 3) : pair.first]):
        return False
    rest = tokens[pair.second + 1 : pair.second + 1 + _REACH]
    after = next((t for t in rest if t.kind not in (_Kind.GAP, _Kind.CLOSE)), None)
    return a.value <= b.value and (after is None or (after.kind is not _Kind.WORD and after.text != "of"))


def _is_year(time: _Token) -> bool:
    return 1900 <= time.value < 2100


def _seconds(tokens: Sequence[_Token], pair: _Pair) -> tuple[float, float]:
    a, b = tokens[pair.first], tokens[pair.second]
    if pair.lasts:
        return a.value, a.value + b.value
    shared = b.unit if b.unit and not a.unit and ":" not in a.text else 1.0  # 1 to 2 minutes
    return a.value * shared, b.value


def _is_possible(tokens: Sequence[_Token], pair: _Pair) -> bool:
    start, end = _seconds(tokens, pair)
    return 0 <= start <= end


def _span(tokens: Sequence[_Token], pair: _Pair) -> Span:
    return Span(*_seconds(tokens, pair))
