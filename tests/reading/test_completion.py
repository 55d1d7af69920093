import gc
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarft.reading import format_completion, parse_response, read_answer, text_of

ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("answers.tsv").read_text(encoding="utf-8").split("\n")
    if line and not line.startswith("#")
]


def read(row):
    """(verdict, segments) as the table writes them, of the answer of a row."""
    verdict, spans = read_answer(row[3].replace("\\n", "\n"))
    return verdict.value, ",".join(f"{span.start:g}-{span.end:g}" for span in spans)


def test_the_reader_against_answers_written_by_hand():
    """answers.tsv: styles of published models, Markdown, JSON, scripts, and refusals of every released kind."""
    assert len(ROWS) >= 400
    wrong = [(row, found) for row in ROWS if (found := read(row)) != (row[1], row[2])]
    for row, found in wrong:
        print(f"\n{row[3]!r}: {row[1]} {row[2]}, read as {' '.join(found)}", end="")
    counts = Counter((row[1], read(row)[0]) for row in ROWS)
    exact = sum(read(row) == (row[1], row[2]) for row in ROWS if row[1] == "grounds")
    for name in ("grounds", "refuses"):
        hits = exact if name == "grounds" else counts[name, name]
        precision = hits / sum(n for (_, said), n in counts.items() if said == name)
        recall = hits / sum(n for (true, _), n in counts.items() if true == name)
        print(f"\n{name}: precision {precision:.3f}, recall {recall:.3f}", end="")
        assert precision >= 0.99 and recall >= 0.99
    assert counts["unreadable", "grounds"] == counts["unreadable", "refuses"] == 0


@pytest.mark.parametrize(
    "text, strict, official",
    [
        ("", "unreadable", "grounds"),
        ("<think>cut off at the token limit", "unreadable", "grounds"),
        ("4.2 to 9.6", "unreadable", "grounds"),
        ("<ANSWER>4.2 to 9.6</ANSWER>", "unreadable", "grounds"),
        ("<ANSWER>no dog is in the video</ANSWER>", "unreadable", "refuses"),
        ("no dog is in the video", "unreadable", "refuses"),
        ("<answer>a red dog runs along</answer>", "refuses", "grounds"),
        ("<answer>no dog is in the video</answer>", "refuses", "refuses"),
        ("<answer>9.6 to 4.2</answer>", "unreadable", "grounds"),
        ("<answer>The man opens the door from 4.2 to 9.6 seconds.</answer>", "grounds", "grounds"),
    ],
)
def test_two_readings(text, strict, official):
    for ending in ("", "<|im_end|>", " \n<|im_end|>\n", "<|endoftext|>"):
        assert parse_response(text + ending).verdict == strict
        assert parse_response(text + ending, "official").verdict == official
    with pytest.raises(ValueError, match="strict, official"):
        parse_response(text, "lenient")


def test_well_formed():
    good = format_completion("a <timestep>0 to 4</timestep> b", "0 to 4", "NIL")
    found = parse_response(good)
    assert found.well_formed and found.nil and not found.refused and found.spans == ((0.0, 4.0),)
    for bad in (
        "",
        good + "!",
        good.replace("</think>", ""),
        good + good,
        good.replace("NIL", ""),
        good.replace("0 to 4 ", " "),
    ):
        assert not parse_response(bad).well_formed, bad
    assert parse_response(good.replace("correction>", "correct>")).well_formed
    assert not parse_response("<think>a</think><answer>b c d e</answer><correction>vanilla</correction>").nil


