"""Inverse tasks: what is asked, what is right, and that their rows and those of grounding do not mix."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rarft.reading.completion import parse_response
from rarft.related.signals.consistency import consistency_reward
from rarft.related.signals.invert4tvg import (
    DESCRIPTION,
    GROUND,
    MASK,
    TASKS,
    VERB,
    crop_story,
    inverse_demonstrations,
    inverse_reward,
    invert_sample,
    mix_dataset,
    restrict_to_grounding,
    set_f1,
)
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Span
from rarft.training.dataset import refusal_dataset
from rarft.world.completions import grounding_completion, refusal_aware_completion
from rarft.world.dataset import draw_clip, group_of
from rarft.world.language import describe, parse
from rarft.world.truth import spans_of
from rarft.world.wordings import ACTIONS


def drawn(count, split="train"):
    made = []
    for index in range(count):
        story, query, edits = draw_clip(0, split, index)
        made.append((story, group_of(f"{index}.mp4", story, query, edits)))
    return made


def test_a_masked_query_has_lost_its_verb_and_nothing_else():
    tried = 0
    for story, group in drawn(400):
        sample = group.relevant
        made = invert_sample(sample, story, VERB)
        assert made is not None, sample.query
        shown, action = made
        assert shown.query.count(MASK) == 1 and action == parse(sample.query).action
        assert any(shown.query.replace(MASK, words) == sample.query for words in ACTIONS[action])
        assert (shown.start, shown.end) == tuple(sample.spans[0]) and not shown.spans
        tried += "before" in sample.query
    assert tried


def test_a_cropped_story_says_of_each_second_what_the_whole_says():
    rng = np.random.default_rng(0)
    for story, _ in drawn(200):
        start, end = sorted(rng.choice(story.duration + 1, 2, replace=False).tolist())
        part = crop_story(story, start, end)
        assert part.duration == end - start
        for second in range(part.duration):
            for mine, whole in zip(part.actors, story.actors, strict=True):
                assert [e.action for e in mine.events if e.start <= second < e.end] == [
                    e.action for e in whole.events if e.start <= second + start < e.end
                ]
        assert part.settings[0].start == 0 and part.settings[-1].end == part.duration


def test_demonstrations_earn_the_full_reward():
    for story, group in drawn(60):
        for task, (_, completion) in zip(TASKS, inverse_demonstrations([(story, group.relevant)]), strict=True):
            words = invert_sample(group.relevant, story, task)[1]
            assert inverse_reward([completion], [task], [words]) == [pytest.approx(1.0, abs=1e-5)]
            assert parse_response(completion).well_formed


def test_a_description_is_a_sentence_that_happens():
    for story, group in drawn(60):
        assert spans_of(story, parse(invert_sample(group.relevant, story, DESCRIPTION)[1])) == group.relevant.spans


def test_overlap_is_the_f1_of_two_sets():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        said, true = ([str(w) for w in rng.choice(list("abcde"), rng.integers(0, 5))] for _ in range(2))
        hits = [w for w in set(said) if w in true]
        precision, recall = (len(hits) / len(set(s)) if s else 0.0 for s in (said, true))
        expected = 2 * precision * recall / (precision + recall) if hits else 0.0
        assert set_f1(said, true) == pytest.approx(expected)


def test_other_queries_are_not_inverted_for_want_of_a_verb():
    story, group = drawn(1)[0]
    assert invert_sample(replace(group.relevant, query="a person opens the door"), story, VERB) is None


def test_rows_are_mixed_by_share_and_grounding_rows_stay():
    world = drawn(40)
    rows = refusal_dataset([group for _, group in world], "plain", epochs=5)
    inverses = [(*invert_sample(group.relevant, story, task), task) for story, group in world for task in TASKS]
    mixed = mix_dataset(rows, inverses, "plain", share=0.25, seed=3)
    tasks = Counter(mixed[i]["task"] for i in range(len(mixed)))
    assert len(mixed) == len(rows) == 400 and 60 < len(rows) - tasks[GROUND] < 140
    for i in range(len(rows)):
        row = mixed[i]
        assert row == mixed[i] and set(row) == {*rows[i], "task", "words"}
        if row["task"] == GROUND:
            assert {name: row[name] for name in rows[i]} == rows[i]
        else:
            [video] = [part for part in row["prompt"][-1]["content"] if part["type"] == "video"]
            assert video["end"] - video["start"] == row["duration"] and row["words"]
    plain = mix_dataset(rows, inverses, "plain", share=0.0)
    assert all(plain[i]["task"] == GROUND for i in range(len(plain)))


def test_each_reward_sees_its_own_rows_only():
    columns = {
        "task": [GROUND, VERB, GROUND],
        "words": ["", "grows", ""],
        "query": ["the red ring grows", f"the red ring {MASK}", "the red ring grows"],
        "spans": [[[1.0, 3.0]], [], []],
        "duration": [4.0, 2.0, 4.0],
        "answer": ["1 to 3", "", "no such segment : red not blue"],
        "contrast": ["", "", ""],
        "correction": ["NIL", "", "the blue ring grows"],
    }
    completions = [
        "<think>a</think><answer>1 to 3</answer><correction>NIL</correction>",
        "<think>a</think><answer>grows</answer><correction>NIL</correction>",
        "<think>a</think><answer>1 to 3</answer><correction>NIL</correction>",
    ]
    for name, reward in zip(NAMES, make_rewards(), strict=True):
        given = restrict_to_grounding(reward)(completions, prompts=["p"] * 3, trainer_state=None, **columns)
        assert given[1] is None and None not in (given[0], given[2])
        kept = {key: [values[0], values[2]] for key, values in columns.items()}
        assert [given[0], given[2]] == reward([completions[0], completions[2]], **kept)
        assert restrict_to_grounding(reward).__name__ == name
    assert inverse_reward(completions, **columns) == [None, 1.0, None]
    assert inverse_reward(["no tags"], ["verb"], ["grows"]) == [0.0]


def test_an_answer_is_consistent_if_the_own_timeline_says_the_same():
    for story, group in drawn(150):
        for sample in group:
            query = parse(sample.query)
            duration = [float(story.duration)]
            right = refusal_aware_completion(story, query)
            assert consistency_reward([right], [sample.query], duration) == [1.0]
            blind = grounding_completion(story, query)
            expected = 1.0 if spans_of(story, query) else 0.0
            assert consistency_reward([blind], [sample.query], duration) == [expected]


def test_consistency_needs_a_timeline_and_knows_no_truth():
    story, group = drawn(1)[0]
    answer = "<think> nothing </think><answer> 1 to 2 </answer><correction> NIL </correction>"
    assert consistency_reward([answer], [group.relevant.query], [12.0]) == [0.0]
    assert consistency_reward([answer], ["a person opens the door"], [12.0]) == [0.0]
    other, *_ = draw_clip(0, "train", 7)  # a timeline of another clip, and an answer that fits it
    event = other.actors[0].events[0]
    query = describe(other, other.actors[0], event).sentence()
    lie = grounding_completion(other, parse(query))
    assert consistency_reward([lie], [query], [float(other.duration)]) == [1.0]
    assert not spans_of(story, parse(query)) and parse_response(lie).spans[0] == Span(event.start, event.end)
