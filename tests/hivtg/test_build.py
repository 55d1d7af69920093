"""Annotations in, HI-VTG rows out: readers, editors, resuming, statistics."""

import json

import pytest

from rarft.course.widgets import annotate
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.build import build, think
from rarft.hivtg.editors import LLMEditor, Proposal, Rejected, check
from rarft.hivtg.index import AnnotationIndex
from rarft.hivtg.lint import lint
from rarft.hivtg.official import read_released
from rarft.hivtg.shuffle import shuffled_queries
from rarft.hivtg.statistics import leak_score, statistics
from rarft.llm import LLM
from rarft.schema import Category, Difficulty, Sample, Span
from rarft.video import read_video
from rarft.world import parse, spans_of
from rarft.world.editor import WorldEditor

LAYOUTS = {
    "charades.txt": "AO8RW 0.0 6.9##a person is putting a book on a shelf.\nAO8RW x 9##bad\n\n"
    "AO8RW 8 4##reversed\nB 1 2##two.\n",
    "activitynet.json": json.dumps(
        {
            "v_a": {"duration": 82.7, "timestamps": [[0.8, 19.9], [3]], "sentences": [" A man sits.", "He stands."]},
            "v_b": {"duration": 10, "timestamps": [[1, 2]], "sentences": ["x", "y"]},
            "v_c": {"duration": 5.0, "timestamps": [[0, 5]], "sentences": ["A dog runs."]},
        }
    ),
    "qvhighlights.jsonl": '{"qid": 7, "vid": "v1", "query": "a cat", "duration": 150, '
    '"relevant_windows": [[0, 4], [8, 10]]}\n'
    '{"vid": "v2", "duration": 5}\n{"vid": "v3", "query": "z", "relevant_windows": [[0, "4"]]}\n'
    'not json\n{"vid": "v4", "query": "a dog", "relevant_windows": [[1, 2]]}\n',
    "own.jsonl": '{"video": "v.mp4", "query": "a cat", "duration": 9, "span": [2, 5.5]}\n'
    '{"video": "v.mp4", "query": "", "span": [1, 2]}\n',
    "tvgbench.json": json.dumps(
        [
            {
                "path": "a/V.mp4",
                "question": "q",
                "answer": "13.4-28.1",
                "start": None,
                "end": None,
                "duration": 30.1,
                "source": "s",
            },
            {"path": "a/V.mp4", "question": "q", "answer": "soon", "start": None, "end": None, "duration": 30.1},
        ]
    ),
}
FOUND = {
    "charades.txt": ([("AO8RW", 1), ("B", 1)], [1, 3]),
    "activitynet.json": ([("v_a", 1), ("v_b", 1), ("v_c", 1)], [0, 1]),
    "qvhighlights.jsonl": ([("v1", 2), ("v4", 1)], [1, 2, 3]),
    "own.jsonl": ([("v.mp4", 1)], [1]),
    "tvgbench.json": ([("a/V.mp4", 1)], [1]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_read_and_bad_entries_are_named(name, tmp_path):
    (tmp_path / name).write_text(LAYOUTS[name])
    problems = []
    samples = list(read_annotations(tmp_path / name, problems.append))
    good, bad = FOUND[name]
    assert [(s.video, len(s.spans)) for s in samples] == good
    assert [p.row for p in problems] == bad and all(name in str(p) for p in problems)
    assert all(s.relevant and s.query == s.query.strip() for s in samples)
    if name.startswith("qv"):
        assert samples[0].extra == {"qid": 7}


def test_an_unknown_layout_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("video,query\n")
    with pytest.raises(ValueError, match="a.csv: no layout"):
        list(read_annotations(tmp_path / "a.csv", print))


def test_the_world_builds_rows_that_are_false_of_their_clips_and_resume(world, tmp_path):
    relevant = [clip.samples[0] for clip in world]
    stories = {clip.samples[0].video: clip.story for clip in world}
    output = tmp_path / "hi_vtg.jsonl"
    counts = build(relevant, WorldEditor(stories), output)
    assert counts["rows"] == len(world) and counts["edits"] + counts["rejected"] == 3 * len(world)
    found = read_released(output)
    assert not found.problems and lint(output).counts.keys() <= {"category-count"}
    for sample in found.samples:
        assert bool(spans_of(stories[sample.video], parse(sample.query))) == sample.relevant
    assert {s.difficulty for s in found.samples} == {
        Difficulty.ORIGINAL,
        Difficulty.HARD,
        Difficulty.MEDIUM,
        Difficulty.EASY,
    }
    whole = output.read_text()
    output.write_text(whole[: len(whole) // 2])
    assert build(relevant, WorldEditor(stories), output)["skipped"] >= 1
    assert sorted(output.read_text().splitlines()) == sorted(whole.splitlines())
    assert build(relevant, WorldEditor(stories), output)["skipped"] == len(world)


DOOR = Sample("v.mp4", "a person opens a door", [Span(2, 5.5)], duration=12.0)
CAT = Sample("v.mp4", "a cat sleeps on the sofa", [Span(6, 9)], duration=12.0)
GOOD = Proposal("a person closes a door", "the door is opened, not closed", (Category.FINE_GRAINED_ACTION,))


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"query": "  "}, "empty"),
        ({"answer": ""}, "empty"),
        ({"query": "A person opens a door."}, "not changed"),
        ({"query": "a cat sleeps on the sofa"}, "another annotation"),
        ({"query": "a person opens"}, "only leaves words out"),
        ({"query": "a cat sleeps"}, "only leaves words out"),
        ({"answer": "it shows: A person opens a door."}, "leak"),
        ({"categories": ()}, "1 categories"),
    ],
)
def test_bad_proposals_are_turned_down(change, reason):
    check(DOOR, GOOD, 1, [CAT.query])
    check(
        DOOR,
        Proposal("a door opens a person", "it is the other way round", (Category.ACTION_SEQUENCE,)),
        1,
        [CAT.query],
    )
    with pytest.raises(Rejected, match=reason):
        check(DOOR, Proposal(**{**GOOD.__dict__, **change}), 1, [CAT.query])


