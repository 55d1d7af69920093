"""Annotations in, HI-VTG rows out: readers, editors, resuming, statistics."""

import json
from dataclasses import replace

import pytest

from coursekit.widgets import annotate
from rarft.asking.llm import LLM
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.build import build, think
from rarft.hivtg.editors import LLMEditor, Proposal, Rejected, check_proposal
from rarft.hivtg.index import AnnotationIndex
from rarft.hivtg.lint import lint
from rarft.hivtg.official import read_released, rows_of, write_released
from rarft.hivtg.shuffle import shuffled_queries
from rarft.hivtg.statistics import leak_score, statistics
from rarft.schema import Category, Difficulty, Group, Sample, Span
from rarft.system.errors import InputError
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
ROW = {"video": "clip_a", "query": "the red ring grows", "duration": 8.0, "span": [1, 4]}
LAYOUTS |= {
    "timer1.json": json.dumps(
        [
            {"video": "d/a.mp4", "duration": 8.0, "timestamp": [1.0, 4.0], "sentence": " it grows", "qid": "a|0"},
            {"video": "d/a.mp4", "duration": 8.0, "timestamp": [1.0, 4.0]},
        ],
        indent=1,
    ),
    "qvhighlights.json": json.dumps([{"vid": "v", "query": "q", "relevant_windows": [[1, 4], [5, 6]], "qid": 7}]),
    "one_line.jsonl": json.dumps(ROW),
    "one_object.json": json.dumps(ROW, indent=1),
    "query_later.jsonl": f'{{"video": "clip_a", "span": [1, 4]}}\n5\n{json.dumps(ROW)}\n',
    "broken_first.jsonl": f'{{"video": \n{json.dumps(ROW)}\n',
    "header.txt": "video start end\nAO8RW 0.0 6.9##a person\n",
    "sharps.jsonl": json.dumps({"query": "a person## sits", "video": "v", "span": [1, 2]}),
    "youcook2.json": json.dumps(
        {
            "database": {
                "v_a": {"duration": 8, "subset": "x", "annotations": [{"segment": [1, 4], "id": 0, "sentence": "s"}]},
                "v_b": {"duration": 8, "annotations": [{"segment": [1, 4], "id": 0}, {"sentence": "no segment"}]},
            }
        }
    ),
    "more_times_than_sentences.json": json.dumps(
        {"v_a": {"duration": 9, "timestamps": [[0, 2], [3, 5]], "sentences": ["one"]}}
    ),
    "no_windows.jsonl": f'{{"vid": "v", "query": "q", "relevant_windows": []}}\n{json.dumps(ROW)}',
}
FOUND = {
    "charades.txt": ([("AO8RW", 1), ("B", 1)], [1, 3]),
    "activitynet.json": ([("v_a", 1), ("v_b", 1), ("v_c", 1)], [0, 1]),
    "qvhighlights.jsonl": ([("v1", 2), ("v4", 1)], [1, 2, 3]),
    "own.jsonl": ([("v.mp4", 1)], [1]),
    "tvgbench.json": ([("a/V.mp4", 1)], [1]),
    "timer1.json": ([("d/a.mp4", 1)], [1]),
    "qvhighlights.json": ([("v", 2)], []),
    "one_line.jsonl": ([("clip_a", 1)], []),
    "one_object.json": ([("clip_a", 1)], []),
    "query_later.jsonl": ([("clip_a", 1)], [0, 1]),
    "broken_first.jsonl": ([("clip_a", 1)], [0]),
    "header.txt": ([("AO8RW", 1)], [0]),
    "sharps.jsonl": ([("v", 1)], []),
    "youcook2.json": ([("v_a", 1)], [1, 1]),
    "more_times_than_sentences.json": ([("v_a", 1)], [0]),
    "no_windows.jsonl": ([("clip_a", 1)], [0]),
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


def test_the_row_without_a_query_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(LAYOUTS["query_later.jsonl"])
    problems = []
    list(read_annotations(tmp_path / "a.jsonl", problems.append))
    assert [str(problem).partition("row ")[2] for problem in problems] == [
        "0, query: missing",
        "1, entry: an object was expected, got int",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("video,query\n", "no layout that is known .*YouCook2.*TVGBench"),
        ("", "no layout"),
        ("[]", "no layout"),
        ("5\n6\n", "no layout"),
        ('["a", "b"]', "no layout.*its first entry: a;"),
        (json.dumps([{"clip": "a", "text": "b"}]), "no layout.*has the keys clip, text"),
        (json.dumps({"v": {"sts": [], "duration": 3}}), "no layout.*`sentences` was expected"),
        ('[{"video": "a",\n "query"', "not JSON .line 2"),
    ],
)
def test_an_unknown_layout_is_refused(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=f"a.csv: {message}"):
        list(read_annotations(tmp_path / "a.csv", print))


