"""What the base is taught: ten thousand lessons hold no hard-irrelevant query under the grounding prompt."""

import re
from collections import Counter

import numpy as np
import pytest

from coursekit.base.lessons import draw_lesson
from coursekit.base.tiny import tiny_tokenizer
from rarft.prompts import COMPARE
from rarft.reading.completion import parse_response
from rarft.world import parse, spans_of
from rarft.world.completions import comparison_completion, is_out_of_place, nearest, refusal_aware_completion
from rarft.world.dataset import draw_clip
from rarft.world.judge import timeline_accuracy
from rarft.world.timelines import timeline
from rarft.world.truth import explanation_is_true, happens


def drawn(count, describe):
    stories = [draw_clip(2, "train", index)[0] for index in range(400)]
    rng = np.random.default_rng(0)
    return [
        (stories[n % 400], stories, draw_lesson(stories[n % 400], stories, rng, describe=describe))
        for n in range(count)
    ]


@pytest.fixture(scope="module", params=[False, True], ids=["tasks", "describing"])
def lessons(request):
    """Of the base's last two stages."""
    return drawn(10_000, request.param)


@pytest.fixture(scope="module")
def described():
    return [item for item in drawn(4000, True) if item[2].task == "compare"]


def test_under_the_grounding_prompt_no_query_is_hard_irrelevant(lessons):
    """Read from prompt and completion alone: such a query happens, or is the query of another clip as it stands."""
    queries_of = {}
    for story, stories, lesson in lessons:
        if lesson.prompt.startswith(COMPARE):
            continue
        query = parse(lesson.prompt)
        assert query is not None and not query.unseen
        if spans_of(story, query):
            continue
        if query not in queries_of:
            queries_of[query] = any(spans_of(other, query) for other in stories)
        assert queries_of[query], f"{lesson.prompt} happens in no clip: it was edited"
        assert lesson.kind == "shuffled"


def test_under_the_grounding_prompt_nothing_is_compared_explained_or_corrected(lessons):
    refusals, irrelevant = 0, 0
    for story, _, lesson in lessons:
        if lesson.task != "ground":
            continue
        said = parse_response(lesson.completion)
        assert "compare" not in lesson.completion and " not " not in lesson.completion
        assert said.well_formed and said.nil
        query = parse(lesson.prompt)
        if spans_of(story, query):
            assert list(said.spans) == spans_of(story, query)
            continue
        irrelevant += 1
        refusals += said.refused
        if said.refused:
            assert said.answer == "no such segment" and is_out_of_place(story, query)
    assert 0.2 < refusals / irrelevant < 0.5


def test_comparing_is_a_task_of_its_own(lessons):
    kinds = Counter()
    for story, _, lesson in lessons:
        if lesson.task == "compare":
            kinds[lesson.kind] += 1
            assert lesson.prompt.startswith(f"{COMPARE} ")
            assert lesson.completion.startswith(comparison_completion(story, lesson.query).removesuffix(" </think>"))
            assert "<answer>" not in lesson.completion and "<correction>" not in lesson.completion
    assert set(kinds) == {"relevant", "edited", "shuffled"} and min(kinds.values()) > 500


def test_a_comparison_ends_with_the_seconds_of_an_event_and_a_true_sentence_about_it(described):
    orders = 0
    for story, _, lesson in described:
        found, _, sentence = (
            lesson.completion.removesuffix(" . </think>").partition("segment :")[2].partition(" video : ")
        )
        start, end = (int(second) for second in re.findall(r"timestep> (\d+)", found))
        seen = parse(sentence)
        assert (start, end) in [(span.start, span.end) for span in spans_of(story, seen)]
        if lesson.kind == "relevant":
            assert seen == lesson.query
        orders += lesson.query.order is not None and lesson.kind == "edited"
    assert orders > 50  # too rare, an order is never learned


def test_every_word_of_a_lesson_has_a_token_and_the_longest_fits(lessons):
    tokenizer = tiny_tokenizer()
    ids = tokenizer([f"{lesson.prompt} {lesson.completion}" for _, _, lesson in lessons[:3000]])["input_ids"]
    assert all(tokenizer.unk_token_id not in row for row in ids)
    assert max(map(len, ids)) < 352


def test_a_refusal_aware_annotator_answers_explains_and_corrects_truly():
    refusals = 0
    for index in range(100):
        story, query, edits = draw_clip(2, "train", index)
        said = parse_response(refusal_aware_completion(story, query))
        assert said.well_formed and said.nil and list(said.spans) == spans_of(story, query)
        assert timeline_accuracy(said.think, timeline(story)) == 1
        for edit in edits.values():
            text = refusal_aware_completion(story, edit.query)
            if text is None:
                assert not nearest(story, edit.query).sayable
                continue
            response = parse_response(text)
            refusals += 1
            assert response.refused and happens(story, response.correction)
            assert explanation_is_true(story, edit.query, response.answer) == (True, True)
    assert refusals > 250