def reply(query, edits, answer="the door is opened, not closed"):
    return json.dumps({"query": query, "answer": answer, "categories": ["Action/FineGrainedAction"] * edits})


def test_the_llm_editor_keeps_good_edits_and_the_reasons_of_the_others(serve, encoder, tmp_path):
    def answer(messages):
        edits = int(messages[1]["content"][-1])
        if "door" not in messages[1]["content"].splitlines()[0]:
            return "I would rather not."
        near = {1: "a person closes a door", 2: "the cat is sleeping on the sofa", 3: "a person opens a door"}
        return reply(near[edits], edits)

    output = tmp_path / "rows.jsonl"
    llm = LLM("m", serve(answer).url, attempts=2, cache=tmp_path / "replies.jsonl")
    counts = build([DOOR, CAT], LLMEditor(llm, encoder), output, concurrency=2)
    assert (counts["rows"], counts["edits"], counts["rejected"], counts["without_edits"]) == (1, 1, 5, 1)
    (row,) = read_released(output).rows
    assert [item["q"] for item in row["GRPO"]] == [DOOR.query, "a person closes a door"]
    assert row["think"].splitlines()[1:3] == think([DOOR, CAT]).splitlines()
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "rows.jsonl.rejected.jsonl").read_text().splitlines()]
    assert ["may be true" in reasons[0], "not changed" in reasons[1]] == [True, True]
    assert all("no JSON object" in reason for reason in reasons[2:])


def test_the_llm_editor_asks_again_if_told_to(serve, encoder):
    server = serve(
        lambda m: '{"possible": true}' if "Descriptions" in m[1]["content"] else reply("a person closes a door", 1)
    )
    with pytest.raises(Rejected, match="asked again"):
        LLMEditor(LLM("m", server.url), encoder, verify=True).edit(DOOR, 1, [])


def test_shuffled_queries_come_from_other_videos_and_differ(encoder):
    samples = [
        DOOR,
        CAT,
        Sample("w.mp4", "two people play chess", [Span(0, 3)]),
        Sample("w.mp4", "a person opens the door", [Span(4, 5)]),
    ]
    found = shuffled_queries(samples, encoder)
    assert found == shuffled_queries(samples, encoder)
    assert [s.query for s in found[:2]] == ["two people play chess"] * 2
    assert {s.query for s in found[2:]} == {"a cat sleeps on the sofa"} and not any(s.relevant for s in found)
    with pytest.raises(ValueError, match="two videos"):
        shuffled_queries([DOOR, CAT], encoder)


def test_statistics_and_the_leak_score(world, encoder):
    samples = [s for clip in world for s in clip.samples]
    found = statistics(samples, encoder)
    assert found["relevant"] == found["irrelevant"] == len(world) and sum(found["difficulty"].values()) == len(world)
    assert all(0.7 < value <= 1 for value in found["similarity"].values())
    queries = [f"the {word} grows" for word in ("red", "blue") * 50]
    assert leak_score(queries, [i % 2 for i in range(100)], list(range(100))) == 1
    assert leak_score(["the red grows"] * 100, [i % 2 for i in range(100)], list(range(100))) == 0.5


def test_the_annotation_widget_saves_good_pairs_and_says_what_is_wrong_with_others(world, tmp_path):
    output, sample = tmp_path / "human.jsonl", world[0].samples[0]
    _, query, answer, categories, button, message = annotate(read_video(world[0].path), sample, output).children
    button.click()
    assert "one to three categories" in message.value
    categories.value = (Category.COUNTING,)
    answer.value = "two, not three"
    button.click()
    assert "not changed" in message.value and not output.exists()
    query.value = "the <b>red</b> ring grows three times"
    button.click()
    assert "saved" in message.value and "<b>" not in message.value
    found = read_released(output)
    assert not found.problems and [s.difficulty for s in found.samples] == [Difficulty.ORIGINAL, Difficulty.HARD]
    assert found.samples[1].query == query.value and found.samples[1].correction == sample.query


def test_the_index_gives_samples_back_in_order_and_by_video():
    samples = [Sample(f"{i % 2}.mp4", f"query {i}", [Span(i, i + 1.0)]) for i in range(5)]
    with AnnotationIndex() as index:
        assert index.add(iter(samples)) == 5
        index.mark_done(["a", "a", "b"])
        assert list(index) == samples and index.of_video("1.mp4") == samples[1::2] and index.of_video("x") == []
        assert index.is_done("b") and not index.is_done("c")