def test_ego4d_queries_are_about_their_clip(tmp_path):
    query = {"query": "Where was it?", "clip_start_sec": 1, "clip_end_sec": 4, "video_start_sec": 61, "slot_x": "it"}
    clip = {"clip_uid": "c", "video_start_sec": 60, "video_end_sec": 540.5}
    untimed = {"query": "Where is it?"}
    clip["annotations"] = [{"annotation_uid": "u", "language_queries": [query, untimed]}]
    (tmp_path / "nlq.json").write_text(json.dumps({"videos": [{"video_uid": "v", "clips": [clip]}], "version": "1"}))
    problems = []
    [sample] = read_annotations(tmp_path / "nlq.json", problems.append)
    assert (sample.crop, sample.spans, sample.duration) == (("c", None, None), [(1, 4)], 480.5)
    assert sample.extra == {"video_uid": "v", "annotation_uid": "u", "video_start_sec": 61, "slot_x": "it"}
    assert len(problems) == 1 and "[None, None]" in str(problems[0])


PARTS = {"start": 2.0, "end": 8.0}


@pytest.mark.parametrize(
    "row, part, duration",
    [
        ({**ROW, **PARTS}, (2, 8), 6),
        ({**ROW, **PARTS, "duration": 6}, (2, 8), 6),  # of the part
        ({**ROW, **PARTS, "duration": 6.2}, (2, 8), 6.2),
        ({**ROW, **PARTS, "duration": None}, (2, 8), 6),
        ({**ROW, **PARTS, "duration": 7.5}, (2, 8), 6),
        ({**ROW, "start": 2}, (2, None), 6),
        ({**ROW, "start": 2, "duration": None}, (2, None), None),
        ({**ROW, "end": 6}, (None, 6), 6),
        ({**ROW, "video_start": 2, "video_end": 8}, (2, 8), 6),
        ({**ROW, "clip_start": 2, "clip_end": 8}, (2, 8), 6),
        ({**ROW, "start": 2, "video_start": 2.0, "end": 8, "video_end": None}, (2, 8), 6),
        ({**ROW, "start": None, "end": None}, (None, None), 8),
        ({"vid": "clip_a", "query": "q", "relevant_windows": [[1, 4]], **PARTS}, (2, 8), 6),
        ({"video": "clip_a", "sentence": "q", "timestamp": [1, 4], "video_start": 2, "video_end": 8}, (2, 8), 6),
    ],
)
def test_a_row_may_be_about_a_part_of_its_video(row, part, duration, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({**row, "split": "train"}))
    [sample] = read_annotations(tmp_path / "a.jsonl", print)
    assert sample.crop == ("clip_a", *part) and sample.duration == duration and sample.spans == [(1, 4)]
    assert sample.extra == {"split": "train"}
    group = Group(sample, (replace(sample, query="another", spans=[], difficulty=Difficulty.HARD),))
    for again in read_released(write_released(rows_of([group]), tmp_path / "b.json")).samples:
        assert (again.crop, again.duration) == (sample.crop, sample.duration), "as a released file"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"start": 8, "end": 2}, "from 8 s to 2 s of the video is empty"),
        ({"start": 2, "end": 2}, "is empty"),
        ({"start": 9}, "from 9 s to 8 s of the video is empty"),
        ({"start": -1, "end": 8}, "`start`: a finite number"),
        ({"start": "2"}, "`start`: a finite number"),
        ({"end": True}, "`end`: a finite number"),
        ({"video_start": 2, "start": 3}, "`start` and `video_start` differ"),
        ({"start": 2, "end": 20}, "not inside the 8 s of the video"),
        ({"start": 2, "end": 8, "span": [3, 7.5]}, "3 to 7.5 s is not inside the part of 6 s; segments count from"),
        ({"start": 2, "end": 8, "span": [6, 6.5]}, "not inside the part"),
        ({"span": [8, 9]}, "starts after the 8 s"),
        ({"duration": 0}, "`duration`: a finite number"),
        ({"span": [1, 4], "spans": [[2, 3]]}, "`span` and `spans` differ"),
        ({"span": [[1, 4], [2]]}, "a segment"),
        ({"vid": "other"}, "`video` and `vid` differ"),
    ],
)
def test_a_part_or_a_segment_that_cannot_be_is_named(change, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps({**ROW, **change})}\n{json.dumps(ROW)}\n")
    problems = []
    assert len(list(read_annotations(tmp_path / "a.jsonl", problems.append))) == 1
    assert len(problems) == 1 and "row 0" in str(problems[0]) and message in str(problems[0])


