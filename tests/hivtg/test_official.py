import copy
import json

import pytest

from coursekit import ROOT
from rarft.asking import read_questions
from rarft.evaluation import read_predictions
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.lint import fix, lint, table
from rarft.hivtg.official import (
    group_samples,
    iter_rows,
    read_released,
    released_samples,
    rows_of,
    split_answer,
    write_released,
)
from rarft.schema import Category, Difficulty, Sample
from rarft.system.errors import InputError

OFFICIAL = ROOT / "data" / "released"
ROW = {
    "video": "/somewhere/AB12C.mp4",
    "query_text": "a person opens a door",
    "timestamp": [2.0, 5.5],
    "duration": 12.0,
    "think": "<think>\n<timestep>2 to 5.5</timestep> a person opens a door\n</think>",
    "mood": "kept",
    "GRPO": [
        {"q": "a person opens a door", "a": "<answer>2.0 to 5.5</answer>", "r": True, "difficulty": "original"},
        {
            "q": "a person closes a door",
            "a": "<answer>it opens</answer><correct>a person opens a door</correct>",
            "r": False,
            "c": ["Action/FineGrainedAction"],
            "hardness_level": "strong",
            "note": 1,
        },
    ],
}


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_all_spellings_are_read_and_nothing_is_lost(tmp_path):
    found = read_released(write(tmp_path / "a.json", [ROW]))
    relevant, irrelevant = found.samples
    assert not found.problems
    assert (
        relevant.spans == [(2.0, 5.5)]
        and relevant.difficulty is Difficulty.ORIGINAL
        and relevant.answer == "2.0 to 5.5"
    )
    assert irrelevant.spans == [] and irrelevant.answer == "it opens" and irrelevant.correction == relevant.query
    assert irrelevant.difficulty is Difficulty.HARD and irrelevant.categories == [Category.FINE_GRAINED_ACTION]
    assert irrelevant.extra["note"] == 1 and "think>" not in irrelevant.think
    assert json.loads(write_released(found.rows, tmp_path / "b.json").read_text()) == [ROW]


def test_the_part_of_the_file_that_a_row_is_about_is_read(tmp_path):
    part = {**ROW, "video_start": 30.5, "video_end": 42.5}
    for sample in read_released(write(tmp_path / "a.json", [part])).samples:
        assert sample.crop == ("/somewhere/AB12C.mp4", 30.5, 42.5)
    for sample in read_released(write(tmp_path / "b.json", [{**ROW, "video_start": None}])).samples:
        assert sample.crop == ("/somewhere/AB12C.mp4", None, None)


@pytest.mark.parametrize("keys", [("start", "end"), ("clip_start", "clip_end")])
def test_the_part_may_be_spelled_in_another_way_and_the_duration_be_that_of_the_file(keys, tmp_path):
    path = write(tmp_path / "a.json", [{**ROW, **dict(zip(keys, (30.5, 42.5), strict=True)), "duration": 60}])
    for sample in read_released(path).samples:
        assert sample.crop == ("/somewhere/AB12C.mp4", 30.5, 42.5) and sample.duration == 12
    assert json.loads(write_released(read_released(path).rows, path).read_text())[0]["duration"] == 60


RELEVANT, IRRELEVANT = ROW["GRPO"]


@pytest.mark.parametrize(
    "change, left, message",
    [
        ({"video_start": "x"}, 0, "video_start: a finite number"),
        ({"video_start": 8, "video_end": 3}, 0, "from 8 s to 3 s of the video is empty"),
        ({"video_start": 8, "start": 3}, 0, "`start` and `video_start` differ"),
        ({"video_start": 30, "video_end": 42, "timestamp": [35, 40]}, 1, "35 to 40 s is not inside the part of 12 s"),
        ({"GRPO": [{**RELEVANT, "timestamp": ["a", 3]}, IRRELEVANT]}, 1, "GRPO[0]: timestamp: two finite"),
        ({"relevant_windows": [[7, 8], [9, 10]]}, 2, "the timestamp 2 to 5.5 is not among them"),
        ({"relevant_windows": [[7, 8], 9]}, 2, "relevant_windows: a list of [start, end]"),
    ],
)
def test_what_would_change_the_question_is_left_out_and_named(change, left, message, tmp_path):
    """Not read as a row about the whole video, or as an item with its row's segment."""
    found = read_released(write(tmp_path / "a.json", [{**ROW, **change}]))
    assert len(found.samples) == left and len(found.problems) == 1 and message in str(found.problems[0])


def test_all_segments_of_a_relevant_query_are_read(tmp_path):
    windows = [[2, 5.5], [7, 8]]
    relevant, irrelevant = read_released(write(tmp_path / "a.json", [{**ROW, "relevant_windows": windows}])).samples
    assert relevant.spans == [(2, 5.5), (7, 8)] and irrelevant.spans == []