def test_message_lists_and_strings_read_alike():
    assert text_of("a") == text_of([{"role": "assistant", "content": "a"}]) == "a"
    assert text_of([{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]) == "a"
    assert text_of([]) == ""


@given(
    st.floats(0, 9e3),
    st.floats(0, 9e3),
    st.sampled_from([" to ", " - ", " and "]),
    st.sampled_from(["", "s", " seconds"]),
)
def test_what_is_written_is_read(a, b, joint, unit):
    start, end = sorted((round(a, 2), round(b, 2)))
    _, (span,) = read_answer(f"{start:.2f}{unit}{joint}{end:.2f}{unit}")
    assert span == pytest.approx((start, end))


def clock(seconds):
    return f"{seconds // 60:02d}:{seconds % 60:02d}"


def ordinal(number):
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10 * (number // 10 % 10 != 1), 'th') }"


LABELS = ("a man without a hat", "no entry sign", 'he does not say "no", it\'s 2 to 3 people', "nobody from 1 to 2 s")
STYLES = {
    "nested lists": lambda spans, label: json.dumps(spans),
    "quoted numbers": lambda spans, label: json.dumps([[str(a), f"{b}.0"] for a, b in spans]),
    "clock times": lambda spans, label: json.dumps(
        {"query": label, "relevant_windows": [[clock(a), clock(b)] for a, b in spans]}
    ),
    "objects": lambda spans, label: json.dumps([{"start": a, "end": b, "label": label} for a, b in spans]),
    "times with units": lambda spans, label: json.dumps(
        {"segments": [{"event": label, "start_time": f"{a} seconds", "end_time": f"{b}.0s"} for a, b in spans]}
    ),
    "end first": lambda spans, label: json.dumps([{"offset": b, "onset": a, "why": label} for a, b in spans]),
    "from, to": lambda spans, label: json.dumps([{"from": clock(a), "to": clock(b), "x": label} for a, b in spans]),
    "segments as text": lambda spans, label: json.dumps({"time": [f"{a} - {b} s" for a, b in spans], "why": label}),
    "duration": lambda spans, label: json.dumps([{"note": label, "start": a, "duration": b - a} for a, b in spans]),
    "milliseconds": lambda spans, label: json.dumps([{"startMs": 1000 * a, "endMs": 1000 * b} for a, b in spans]),
    "columns": lambda spans, label: json.dumps(
        {"label": label, "start": [a for a, _ in spans], "end": [b for _, b in spans]}
    ),
    "Python": lambda spans, label: repr({"spans": spans, "label": label, "found": True, "note": None}),
    "JSON lines": lambda spans, label: "\n".join(json.dumps({"t_start": a, "t_end": b, "x": label}) for a, b in spans),
    "Markdown": lambda spans, label: (
        "Here it is:\n```json\n"
        + json.dumps([{"start": a, "end": b, "label": label} for a, b in spans], indent=2)
        + "\n```\nI hope that helps!"
    ),
    "cut off": lambda spans, label: json.dumps([{"start": a, "end": b, "x": label} for a, b in spans])[:-1] + ', {"st',
    "ordinals": lambda spans, label: "; ".join(
        f"from the {ordinal(a)} second to the {ordinal(b)} second" for a, b in spans
    ),
    "between ordinals": lambda spans, label: ". ".join(
        f"The man opens a door between the {ordinal(a)} and the {ordinal(b)} second" for a, b in spans
    ),
    "lasts": lambda spans, label: "; ".join(f"it starts at {a} s and lasts {b - a} s" for a, b in spans),
    "for": lambda spans, label: ". ".join(f"A man walks, beginning at {a} for {b - a} seconds" for a, b in spans),
    "start, duration": lambda spans, label: "\n".join(f"start: {clock(a)}, duration: {b - a} s" for a, b in spans),
    "clock lines": lambda spans, label: "\n".join(f"- **{clock(a)} - {clock(b)}**" for a, b in spans),
    "minutes": lambda spans, label: "\n".join(f"{a // 60}m{a % 60}s to {b // 60}m{b % 60}s" for a, b in spans),
    "written twice": lambda spans, label: "; ".join(f"{clock(a)} ({a}.0 s) - {clock(b)} ({b}.0 s)" for a, b in spans),
    "a quoted query": lambda spans, label: "\n".join(
        f'The event "a man without a hat" happens from {a} to {b} s.' for a, b in spans
    ),
}
REFUSALS = {
    "from, to": lambda a, b: f"from {a} to {b} s nobody opens a door",
    "clock": lambda a, b: f"From {clock(a)} to {clock(b)} the man sits; he does not stand up.",
    "ordinals": lambda a, b: f"From the {ordinal(a)} second to the {ordinal(b)} second nobody moves.",
    "duration": lambda a, b: f"At {a} s a dog barks for {b} s, no cat is seen.",
    "starts, lasts": lambda a, b: f"A dog starts to bark at {a} s and lasts {b} s, not a cat.",
    "brackets": lambda a, b: f"No segment of [{a}, {b}] matches.",
    "people": lambda a, b: f"there are {a} to {b} people",
    "places": lambda a, b: f"the {ordinal(a)} and the {ordinal(b)} man sit down",
    "the whole video": lambda a, b: f"In the whole video ({clock(a)} - {clock(b)}) there is no dog.",
    "null": lambda a, b: json.dumps({"answer": "no such event", "time": None, "video_duration": b}),
    "no segments": lambda a, b: json.dumps({"reason": f"from {a} to {b} s he sits", "segments": []}),
    "a false claim": lambda a, b: json.dumps({"relevant": False, "start": a, "end": b}),
    "only a reason": lambda a, b: json.dumps({"reason": f"From {a} to {b} s he never opens a door."}),
    "the closest": lambda a, b: json.dumps({"answer": "not in the video", "closest_segment": [a, b]}),
    "prose, then JSON": lambda a, b: f"The query is unrelated, the closest is {json.dumps({'start': a, 'end': b})}",
}
TIMES = st.integers(0, 3000)
SPANS = st.lists(st.tuples(TIMES, st.integers(1, 500)), min_size=1, max_size=3)


@pytest.mark.parametrize("style", STYLES)
@given(SPANS, st.sampled_from(LABELS))
def test_segments_are_read_back_in_each_style(style, starts, label):
    spans = [(start, start + length) for start, length in starts]
    assert read_answer(STYLES[style](spans, label)) == ("grounds", tuple(dict.fromkeys(spans)))


@pytest.mark.parametrize("style", REFUSALS)
@given(TIMES, TIMES)
def test_refusals_that_cite_times_stay_refusals(style, a, b):
    assert read_answer(REFUSALS[style](a, b)) == ("refuses", ())


@given(st.text(max_size=300) | st.text("[]{}()\"'“”:,.\\-–` \n019tonulestar", max_size=60))
def test_any_text_is_read_without_an_error(text):
    parse_response(text)
    parse_response(f"<answer>{text}</answer>")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"start":' * 50_000 + "1" + "}" * 50_000,
        '{"start": %s, "end": 5}' % ("9" * 5_000),
        '{"start": %s, "end": 5}' % ("9" * 400),
        '{"start": 1e400, "end": -Infinity}',
        '{"start": NaN, "end": NaN}',
        '{"start": 4, "end": "\\',
        '[{"start": 4, "end":' + "]" * 9,
    ],
)
def test_hostile_json_is_unreadable(text):
    assert read_answer(text) == ("unreadable", ())


PIECES = ["<answer>", "1", "1 to ", "1 to 2 b ", "to ", " ", "</think><answer>", "1:", "1.", ":", "a", "no "]
JSON_PIECES = ["[", '{"a":', '"1', "[[1,", "[1]", '{"a":[', "'[", '\\"', '{"1-2": "3-4"}', '{"start": 1, "end": 2}']
WORD_PIECES = ["lasts 1 ", "1st to ", "start 1 ", 'sign "', "frame 1 ", "1 (1) "]


@pytest.mark.parametrize("piece", PIECES + JSON_PIECES + WORD_PIECES)
def test_hostile_text_takes_linear_time(piece):
    def seconds(size):
        text = "[" * (piece in JSON_PIECES) + piece * (size // len(piece)) + "]" * (piece in JSON_PIECES)
        begin = time.process_time()
        parse_response(text)
        read_answer(text)
        return time.process_time() - begin

    gc.collect()
    gc.disable()  # collections walk all that other tests left behind
    try:
        seconds(25_000)  # above LONG: shorter texts are read once only
        small = min(seconds(25_000) for _ in range(3))
        assert seconds(250_000) < 30 * max(small, 1e-3)  # 10 times the text: far from 100 times the time
    finally:
        gc.enable()