def test_rows_of_parts_and_of_several_windows_are_built_whole(serve, encoder, tmp_path):
    near = Sample("v.mp4", "a person opens a door", [Span(2, 5.5), Span(7, 8)], duration=12.0, start=3.0, end=15.0)
    far = replace(near, start=30.0, end=42.0)
    llm = LLM("m", serve(lambda m: reply("a person closes a door", int(m[1]["content"][-1]))).url)
    output = tmp_path / "rows.jsonl"
    assert build([near, far], LLMEditor(llm, encoder), output)["rows"] == 2
    assert build([near, far], LLMEditor(llm, encoder), output)["skipped"] == 2
    found = read_released(output)
    relevant = [sample for sample in found.samples if sample.relevant]
    assert not found.problems and [s.crop for s in relevant] == [near.crop, far.crop]
    assert all(s.spans == near.spans and s.duration == 12 for s in relevant)
    assert [row["think"].count("<timestep>") for row in found.rows] == [2, 2], "the other part's times are not there"
    source = {"video": "v.mp4", "query": near.query, "spans": near.spans, "start": near.start, "end": near.end}
    (tmp_path / "source.json").write_text(json.dumps(source))
    report = lint(output, [tmp_path / "source.json"])
    assert [f.row for f in report.findings] == [1], "the source's segments are of the first part"


def test_the_world_builds_rows_that_are_false_of_their_clips_and_resume(world, tmp_path):
    relevant = [clip.group.relevant for clip in world]
    stories = {clip.group.relevant.video: clip.story for clip in world}
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
    check_proposal(DOOR, GOOD, 1, [CAT.query])
    check_proposal(
        DOOR,
        Proposal("a door opens a person", "it is the other way round", (Category.ACTION_SEQUENCE,)),
        1,
        [CAT.query],
    )
    with pytest.raises(Rejected, match=reason):
        check_proposal(DOOR, Proposal(**{**GOOD.__dict__, **change}), 1, [CAT.query])


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
    samples = [s for clip in world for s in clip.group]
    found = statistics(samples, encoder)
    assert found["relevant"] == found["irrelevant"] == len(world) and sum(found["difficulty"].values()) == len(world)
    assert all(0.7 < value <= 1 for value in found["similarity"].values())
    queries = [f"the {word} grows" for word in ("red", "blue") * 50]
    assert leak_score(queries, [i % 2 for i in range(100)], list(range(100))) == 1
    assert leak_score(["the red grows"] * 100, [i % 2 for i in range(100)], list(range(100))) == 0.5


def test_the_annotation_widget_saves_good_pairs_and_says_what_is_wrong_with_others(world, tmp_path):
    output, sample = tmp_path / "human.jsonl", world[0].group.relevant
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
