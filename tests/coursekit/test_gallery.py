"""Cards of failures and the moving picture: each failure has its kind, and the picture shows every second frame."""

import dataclasses

import pytest
from PIL import Image

from coursekit import sample_world
from coursekit.gallery import answer_in_words, before_and_after, card, failure_of, failures
from coursekit.plots import bars, timelines
from rarft.evaluation import Answer, Prediction
from rarft.evaluation.figures import data_uri
from rarft.video import read_video

CLIP = sample_world()[0]
RELEVANT, IRRELEVANT = CLIP.group


def completion(answer, correction="NIL"):
    return f"<think> a </think> <answer> {answer} </answer> <correction> {correction} </correction>"


REFUSAL = completion(IRRELEVANT.answer, RELEVANT.query)
TRUE = {"explanation_true": 1.0, "correction_true": 1.0}


@pytest.mark.parametrize(
    ("sample", "text", "judged", "kind"),
    [
        (RELEVANT, completion(str(RELEVANT.spans[0])), {}, None),
        (RELEVANT, completion("0 to 0.1"), {}, "a wrong segment"),
        (RELEVANT, REFUSAL, {}, "refuses what is there"),
        (RELEVANT, "4 to 9", {}, "an answer out of form"),
        (IRRELEVANT, completion("4 to 9"), {}, "grounds what is not there"),
        (IRRELEVANT, REFUSAL, TRUE, None),
        (IRRELEVANT, REFUSAL, {**TRUE, "explanation_true": 0.0}, "a false reason"),
        (IRRELEVANT, REFUSAL, {**TRUE, "correction_true": 0.0}, "a correction that does not happen"),
    ],
)
def test_each_failure_has_its_kind(sample, text, judged, kind):
    prediction = Prediction(sample, Answer(text), judged=judged)
    assert failure_of(prediction) == kind
    assert failures([prediction] * 3, each=2) == ([(kind, prediction)] * 2 if kind else [])


def test_a_card_says_what_was_asked_answered_and_right():
    wrong = Prediction(IRRELEVANT, Answer(completion("4 to 9")))
    figure = card(read_video(CLIP.path), wrong, "grounds what is not there")
    words = " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    assert "4 to 9 s" in words and "no segment" in words
    for word in (*IRRELEVANT.query.split(), *IRRELEVANT.answer.split()):
        assert word in words


def test_the_moving_picture_has_every_second_frame_and_replaces_its_file(tmp_path):
    clip = read_video(CLIP.path)
    clip = dataclasses.replace(clip, frames=clip.frames[:6], seconds=clip.seconds[:6])
    path = tmp_path / "new" / "a.gif"
    for answers in ({"before": completion("4 to 9"), "after": REFUSAL}, {"before": REFUSAL}):
        assert before_and_after(clip, IRRELEVANT.query, answers, path) == path
        with Image.open(path) as picture:
            assert picture.n_frames == 3
    assert [file.name for file in path.parent.iterdir()] == ["a.gif"]


def test_an_answer_in_words():
    assert answer_in_words(completion("4 to 9")) == "4 to 9 s"
    assert answer_in_words(completion("red not blue", "the red ring grows")) == "red not blue → the red ring grows"
    assert answer_in_words("4 to") == "nothing that can be read"


def test_dollar_signs_are_text_in_every_picture(tmp_path):
    """matplotlib would take what stands between two for a formula, and end with an error where it is none."""
    query, said = "costs $5 to $\\frac{$", completion("no $_$ such $^ thing", "$$")
    clip = read_video(CLIP.path)
    assert before_and_after(clip, query, {"$a_$": said, "b": said}, tmp_path / "a.gif").exists()
    shown = card(clip, Prediction(dataclasses.replace(IRRELEVANT, query=query), Answer(said)), "a false reason $_$")
    for figure in (
        shown,
        timelines({query: [(RELEVANT.spans[0], "$_$")]}, 9.0, query),
        bars({query: {query: 0.5}}, query),
    ):
        assert data_uri(figure).startswith("data:image/png")