def test_rows_and_fields_that_training_and_statistics_leave_out_are_named(tmp_path, caplog):
    path = write(tmp_path / "a.json", [ROW, {**ROW, "GRPO": [RELEVANT]}, {**ROW, "GRPO": [IRRELEVANT, 5]}])
    assert len(group_samples(released_samples(path))) == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and f"{path}, row 2, GRPO[1]" in said[0] and "left out: 2 of 3 rows" in said[1]


def test_bad_rows_are_named_and_the_rest_is_read(tmp_path):
    bad = [
        {**ROW, "timestamp": ["a", 3]},
        {k: v for k, v in ROW.items() if k != "GRPO"},
        "text",
        {**ROW, "GRPO": [{**ROW["GRPO"][1], "c": ["Action/SceneTransition"], "hardness_level": "brutal"}]},
        ROW,
    ]
    found = read_released(write(tmp_path / "a.json", bad))
    fields = [(p.row, p.field) for p in found.problems]
    assert fields == [(0, "timestamp"), (1, "GRPO"), (2, "row"), (3, "GRPO[0]"), (3, "GRPO[0]")]
    assert len(found.samples) == 4 and "a.json, row 0, timestamp" in str(found.problems[0])
    for text, message in (("{", "neither"), ("12", "JSON array")):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_released(tmp_path / "c.json")


def test_world_rows_come_back(world, tmp_path):
    path = write(tmp_path / "w.json", rows_of([clip.group for clip in world]))
    found = read_released(path)
    assert not found.problems
    groups = group_samples(found.samples)
    for clip, group in zip(world, groups, strict=True):
        assert [s.query for s in group] == [s.query for s in clip.group]
        [found], [true] = group.irrelevant, clip.group.irrelevant
        assert found.answer == true.answer and found.categories == true.categories
        assert group.relevant.spans == clip.group.relevant.spans


def item(q, r, **more):
    return {"q": q, "r": r, "a": "", "difficulty": "original" if r else "easy", **more}


@pytest.mark.parametrize(
    "items, corrections",
    [
        ([item("b", True), item("a", False)], ["b"]),
        ([item("a", False)], [""]),
        ([item("a", False), item("c", False)], ["", ""]),
        ([item("c", False, q_origin="d")], ["d"]),
        ([item("c", False, q_origin="a"), item("a", False)], ["", ""]),
        ([item("c", False)], ["a"]),
    ],
)
def test_a_shuffled_query_is_never_its_own_correction_nor_another_irrelevant_ones(items, corrections, tmp_path):
    path = write(tmp_path / "ss.json", [{"video": "v.mp4", "query_text": "a", "timestamp": [1, 2], "GRPO": items}])
    found = [s for s in read_released(path).samples if not s.relevant]
    assert [s.correction for s in found] == corrections
    assert all(s.difficulty is Difficulty.SHUFFLED for s in found)


@pytest.mark.parametrize(
    "fields, difficulty, problems",
    [
        ({"difficulty": "hard", "c": ["Attribute/Counting"]}, "hard", 0),
        ({"irrelevance_level": "moderate"}, "medium", 0),
        ({"difficulty": "easy"}, "shuffled", 0),
        ({"difficulty": "easy", "c": ["Attribute/Counting"]}, "easy", 0),
        ({"difficulty": "shuffled"}, "shuffled", 0),
        ({}, "unknown", 0),
        ({"difficulty": "unknown"}, "unknown", 0),
        ({"c": ["Attribute/Counting"]}, "unknown", 0),  # the human set: one category is not said to be one edit
        ({"difficulty": "brutal", "c": ["Attribute/Counting"]}, "unknown", 1),
        ({"difficulty": "original"}, "unknown", 1),
    ],
)
def test_no_query_has_a_level_that_nobody_stated(fields, difficulty, problems, tmp_path):
    wrong = {"q": "c", "r": False, "a": "", **fields}
    row = {"video": "v.mp4", "timestamp": [1, 2], "GRPO": [{"q": "a", "r": True, "difficulty": "hard"}, wrong]}
    found = read_released(write(tmp_path / "levels.json", [row]))
    assert [s.difficulty for s in found.samples] == ["original", difficulty]
    assert len(found.problems) == problems


JSON_VALUES = (
    None,
    True,
    5,
    -1.5,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "x",
    "10",
    [],
    [1],
    ["1", "2"],
    [None, None],
    [2, 5.5, 9],
    [-3, 2],
    {},
    {"a": 1},
    [{"q": "x"}],
    [["x"]],
)


