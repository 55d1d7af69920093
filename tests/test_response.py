import gc
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarft.response import format_completion, parse_response, text_of
from rarft.segments import read_answer

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
    assert len(ROWS) >= 200
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
        assert precision >= 0.98 and recall >= 0.98
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


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text):
    parse_response(text)
    parse_response(f"<answer>{text}</answer>")


@pytest.mark.parametrize(
    "piece", ["<answer>", "1", "1 to ", "1 to 2 b ", "to ", " ", "</think><answer>", "1:", "1.", ":", "a", "no "]
)
def test_hostile_text_takes_linear_time(piece):
    def seconds(size):
        text = piece * (size // len(piece))
        begin = time.process_time()
        parse_response(text)
        read_answer(text)
        return time.process_time() - begin

    gc.collect()
    gc.disable()  # collections walk all that other tests left behind
    try:
        seconds(25_000)  # above LONG: shorter texts are read once only
        small = min(seconds(25_000) for _ in range(3))
        assert seconds(500_000) < 40 * max(small, 1e-3)  # 20 times the text: far from 400 times the time
    finally:
        gc.enable()
