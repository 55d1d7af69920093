"""An answer → what it claims: a segment of the video, a refusal, or nothing that can be read.

One reader for rewards and evaluation. It reads the styles in which video language models answer: `4.2 to 9.6`,
`[(4.2, 9.6)]`, `00:04 - 00:09`, `{"start": 4.2, "end": 9.6}`, `from 1 min 5 s to 1 min 9 s`, `starts at the 4th second
and lasts 5 s`, several segments, Markdown, JSON (`rarft.reading.json_answers`), dashes and digits of any script, and
sentences such as `The man opens the door from 4.2 to 9.6 seconds.` A refusal that cites times is still a refusal. The
running time is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata

from rarft.reading.json_answers import without_json
from rarft.reading.segments import denies, segments_of, tokens_of
from rarft.schema import Span, Verdict

_FRAMES = re.compile(  # frames 120-288, from frame 120 to frame 288
    r"\bframes?(?: number| index)?\W{0,4}\d{1,9}(?:\W|to|and|until|through|end|frame|number|index){1,24}\d",
    re.IGNORECASE,
)
_QUOTED_NAME = re.compile(  # the event "a man without a hat", the sign "no entry"
    r"\b(?:event|query|action|moment|scene|segment|sentence|sign|text|label|caption|says|saying|reads|reading)[\s:]{1,2}"
    r"(?:\"[^\"\d\n]{1,200}\"|“[^”\d\n]{1,200}”|'[^'\d\n]{1,200}'(?!\w))",
    re.IGNORECASE,
)


def read_answer(answer: str) -> tuple[Verdict, tuple[Span, ...]]:
    """What an answer claims, and its segments in seconds, in the order in which they are written.

    - GROUNDS: it gives at least one valid segment, `0 <= start <= end`. A sentence that consists of a segment and
      filler words such as "the event happens from" always counts, and so does JSON with a segment, whatever its labels
      say. In other prose a segment counts if its numbers are times (`from 4.2 to 9.6 seconds`, not `2 to 3 people`)
      and the answer has no denial outside of a quoted name (`the sign "no entry"`). A repeated segment counts once.
    - REFUSES: it has words other than filler and claims no segment ("from 3 to 12 s nobody opens a door"), or it is
      JSON with null or an empty list in place of segments. Two kinds of answers are wrongly read as refusals: a denial
      about somebody in the video ("the person without a hat enters from 3 to 7 s"), and numbers in words ("from four
      to nine seconds").
    - UNREADABLE: it is empty; it gives a time but no valid segment (`9.6 to 4.2`, `5`); it gives frame numbers, whose
      times depend on the video; or it has neither a time nor a word beyond "the event is in the video".
    """
    text = without_json(unicodedata.normalize("NFKC", answer))
    if not re.search(r"\d", text) and denies(text):
        return Verdict.REFUSES, ()  # the fast path for most refusals
    tokens = tokens_of(text)
    segments = segments_of(tokens)
    denied = denies(_QUOTED_NAME.sub(" ", text))
    in_frames = _FRAMES.search(text) and not any(token.unit or token.exact for token in tokens)
    claimed = [segment for segment in segments if segment.alone]
    if not claimed and not denied:
        claimed = [segment for segment in segments if segment.timed]
    if claimed and not in_frames:
        spans = dict.fromkeys(Span(s.start, s.end) for s in claimed if 0 <= s.start <= s.end)
        return (Verdict.GROUNDS, tuple(spans)) if spans else (Verdict.UNREADABLE, ())
    wordless = not any(token.kind == "word" for token in tokens)
    return (Verdict.UNREADABLE if wordless or (in_frames and not denied) else Verdict.REFUSES), ()