@pytest.mark.parametrize("place", ["row", "item", "PRO", "PRO.answer"])
def test_any_json_value_in_any_field_is_named_or_harmless(place, tmp_path):
    rows = []
    fields = {
        "row": (
            *("video", "query_text", "timestamp", "duration", "video_start", "video_end"),
            *("think", "GRPO", "PRO"),
        ),
        "item": ("q", "a", "r", "c", "difficulty", "irrelevance_level", "hardness_level", "q_origin", "timestamp"),
        "PRO": ("prompt", "answer"),
        "PRO.answer": ("original", "ir_hard"),
    }[place]
    for name in fields:
        for value in JSON_VALUES:
            for position in (0, 1):
                row = {**json.loads(json.dumps(ROW)), "PRO": {"prompt": "from 2 to 5.5 s", "answer": {"original": "a"}}}
                holder = {
                    "row": row,
                    "item": row["GRPO"][position],
                    "PRO": row["PRO"],
                    "PRO.answer": row["PRO"]["answer"],
                }[place]
                holder[name] = value
                rows.append(row)
    source = write(
        tmp_path / "s.json",
        {
            "AB12C": {
                "duration": 12.0,
                "sts": [{"sentence": "a person opens a door", "timestamp": [2.0, 5.5], "no_answer": False}],
            }
        },
    )
    path = write(tmp_path / "a.json", rows)
    read, report = read_released(path), lint(path, [source])
    assert report.rows == len(rows) and len(table(report)) < 5000
    fix(path, report)
    named = {problem.row for problem in read.problems}
    for sample in read.samples:
        assert isinstance(sample.query, str) and sample.query.strip() and isinstance(sample.answer, str)
        assert sample.duration is None or 0 < sample.duration < float("inf")
    wrong_type = {
        "q": lambda v: not (isinstance(v, str) and v),
        "r": lambda v: not isinstance(v, bool),
        "video_start": lambda v: v is not None and (isinstance(v, str | list | dict | bool) or not 0 <= v < 1e300),
        "duration": lambda v: v is not None and (isinstance(v, str | list | dict | bool) or not 0 < v < 1e300),
    }
    for number, row in enumerate(rows):
        for name in wrong_type.keys() & set(fields):
            holders = row["GRPO"] if place == "item" else [row]
            if any(wrong_type[name](h.get(name)) for h in holders):
                assert number in named, (name, row)


@pytest.mark.parametrize("row", JSON_VALUES)
def test_any_json_value_in_place_of_a_row_an_item_or_a_source_is_named(row, tmp_path):
    path = write(tmp_path / "a.json", [row, {**ROW, "GRPO": [row, ROW["GRPO"][0]]}])
    found = read_released(path)
    assert len(found.samples) == 1 and {p.row for p in found.problems} == {0, 1}
    assert lint(path).rows == 2
    for broken in (
        {"AB12C": row},
        {"AB12C": {"sts": row, "duration": 3}},
        {"AB12C": {"sts": [row], "duration": 3}},
        [row],
        row,
    ):
        try:
            lint(path, [write(tmp_path / "s.json", broken)])
        except ValueError as error:
            assert "s.json" in str(error)


@pytest.mark.parametrize("row", JSON_VALUES)
def test_any_json_value_in_a_field_of_an_annotation_is_named(row, tmp_path):
    good = {
        "own": {"video": "a", "query": "q", "duration": 9, "span": [1, 2]},
        "qv": {"vid": "a", "query": "q", "duration": 9, "relevant_windows": [[1, 2]]},
        "timer1": {"video": "a", "sentence": "q", "timestamp": [1, 2], "duration": 9, "video_start": 0, "video_end": 9},
        "tvg": {"path": "a", "question": "q", "answer": "1-2", "start": None, "end": None, "duration": 9},
    }
    for kind, entry in good.items():
        for name in entry:
            changed = {**entry, name: row}
            text = json.dumps([changed]) if kind == "tvg" else json.dumps(entry) + "\n" + json.dumps(changed)
            (tmp_path / "x").write_text(text)
            problems = []
            for sample in read_annotations(tmp_path / "x", problems.append):
                assert isinstance(sample.video, str) and isinstance(sample.query, str)
            assert all("x, row" in str(p) for p in problems)
    for video in (
        row,
        {"duration": row, "timestamps": [[1, 2]], "sentences": ["q"]},
        {"duration": 9, "timestamps": row, "sentences": ["q"]},
        {"duration": 9, "timestamps": [[1, 2]], "sentences": row},
    ):
        good = {"w": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["q"]}}
        (tmp_path / "x").write_text(json.dumps({"v": video, **good}))
        problems = []
        samples = list(read_annotations(tmp_path / "x", problems.append))
        assert samples[-1].video == "w" and len(samples) + len(problems) >= 2


