import json
from pathlib import Path

import pytest

from rarft.hivtg.official import group_samples, iter_rows, read_released, rows_of, split_answer, write_released
from rarft.schema import Category, Difficulty

OFFICIAL = Path(__file__).resolve().parents[2] / "shared" / "data"
ROW = {
    "video": "/somewhere/AB12C.mp4",
    "query_text": "a person opens a door",
    "timestamp": [2.0, 5.5],
    "duration": 12.0,
    "think": "<think>\n<timestep>2 to 5.5</timestep> a person opens a door\n</think>",
    "mood": "kept",
    "GRPO": [
        {"q": "a person opens a door", "a": "<answer>2.0 to 5.5</answer>", "r": True, "difficulty": "original"},
        {"q": "a person closes a door", "a": "<answer>it opens</answer><correct>a person opens a door</correct>", "r": False, "c": ["Action/FineGrainedAction"], "hardness_level": "strong", "note": 1},
    ],
}


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_all_spellings_are_read_and_nothing_is_lost(tmp_path):
    found = read_released(write(tmp_path / "a.json", [ROW]))
    relevant, irrelevant = found.samples
    assert not found.problems
    assert relevant.spans == [(2.0, 5.5)] and relevant.difficulty is Difficulty.ORIGINAL and relevant.answer == ""
    assert irrelevant.spans == [] and irrelevant.answer == "it opens" and irrelevant.correction == relevant.query
    assert irrelevant.difficulty is Difficulty.HARD and irrelevant.categories == [Category.FINE_GRAINED_ACTION]
    assert irrelevant.extra["note"] == 1 and "think>" not in irrelevant.think
    assert json.loads(write_released(found.rows, tmp_path / "b.json").read_text()) == [ROW]


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
    path = write(tmp_path / "w.json", rows_of([list(clip.samples) for clip in world]))
    found = read_released(path)
    assert not found.problems
    groups = group_samples(found.samples)
    for clip, group in zip(world, groups, strict=True):
        assert [s.query for s in group] == [s.query for s in clip.samples]
        assert group[1].answer == clip.samples[1].answer and group[1].categories == clip.samples[1].categories
        assert group[0].spans == clip.samples[0].spans


def test_split_answer():
    assert split_answer("<answer>a</answer><correction>b</correction>") == ("a", "b")
    assert split_answer("plain") == ("plain", "")


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
@pytest.mark.parametrize(
    "name, rows, relevant, irrelevant, problems",
    [("hi_vtg_charades", 1097, 1097, 1097, 0), ("hi_vtg_tvgbench", 800, 800, 800, 1), ("ss_vtg_charades", 2119, 1860, 1860, 0)],
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
