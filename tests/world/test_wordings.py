"""Every wording says the same, is read back exactly, and tells nothing about relevance."""

from dataclasses import replace

import numpy as np
import pytest

from coursekit.base.tiny import tiny_tokenizer
from rarft.world import failing_slots, parse, spans_of, wordings
from rarft.world.dataset import draw_clip
from rarft.world.refusals import claims, refusal
from rarft.world.truth import explanation_is_true
from rarft.world.wordings import PLAIN, Form, draw_form


def every_form():
    """Each wording of each slot, one at a time, and each clause in front."""
    counts = {"action": 3, "place": 2, "size": 2, "parts": 2, "scene": 2, "transition": 3, "order": 2, "front": 3}
    return [Form(**{name: number}) for name, count in counts.items() for number in range(count)]


def test_every_wording_is_read_back_with_its_form():
    rng = np.random.default_rng(0)
    for index in range(300):
        story, query, edits = draw_clip(4, "test", index)
        for slots in (query, *(edit.query for edit in edits.values())):
            for form in (*every_form(), draw_form(rng), draw_form(rng, unseen=True)):
                worded = replace(slots, form=form)
                read = parse(f"  {worded.sentence().upper()} . ")
                assert read == slots == worded.plain, worded.sentence()
                assert read.sentence() == worded.sentence()
                assert spans_of(story, read) == spans_of(story, slots)
                assert failing_slots(story, read) == failing_slots(story, slots)


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("the red ring gets bigger", "the red ring grows"),
        ("the red ring becomes larger", None),
        ("the red ring to the left of the other moves to and fro", "the red ring left of the other shakes"),
        ("with snow behind it the red ring that has two dots blinks", "the red ring with two dots blinks on the snow"),
        ("the red ring slides up and then it turns on and off", None),
        ("the red ring goes up and then it turns on and off", "the red ring moves up before it blinks"),
        ("after it shakes the red ring grows", "the red ring grows after it shakes"),
        ("the red ring grows when it no longer shakes", "the red ring grows after it shakes"),
        ("while the sand turns to snow the red ring grows", "the red ring grows as the sand turns to snow"),
        ("on the snow the red ring grows on the snow", None),
        ("the red ring over the other grows", "the red ring above the other grows"),
        ("the red ring rises", None),
    ],
)
def test_wordings_mean_what_a_reader_takes_them_to_mean(sentence, plain):
    read = parse(sentence)
    assert (read.plain.sentence() if read else None) == plain


def test_training_never_shows_the_third_wordings_and_knows_all_their_words():
    seen = {word for index in range(2000) for q in asked("train", index) for word in q.sentence().split()}
    assert not any(query.unseen for index in range(500) for query in asked("train", index))
    held_out = [query for index in range(500) for query in asked("test", index) if query.unseen]
    assert 300 < len(held_out) < 500
    assert {word for query in held_out for word in query.sentence().split()} <= seen
    tokenizer = tiny_tokenizer()
    for query in held_out:
        assert tokenizer.unk_token_id not in tokenizer(query.sentence())["input_ids"], query.sentence()


def asked(split, index):
    _, query, edits = draw_clip(0, split, index)
    return [query, *(edit.query for edit in edits.values())]


def test_an_edited_query_keeps_the_wording():
    for index in range(100):
        relevant, *edited = asked("test", index)
        assert all(query.form == relevant.form for query in edited)


def test_refusals_are_judged_by_what_they_mean():
    for index in range(300):
        story, query, edits = draw_clip(4, "test", index)
        for edit in edits.values():
            assert explanation_is_true(story, edit.query, edit.answer) == (True, True)
            slots, true, false = zip(*claims(edit.answer), strict=True)
            truth = replace(edit.query, form=PLAIN)
            plain = "no such segment : " + " and ".join(f"{t} not {f}" for t, f in zip(true, false, strict=True))
            assert explanation_is_true(story, truth, plain) == (True, True)
            backwards = "no such segment : " + " and ".join(f"{f} not {t}" for t, f in zip(true, false, strict=True))
            assert explanation_is_true(story, truth, backwards)[0] is False
    assert claims("no such segment : turns on and off not moves to and fro and tinier not larger") == [
        ("action", "blinks", "shakes"),
        ("size", "smaller", "bigger"),
    ]


def test_a_refusal_uses_the_words_of_the_query():
    said = replace(parse("the red ring blinks"), form=Form(action=2))
    assert refusal(said, replace(said, action="grows"), ["action"]) == (
        "no such segment : gets bigger not turns on and off"
    )


def test_no_wording_is_that_of_another_value():
    for table in (wordings.ACTIONS, wordings.PLACES, wordings.SIZES):
        phrases = [phrase for phrases in table.values() for phrase in phrases]
        assert len(set(phrases)) == len(phrases)
