"""The text of an answer → segments: pairs of start and end times, in any of the styles in which answers write them.

A text is split into tokens; two times with the right tokens between them make a segment. The running time is linear in
the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

# -- denials -----------------------------------------------------------------------------------------------------------

_DENIAL = re.compile(
    r"\b(?:no|not|none|never|nobody|nothing|nowhere|neither|nor|without|cannot|instead|rather|unlike|whereas|but|"
    r"irrelevant|unrelated|mismatch\w{0,5}|mismatches|inconsisten\w{1,5}|absent|absence|missing|lacks?|fails?|unable|"
    r"inappropriate|differs?|different|contradict\w{0,5}|wrong|incorrect|inaccurate|false|refuse|unanswerable|n/a|"
    r"null|nil|sorry|nunca|ningún|ninguna|nadie|sin|não|nenhuma?|sem|pas|aucune?|jamais|kein\w{0,2}|nicht|nie|niemand|"
    r"ohne|non|nessun\w?|не|нет|никто|ничего|без|لا|لم|ليس|لن|नहीं|không)\b"
    r"|n['’]t\b|[没沒无無不未非]|ない|なかっ|なし|ません|없|않|아니|ไม่",
    re.IGNORECASE,
)


def denies(text: str) -> bool:
    """Whether a text has a word of denial: "not", "nobody", "instead", "unrelated", "没有", "ない" and similar."""
    return _DENIAL.search(text) is not None


# -- tokens ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A word, a mark or a time of a text.

    kind: "time" (a number or a clock time, with its unit) or a key of `_KINDS`.
    text: the token as written, in lower case; "minus" for a minus sign.
    value: of a time, in seconds; negative with a minus sign.
    unit: of a time: the seconds in its unit; 0 without a unit.
    exact: of a time: whether it is written with a decimal point or as a clock time.
    """

    kind: str
    text: str
    value: float = 0.0
    unit: float = 0.0
    exact: bool = False


def _word(names: str) -> str:
    """A pattern of these words, with no letter before or after."""
    return rf"(?<![^\W\d_])(?:{names})(?![^\W\d_])"


