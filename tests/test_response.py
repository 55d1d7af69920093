import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarft.response import find_spans, format_completion, parse_response, text_of


@pytest.mark.parametrize(
    "answer, spans",
    [
        ("5 to 15", [(5, 15)]),
        ("5.0s to 15.0s", [(5, 15)]),
        ("5 - 15", [(5, 15)]),
        ("5.0–15.0", [(5, 15)]),
        ("00:05 to 00:15", [(5, 15)]),
        ("1:02:03 to 1:02:10.5", [(3723, 3730.5)]),
        ("5 and 15", [(5, 15)]),
        ("between 3 and 4 seconds", [(3, 4)]),
        ("The event happens from 5 to 15 seconds.", [(5, 15)]),
        ("5 to 15 and 20 to 25", [(5, 15), (20, 25)]),
        ("5 to 15, 20-25", [(5, 15), (20, 25)]),
        ("-5 to 15", []),
        ("15 to 5", []),
        ("5", []),
        ("5 to", []),
        ("", []),
        ("1.2.3 to 4", []),
        ("no ring from 3.0 to 12.5", []),
        ("there are 2 to 3 people", []),
        ("no such segment : two not three", []),
    ],
)
def test_spans(answer, spans):
    assert [tuple(span) for span in find_spans(answer)] == spans


def test_well_formed():
    good = format_completion("a <timestep>0 to 4</timestep> b", "0 to 4", "NIL")
    found = parse_response(good)
    assert found.well_formed and found.nil and not found.refused and found.spans == ((0.0, 4.0),)
    for bad in ("", good + "!", good.replace("</think>", ""), good + good, good.replace("NIL", ""), good.replace("0 to 4 ", " ")):
        assert not parse_response(bad).well_formed, bad
    assert parse_response(good.replace("correction>", "correct>")).well_formed
    assert not parse_response("<think>a</think><answer>b c d e</answer><correction>vanilla</correction>").nil


def test_message_lists_and_strings_read_alike():
    assert text_of("a") == text_of([{"role": "assistant", "content": "a"}]) == "a"
    assert text_of([{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]) == "a"
    assert text_of([]) == ""


@given(st.floats(0, 9e3), st.floats(0, 9e3), st.sampled_from([" to ", " - ", " and "]), st.sampled_from(["", "s", " seconds"]))
def test_what_is_written_is_read(a, b, joint, unit):
    start, end = sorted((round(a, 2), round(b, 2)))
    (span,) = find_spans(f"{start:.2f}{unit}{joint}{end:.2f}{unit}")
    assert span == pytest.approx((start, end))


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text):
    parse_response(text)
    parse_response(f"<answer>{text}</answer>")


@pytest.mark.parametrize("piece", ["<answer>", "1", "1 to ", "</think><answer>", "1:", "1.", ":", "a"])
def test_hostile_text_takes_linear_time(piece):
    def seconds(size):
        text = piece * (size // len(piece))
        begin = time.perf_counter()
        parse_response(text)
        find_spans(text)
        return time.perf_counter() - begin

    seconds(10_000)
    assert seconds(400_000) < 40 * max(seconds(20_000), 2e-3)  # 20 times the text: far from 400 times the time