OBJECTS = {
    "activitynet": {"clip_a": {"duration": 8, "timestamps": [[1, 4]], "sentences": ["a cat"], "fps": 3}},
    "youcook2": {
        "database": {
            "clip_a": {"duration": 8, "fps": 3, "annotations": [{"segment": [1, 4], "id": 0, "sentence": "a cat"}]}
        }
    },
    "ego4d": {
        "version": "1",
        "videos": [
            {
                "video_uid": "v",
                "clips": [
                    {
                        "clip_uid": "clip_a",
                        "video_start_sec": 20,
                        "video_end_sec": 28.0,
                        "annotations": [
                            {
                                "annotation_uid": "u",
                                "language_queries": [
                                    {"clip_start_sec": 1, "clip_end_sec": 4, "video_start_sec": 21, "query": "a cat"}
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("name", OBJECTS)
def test_any_json_value_anywhere_in_an_annotation_file_is_named_or_an_unknown_layout(name, tmp_path):
    """Each value of a layout of objects, at any depth, is replaced by each JSON value."""

    def places(value, path=()):
        yield path
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from places(child, (*path, key))

    def changed(value, path, new):
        if not path:
            return new
        value = copy.copy(value)
        value[path[0]] = changed(value[path[0]], path[1:], new)
        return value

    path = tmp_path / "x.json"
    for place in places(OBJECTS[name]):
        for value in JSON_VALUES:
            path.write_text(json.dumps(changed(OBJECTS[name], place, value)))
            problems = []
            try:
                samples = list(read_annotations(path, problems.append))
            except InputError as error:
                assert "no layout that is known" in str(error) and "YouCook2" in str(error)
                continue
            assert samples or problems
            assert all(s.query and s.video and s.spans and (s.duration or 1) > 0 for s in samples)


def test_json_lines_may_hold_any_unicode_line_separator(tmp_path):
    row = {"video": "a\u2028b.mp4", "query": "one\u0085two\u2029three"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_questions(tmp_path / "q.jsonl") == [row]
    sample = Sample(row["video"], row["query"])
    (tmp_path / "p.jsonl").write_text(
        json.dumps({**row, "completion": "x\u2028y"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert read_predictions(tmp_path / "p.jsonl", [sample])[0].completion == "x\u2028y"


def test_split_answer():
    assert split_answer("<answer>a</answer><correction>b</correction>") == ("a", "b")
    assert split_answer("plain") == ("plain", "")


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
@pytest.mark.parametrize(
    "name, rows, relevant, irrelevant, problems",
    [
        ("hi_vtg_charades", 1097, 1097, 1097, 0),
        ("hi_vtg_tvgbench", 800, 800, 800, 1),
        ("ss_vtg_charades", 2119, 1860, 1860, 0),
    ],
)
def test_official_files(name, rows, relevant, irrelevant, problems, tmp_path):
    found = read_released(OFFICIAL / f"{name}.json")
    assert len(found.rows) == rows and len(found.problems) == problems
    assert sum(s.relevant for s in found.samples) == relevant
    assert sum(not s.relevant for s in found.samples) == irrelevant
    if name == "hi_vtg_charades":
        levels = [s.difficulty for s in found.samples]
        assert [levels.count(d) for d in (Difficulty.HARD, Difficulty.MEDIUM, Difficulty.EASY)] == [530, 363, 204]
    again = json.loads(write_released(found.rows, tmp_path / "x.json").read_text())
    assert again == json.loads((OFFICIAL / f"{name}.json").read_text())


def test_json_lines_are_read_row_by_row_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"video": "a", "GRPO": []}\n\n{"video": "b"}\n{"video"\n')
    rows = iter_rows(path)
    assert [next(rows)["video"], next(rows)["video"]] == ["a", "b"]
    with pytest.raises(ValueError, match="rows.jsonl.*line 4"):
        next(rows)


@pytest.mark.skipif(not (OFFICIAL / "hi_vtg_charades.json").exists(), reason="no released files")
def test_the_rows_that_chapter_03_quotes_are_in_the_released_file():
    quoted = json.loads((ROOT / "data" / "results" / "hi_vtg_examples.json").read_text())["rows"]
    samples = read_released(OFFICIAL / "hi_vtg_charades.json").samples
    for row in quoted:
        found = [s for s in samples if s.video.endswith(row["video"]) and s.query == row["irrelevant"]]
        assert any(
            row["refusal"] in s.answer
            and s.difficulty is Difficulty(row["difficulty"])
            and [c.short for c in s.categories] == row["categories"]
            for s in found
        ), row["irrelevant"]
        assert any(s.relevant and s.query == row["relevant"] and s.video.endswith(row["video"]) for s in samples)