_UNITS = {  # name → seconds
    r"(?:ms|msecs?|milliseconds?)(?![^\W\d_])": 0.001,
    r"(?:s|secs?|seconds?|sek|sekunden?|segs?|segundos?|secondes?|secondi|сек|секунды?|секунд|секунду)(?![^\W\d_])": 1,
    r"(?:m|mins?|minutes?|minuten?|minutos?|мин|минуты?|минут)(?![^\W\d_])": 60.0,
    r"(?:h|hrs?|hours?|stunden?|horas?|heures?)(?![^\W\d_])": 3600.0,
    r"(?:秒钟|秒鐘|秒間|秒|초)": 1.0,
    r"(?:分钟|分鐘|分間|分|分)": 60.0,
}
_UNIT = "|".join(_UNITS)
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
_TIME_SUFFIX = r"(?:_?time|_?sec(?:ond)?s?)?"
_KINDS = {  # in the order in which they are tried
    "clock": r"(?<![\d.:])\d{1,3}+(?::\d{1,2}){1,2}(?:[.,]\d{1,6})?(?!\d|:\d)",
    "count": r"(?<![\d.:])\d{1,9}+(?:\.\d{1,9}+)?+(?:%|(?:st|nd|rd|th)(?![^\W\d_]))",  # read as a word
    "number": r"(?<![\d.:])(?:\d{1,9}+(?:\.\d{1,9}+)?+|\.\d{1,9}+)(?!\d|:\d)",
    "minus": r"-(?=\.?\d)",  # a dash directly before a number; also read as a joint
    "joint": r"<?[-=]{1,3}>|-{1,3}|~|\.{2,3}(?=\s{0,3}\d)|[到至]|から|부터|"
    + _word(r"to|and|until|till|through|thru|bis|hasta|até|до|إلى|à|et|und|y|al?(?=\s{0,3}\d)"),
    "start": _word("(?:start|begin|onset)(?:s|ning|ing|ed)?" + _TIME_SUFFIX) + "|began",
    "end": _word("(?:end|finish|stop|offset|conclude)(?:s|ing|es|ed|d)?" + _TIME_SUFFIX),
    "length": _word(r"for|duration|last(?:s|ed|ing)|length(?=\W{0,3}\d)"),
    "unit": _UNIT,  # without a number, read as a filler
    "filler": _word("|".join(_FILLER.split())),  # words without meaning for the verdict
    "comma": r"[,|、]",
    "open": r"[(\[{]",
    "close": r"[)\]}]",
    "break": r"[.!?;。\n]",  # of a sentence or line
    "word": r"[^\W\d_]{1,64}(?:['’][^\W\d_]{1,8})?",
    "junk": r"\d{1,64}",  # the rest of 1.2.3
    "gap": r".",  # quotes, colons and other marks
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{form})" for kind, form in _KINDS.items()), re.IGNORECASE | re.DOTALL)
_READ_AS = {"count": "word", "minus": "joint", "unit": "filler"}
_AFTER_NUMBER = re.compile(r"[\s\"'*`]{0,4}-?\s{0,2}(" + _UNIT + ")", re.IGNORECASE)
_MARKS = str.maketrans("‐‑‒–—―−﹘〜∼～→⟶⇒➔➜٫٬！？", "-" * 8 + "~" * 8 + ".,!?")
_REWRITES = {  # applied before a text is split into tokens
    r"</?[a-z_]{1,16}>": " ",
    r"(?<!\d)(\d{1,3})['′’](\d{1,2})(?:[\"″”]|'')": r"\1:\2",  # 1'12"
    # An enumeration: "1. 4.2 - 9.6", "Segment 2: 20 - 25"
    r"^[ \t]{0,8}\d{1,2}[.)][ \t]{1,4}(?=[\[({\"'*`]{0,3}(?:\d|start|from|between|segment))"
    r"|(?<![^\W\d_])(?:segment|event|window|clip|moment|interval|span|part|no\.)\s{0,2}#?\d{1,2}\s{0,2}[:)]": " ",
    # Decimal commas: 4,2 - 9,6
    r"(?<![\d.,])(\d{1,4}),(\d{1,2})(\s{0,3}(?:s\w{0,8})?\s{0,3}(?:to|bis|until|à|a|y|et|und|до|[-~]{1,2})\s{0,3})"
    r"(\d{1,4}),(\d{1,2})(?![\d,])": r"\1.\2\3\4.\5",
    # Ordinals: from the 4th second to the 9th second, between the 4th and the 9th second
    r"(?<![\d.:])(\d{1,5})(?:st|nd|rd|th)(?=(?:\s{0,3}(?:to|and|until|till|through|[-~])\s{0,3}(?:the\s{1,3})?"
    r"\d{1,5}(?:st|nd|rd|th))?[-\s]{1,3}(?:sec(?:ond)?s?|min(?:ute)?s?)(?![^\W\d_]))": r"\1",
}


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text. Every character except white space is part of a token."""
    text = text.translate(_MARKS)
    for pattern, replacement in _REWRITES.items():
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE | re.MULTILINE)
    tokens: list[Token] = []
    place = 0
    while match := _TOKEN.match(text, place):
        place = match.end()
        kind, word = str(match.lastgroup), match[0]
        if kind in ("clock", "number"):
            named = _AFTER_NUMBER.match(text, place)
            place = named.end() if named else place
            unit = next(
                (s for names, s in _UNITS.items() if named and re.fullmatch(names, named[1], re.IGNORECASE)), 0.0
            )
            parts = reversed(word.replace(",", ".").split(":"))
            value = sum(float(part) * 60**power for power, part in enumerate(parts))
            if kind == "number":
                value *= unit or 1.0
            _add_time(tokens, Token("time", word, value, unit, exact=kind == "clock" or "." in word))
        elif word == ")" and _is_repeated(tokens):
            tokens[-3:] = [max(tokens[-3], tokens[-1], key=lambda time: "." in time.text)]
        elif not word.isspace() or word == "\n":
            tokens.append(Token(_READ_AS.get(kind, kind), kind if kind == "minus" else word.lower()))
    return tokens


def _is_repeated(tokens: Sequence[Token]) -> bool:
    """Whether the last two times are the same time, written twice: `00:04 (4.2 s`."""
    kinds = [token.kind for token in tokens[-3:]]
    return kinds == ["time", "open", "time"] and abs(tokens[-1].value - tokens[-3].value) < 1


def _add_time(tokens: list[Token], time: Token) -> None:
    """Append a time, joined with a minus sign or with a larger unit (minutes before seconds) before it."""
    if tokens and tokens[-1].text == "minus" and not any(token.kind == "time" for token in tokens[-2:-1]):
        tokens[-1] = Token("time", time.text, -time.value, time.unit, time.exact)
        return
    # 1 min 5 s, 1 minute and 5 seconds, 4s200ms
    back = 2 if tokens and tokens[-1].text in ("and", ",") else 1
    before = tokens[-back] if len(tokens) >= back else None
    if before is not None and before.kind == "time" and before.unit > time.unit > 0:
        del tokens[-back:]
        time = Token("time", before.text, before.value + time.value, time.unit, exact=True)
    tokens.append(time)


# -- segments ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """The start and end of a segment, in seconds. `start` is not always before `end`.

    alone: whether the sentences of the times have no words other than filler.
    timed: whether the numbers are times, by their form, their unit, or because no noun follows (`2 to 3 people`).
    """

    start: float
    end: float
    alone: bool
    timed: bool


_REACH = 16  # the maximum number of tokens between the two times of a segment


class _Pair(NamedTuple):
    first: int  # index of the start's token
    second: int  # index of the token of the end, or of the length
    certain: bool = False  # a segment by its form, such as brackets or `start … end`
    lasts: bool = False  # `second` is the length of the segment


def segments_of(tokens: Sequence[Token]) -> list[Segment]:
    """The segments in a text, in the order in which they are written."""
    kinds = [token.kind for token in tokens]
    times = [place for place, kind in enumerate(kinds) if kind == "time"]
    pairs = list(_pairs(tokens, times))
    if not pairs and len(times) == 2 and not {"word", "junk", "length"} & set(kinds):
        pairs = [_Pair(times[0], times[1], certain=True)]
    sentences = list(accumulate(kind == "break" for kind in kinds))  # the sentence number of each token
    worded = {sentence for sentence, kind in zip(sentences, kinds, strict=True) if kind == "word"}
    segments = []
    for pair in pairs:
        a, b = tokens[pair.first], tokens[pair.second]
        shared = b.unit if b.unit and not a.unit and ":" not in a.text else 1.0  # 1 to 2 minutes
        start, end = (a.value, a.value + b.value) if pair.lasts else (a.value * shared, b.value)
        begin, last = sorted(sentences[place] for place in pair[:2])
        alone = worded.isdisjoint(range(begin, last + 1))
        segments.append(Segment(start, end, alone, pair.certain or _is_timed(tokens, pair)))
    return segments


def _pairs(tokens: Sequence[Token], times: Sequence[int]) -> Iterator[_Pair]:
    i = 0
    last = _Pair(-1, -1)
    while i + 1 < len(times):
        pair = _pair(tokens, times[i], times[i + 1])
        if pair and pair.first > pair.second and i and last.second == times[i - 1] and not last.lasts:
            pair = None  # the length of the segment before it: start 4, end 9, duration 5; start 20, …
        joined = [_only_joins(tokens[a + 1 : b]) for a, b in pairwise(times[i + 1 : i + 4])]
        # 4 - 9 - 12 gives no segment; 4 - 9 and 12 - 15 gives two.
        chained = pair and not pair.certain and joined[:1] == [True]
        if pair and (not chained or joined == [True, True]):
            yield pair
            last = pair
            i += 2
        else:
            i += 1 + bool(chained)


def _pair(tokens: Sequence[Token], first: int, second: int) -> _Pair | None:
    """The pair of two consecutive times; None if they do not belong together."""
    between, before = tokens[first + 1 : second], tokens[max(0, first - 8) : first]
    after = tokens[second + 1].kind if second + 1 < len(tokens) else ""
    kinds, started = [token.kind for token in between], any(token.kind == "start" for token in before)
    if len(between) > _REACH or "junk" in kinds:
        return None
    if kinds == ["comma"] and before and before[-1].kind == "open" and after == "close":
        return _Pair(first, second, certain=True)
    if _is_length(between) and kinds.count("word") <= started:  # starts at 4 s and has a duration of 5 s
        counted = not tokens[second].unit and after == "word"  # for 3 people
        return _Pair(first, second, certain=started and not counted, lasts=True)
    if "start" in kinds and "word" not in kinds and _is_length(before):
        return _Pair(second, first, certain=True, lasts=True)
    if started and "end" in kinds and "start" not in kinds:
        return _Pair(first, second, certain=True)
    return _Pair(first, second) if _only_joins(between) else None


def _only_joins(between: Sequence[Token]) -> bool:
    kinds = {token.kind for token in between}
    light = {"joint", "gap", "filler", "open", "close", "start", "end", "length"}
    return "joint" in kinds and kinds <= light and not _is_length(between)


def _is_length(before: Sequence[Token]) -> bool:
    """Whether a time after these tokens is the length of an event: `lasts about`, `duration:`. The length of the whole
    video does not count: `the video lasts`, `duration of the video`."""
    whole = ("video", "clip", "footage")
    for place, token in reversed(list(enumerate(before))):
        if token.kind == "length":
            return place == 0 or before[place - 1].text not in whole
        if token.kind not in ("gap", "filler", "open") or token.text in whole:
            return False
    return False


def _is_timed(tokens: Sequence[Token], pair: _Pair) -> bool:
    """Whether a pair in prose is a pair of times: it has a unit or decimals, or no noun follows (`2 to 3 people`)."""
    a, b = tokens[pair.first], tokens[pair.second]
    before = [token.text for token in tokens[max(0, pair.first - 3) : pair.first]]
    if before and before[-1] in ("for", "lasts", "within", "every", "frame", "frames", "lasting", "last"):
        return False
    timed = bool(a.unit or b.unit or (a.exact and b.exact))
    if timed or pair.lasts:
        return timed
    years = all(1900 <= time.value < 2100 for time in (a, b))
    if years and before[-1:] not in (["from"], ["between"]):
        return False
    joint = next(token.text for token in tokens[pair.first + 1 : pair.second] if token.kind == "joint")
    if joint == "and" and "between" not in before:
        return False
    rest = tokens[pair.second + 1 : pair.second + 1 + _REACH]
    after = next((token for token in rest if token.kind not in ("gap", "close")), None)
    return a.value <= b.value and (after is None or (after.kind != "word" and after.text != "of"))
