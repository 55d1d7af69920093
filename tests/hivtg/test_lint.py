import json

import pytest

from coursekit import ROOT
from rarft.hivtg.lint import fix, lint, table
from rarft.hivtg.sources import read_sources

OFFICIAL = ROOT / "data" / "released"
REFUSAL = {
    "q": "a person closes a door",
    "a": "<answer>the door is opened</answer>",
    "r": False,
    "c": ["Action/FineGrainedAction"],
    "difficulty": "hard",
}


def row(**changes):
    relevant = {"q": "A person opens a door.", "a": "<answer>2 to 5.5</answer>", "r": True}
    return {
        "video": "x/AB.mp4",
        "query_text": relevant["q"],
        "timestamp": [2.0, 5.5],
        "duration": 12.0,
        "GRPO": [relevant, dict(REFUSAL)],
        **changes,
    }


@pytest.fixture
def files(tmp_path):
    def write(name, data):
        (tmp_path / name).write_text(json.dumps(data))
        return tmp_path / name

    return write


SOURCE = {
    "AB": {
        "duration": 12.0,
        "sts": [
            {"sentence": "a person opens a door", "timestamp": [2.0, 5.5], "no_answer": False},
            {"sentence": "a person eats", "timestamp": [7.0, 9.0], "no_answer": False},
        ],
    }
}


def test_a_right_row_raises_no_alarm(files):
    report = lint(files("a.json", [row()]), [files("s.json", SOURCE)])
    assert report.findings == [] and report.perfect_miou == 1 and not report.failed


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"timestamp": [2.0, 15.0]}, "end-beyond-duration"),
        ({"timestamp": [13.0, 15.0]}, "start-beyond-duration"),
        ({"timestamp": [5.0, 5.0]}, "empty-span"),
        ({"duration": 14.0}, "wrong-duration"),
        ({"timestamp": [3.0, 5.5]}, "differs-from-source"),
        ({"timestamp": [-1.0, 5.5]}, "start-before-zero"),
        ({"timestamp": [2.0, 7.5]}, "answer-disagrees"),
        ({"PRO": {"prompt": "What is shown from 2 to 7 seconds?"}}, "prompt-disagrees"),
        ({"GRPO": [{"q": None, "a": "2 to 5.5", "r": True}]}, "unreadable"),
        ({"GRPO": [row()["GRPO"][0], {"q": "a person eats", "a": "x", "r": True}]}, "inherited-span"),
        ({"GRPO": [row()["GRPO"][0], {**REFUSAL, "q": "A person eats."}]}, "irrelevant-is-annotated"),
        ({"GRPO": [row()["GRPO"][0], {**REFUSAL, "c": ["Action/Dancing"]}]}, "unknown-category"),
        ({"GRPO": [row()["GRPO"][0], {**REFUSAL, "difficulty": "easy"}]}, "category-count"),
        ({"GRPO": [row()["GRPO"][0], {**REFUSAL, "a": ""}]}, "empty-answer"),
        ({"GRPO": [row()["GRPO"][0], {**REFUSAL, "a": "<answer>it opens"}]}, "malformed-tags"),
        (
            {"GRPO": [row()["GRPO"][0], {**REFUSAL, "a": "<answer>no. closes A person opens a door.</answer>"}]},
            "leaked-original",
        ),
    ],
)
def test_each_mistake_is_found(files, changes, code):
    report = lint(files("a.json", [row(**changes)]), [files("s.json", SOURCE)])
    assert code in report.counts
    assert code in table(report)


def test_wrong_ends_are_repaired_with_a_log(files):
    source = [
        {
            "path": "v/AB.mp4",
            "question": "a person opens a door",
            "answer": "2.0-5.5",
            "start": 30.0,
            "end": 60.0,
            "duration": 30.0,
        }
    ]
    wrong = row(
        timestamp=[32.0, 65.5],
        duration=None,
        think="<timestep>32.00 to 65.50</timestep> it opens",
        PRO={"prompt": "What is shown from 32.00 to 65.50 seconds?"},
    )
    wrong["GRPO"][0]["a"] = "<answer>32.0 to 65.5</answer>"
    path = files("a.json", [wrong])
    report = lint(path, [files("s.json", source)])
    assert report.counts == {"wrong-end": 1} and report.failed and report.perfect_miou < 0.2
    fixed, log = fix(path, report)
    assert lint(fixed, [files("s.json", source)]).findings == []
    [again] = json.loads(fixed.read_text())
    assert again["GRPO"][0]["a"] == "<answer>32.0 to 35.5</answer>" and again["think"].startswith(
        "<timestep>32.00 to 35.50<"
    )
    assert again["PRO"]["prompt"] == "What is shown from 32.00 to 35.50 seconds?"
    assert [change["key"] for change in json.loads(log.read_text())] == [
        "timestamp",
        "GRPO[0].a",
        "think",
        "PRO.prompt",
    ]
    assert json.loads(log.read_text())[0] | {"row": 0} == {
        "row": 0,
        "item": 0,
        "code": "wrong-end",
        "key": "timestamp",
        "old": [32.0, 65.5],
        "new": [32.0, 35.5],
    }
    assert json.loads(path.read_text())[0]["timestamp"] == [32.0, 65.5], "the original stays as it is"


def test_an_unknown_source_is_named(files):
    with pytest.raises(ValueError, match="s.json"):
        read_sources([files("s.json", [{"b": 2}])])


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
@pytest.mark.parametrize(
    "name, code, count, before, after",
    [("hi_vtg_tvgbench", "wrong-end", 252, 0.721, 0.986), ("ss_vtg_charades", "inherited-span", 411, 0.821, 1.0)],
)
def test_wrong_labels_of_the_official_files(name, code, count, before, after, tmp_path):
    sources = [OFFICIAL / "time_r1_tvgbench.json", OFFICIAL / "ratsg_charades_sta_test2.0.json"]
    report = lint(OFFICIAL / f"{name}.json", sources)
    assert report.counts[code] == count
    labelled = {"wrong-end", "inherited-span", "shared-span", "differs-from-source"}
    assert sum(n for c, n in report.counts.items() if c in labelled) == count, "a false alarm"
    assert report.perfect_miou == pytest.approx(before, abs=5e-4)
    fixed, _ = fix(OFFICIAL / f"{name}.json", report, tmp_path)
    again = lint(fixed, sources)
    assert code not in again.counts and again.perfect_miou == pytest.approx(after, abs=5e-4)


def test_windows_that_were_cut_to_the_first_are_found(tmp_path, files):
    source = tmp_path / "qv.jsonl"
    source.write_text(
        '{"vid": "AB", "query": "A person opens a door.", "duration": 12, "relevant_windows": [[2, 5.5], [8, 10]]}\n'
    )
    report = lint(files("a.json", [row()]), [source])
    assert report.counts == {"truncated-windows": 1} and not report.failed and report.perfect_miou == 1


def test_ids_that_hold_dots_are_found_and_a_source_of_other_videos_is_an_error(tmp_path, files):
    source = tmp_path / "qv.jsonl"
    source.write_text(
        '{"vid": "AB_60.0_210.0", "query": "A person opens a door.", "duration": 12, '
        '"relevant_windows": [[2, 5.5], [8, 10]]}\n'
    )
    for name in ("x/AB_60.0_210.0.mp4", "AB_60.0_210.0", "AB_60.0_210.0.MP4"):
        assert lint(files("a.json", [row(video=name)]), [source]).counts == {"truncated-windows": 1}
    report = lint(files("a.json", [row()]), [source])
    assert report.counts == {"source-mismatch": 1} and report.failed and "0 of the 1 videos" in table(report)
