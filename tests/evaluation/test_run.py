import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from coursekit import ROOT
from rarft.asking import load_asker
from rarft.asking.dataset import open_dataset
from rarft.cli import main
from rarft.evaluation import (
    Answer,
    Prediction,
    markdown,
    predict,
    read_predictions,
    reference_predictions,
    report,
    scores,
    write_predictions,
)
from rarft.evaluation.page import worst, write_page
from rarft.evaluation.run import evaluate_file, evaluate_predictions
from rarft.schema import Sample, Span
from rarft.system.errors import InputError, MissingFileError
from rarft.system.files import read_json
from rarft.video import GuardedReader
from rarft.world.render import write_video

MODEL = str(ROOT / "data" / "base")
WORLD = ROOT / "data" / "samples"


def evaluate(data, out, videos=None, limit=None, *, processes=1, changes=None, on_bad_video="stop", **options):
    """What `rarft evaluate` does."""
    test_set = open_dataset(data, videos, limit, on_bad_video=on_bad_video)
    with GuardedReader() as reader:
        asker = load_asker(MODEL, reader, changes=changes, processes=processes)
        return evaluate_file(asker, test_set, out, on_bad_video=on_bad_video, **options)


def test_a_part_of_a_video_of_another_disk_is_what_is_asked_about(tmp_path, caplog):
    row = {"video": r"C:\videos\a.avi", "query": "q", "duration": 8, "span": [1, 4], "start": 2, "end": 8}
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in (row, {**row, "start": 9})))
    with pytest.raises(MissingFileError, match=r"/a\.avi: the video of the query 'q' is not there"):
        open_dataset(tmp_path / "rows.jsonl", tmp_path)
    (tmp_path / "a.mp4").touch()
    caplog.clear()
    [sample] = open_dataset(tmp_path / "rows.jsonl", tmp_path).samples
    assert sample.crop == (str(tmp_path / "a.mp4"), 2, 8) and sample.duration == 6
    [reference] = reference_predictions([sample], "never refuse")
    assert list(reference.response.spans) == [Span(0, 6)], "the whole part"
    assert "row 1" in caplog.text


def test_the_page_escapes_what_data_and_model_say(tmp_path, world):
    samples = [s for clip in world[:2] for s in clip.group]
    attack = "<script>alert(1)</script>"
    samples[0] = dataclasses.replace(samples[0], query=attack, video=f"{attack}.mp4")
    predictions = [
        Prediction(s, Answer(f"<think>{attack}</think><answer>{attack}</answer><correction>{attack}</correction>"))
        for s in samples
    ]
    contents = {"model": attack, "data": attack, "machine": "m", "rows": report({attack: predictions})}
    path = write_page(tmp_path / "r.html", contents, predictions, columns=["n", "f1"])
    page = path.read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/png;base64,") >= 4, "plots, and the frames of the cases whose video is there"
    assert "not there" in page or "no such file" in page.lower()
    assert "http:" not in page and "https:" not in page, "self-contained"
    assert "default-src 'none'" in page, "the browser would load nothing else"
    lines = markdown({"a | b\nc": {"n": 1}}, ["n"]).splitlines()
    assert lines[2] == "| a &#124; b c | 1 |", "no name breaks the table"


def test_the_page_shows_frames_of_videos_that_are_long_and_large(tmp_path):
    """All frames that a model sees of it, at full size, would take more than a gigabyte."""
    path = write_video(np.zeros((400, 720, 1280, 3), np.uint8), tmp_path / "long.mp4", 2)
    predictions = [Prediction(Sample(str(path), "q", [Span(1, 2)], duration=200.0), Answer("<answer>5 to 9</answer>"))]
    contents = {"model": "m", "data": "d", "machine": "m", "rows": report({"m": predictions})}
    page = write_page(tmp_path / "r.html", contents, predictions, columns=[])
    images = re.findall(r"data:image/png;base64,[^\"]+", page.read_text())
    assert "lower fps" not in page.read_text() and len(images) == 2, "a plot and the frames"


def test_worst_cases_come_first_and_perfect_ones_not_at_all(world):
    samples = [s for clip in world for s in clip.group]
    assert worst(reference_predictions(samples, "oracle"), 8) == []
    found = worst(reference_predictions(samples, "never refuse"), 8)
    assert [p.sample.relevant for p, _ in found] == [True] * 4 + [False] * 4
    assert [v for _, v in found[:4]] == sorted(v for _, v in found[:4]) and found[0][1] > 0


def test_evaluation_of_a_folder(tmp_path):
    evaluate(WORLD, tmp_path, limit=6)
    found = json.loads((tmp_path / "report.json").read_text())
    assert set(found["rows"]) == {MODEL, "always refuse", "never refuse", "oracle"} and found["judge"] is None
    assert (found["reading"], found["similarity"]) == ("strict", "all-MiniLM-L6-v2")
    with pytest.raises(ValueError, match="two or more"):
        evaluate(WORLD, tmp_path / "probed", limit=2, probes=True)
    assert not (tmp_path / "probed").exists(), "said before anything is asked"
    with pytest.raises(ValueError, match="fps 2.0"):
        evaluate(WORLD, tmp_path, limit=6, changes={"fps": 4.0})
    assert "| oracle | 6 |" in (tmp_path / "report.md").read_text()
    assert "Worst cases" in (tmp_path / "report.html").read_text()


def test_videos_are_decoded_in_a_process_of_their_own(tmp_path, monkeypatch):
    """So that a file that hangs or crashes FFmpeg cannot end an evaluation, report included."""
    monkeypatch.setattr("av.open", lambda *_, **__: pytest.fail("decoded here"))
    evaluate(WORLD, tmp_path, limit=4, probes=True)
    assert "decoded here" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "layout", ["charades.txt", "activitynet.json", "qvhighlights.jsonl", "tvgbench.json", "own.jsonl"]
)
def test_grounding_annotations_are_relevant_only_sets(layout, tmp_path, world):
    folder = ROOT / "data" / "samples" / "clips"
    samples = [clip.group.relevant for clip in world[:2]]
    names = [Path(s.video).stem for s in samples]
    entries = [(n, s.query, list(s.spans[0]), s.duration) for n, s in zip(names, samples, strict=True)]
    text = {
        "charades.txt": "\n".join(f"{n} {span[0]} {span[1]}##{query}" for n, query, span, _ in entries),
        "activitynet.json": json.dumps(
            {n: {"duration": d, "timestamps": [span], "sentences": [q]} for n, q, span, d in entries}
        ),
        "qvhighlights.jsonl": "\n".join(
            json.dumps({"vid": n, "query": q, "duration": d, "relevant_windows": [span]}) for n, q, span, d in entries
        ),
        "own.jsonl": "\n".join(
            json.dumps({"video": f"{n}.mp4", "query": q, "duration": d, "span": span}) for n, q, span, d in entries
        ),
        "tvgbench.json": json.dumps(
            [
                {
                    "path": f"a/{n}.mp4",
                    "question": q,
                    "answer": f"{span[0]}-{span[1]}",
                    "start": None,
                    "end": None,
                    "duration": d,
                }
                for n, q, span, d in entries
            ]
        ),
    }[layout]
    (tmp_path / layout).write_text(text)
    table = evaluate(tmp_path / layout, tmp_path / "out", videos=folder)
    row = json.loads((tmp_path / "out" / "report.json").read_text())["rows"][MODEL]
    assert row["n"] == 2 and row["miou"] > 0.5 and "refused" not in row and "f1" not in row, table
    with pytest.raises(ValueError, match="--videos"):
        evaluate(tmp_path / layout, tmp_path / "out")


def official_rows():
    shared = {"video": "v.mp4", "query": "a dog runs", "gt_categories": ["Object/ObjectExistence"]}
    wrong = {
        **shared,
        "gt_relevant": False,
        "gt_timestamp": [0, 0],
        "gt_output": "there is no dog in the video",
        "irrelevance_level": "hard",
    }
    right = {**shared, "gt_relevant": True, "gt_timestamp": [2, 6], "gt_output": "2.0 to 6.0"}
    return [
        {**wrong, "model_output": "<ANSWER>there is no dog in the video</ANSWER>"},
        {**wrong, "model_output": "<think>4 to 5</think> no dog can be seen"},
        {**wrong, "model_output": ""},
        {**right, "model_output": "<answer>2.00 to 6.00</answer>"},
        {**right, "model_output": "it is somewhere"},
    ]


def test_a_figure_of_nothing_is_null_for_other_programs_than_python(tmp_path):
    path = tmp_path / "official.json"
    path.write_text(json.dumps(official_rows()[:3]))  # no corrections in them, so no similarity to average
    evaluate_predictions(path, tmp_path / "out")
    text = (tmp_path / "out" / "report.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["rows"][str(path)]["correction_similarity"] is None


def test_official_predictions_are_scored_as_the_official_evaluator_reads_them(tmp_path):
    path = tmp_path / "official.json"
    path.write_text(json.dumps(official_rows()))
    evaluate_predictions(path, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    row = found["rows"][str(path)]
    assert found["reading"] == "official" and row["unreadable"] == 0
    assert (row["accuracy"], row["refused"], row["miou"], row["ra_iou"]) == pytest.approx((4 / 5, 2 / 3, 1 / 2, 3 / 5))
    for name in ("report.md", "report.html"):
        assert "official reading" in (tmp_path / "out" / name).read_text()
    for field, value in (("model_output", None), ("gt_relevant", "yes"), ("gt_timestamp", "2"), ("gt_categories", 5)):
        rows = official_rows()
        rows[3][field] = value
        path.write_text(json.dumps(rows))
        with pytest.raises(ValueError, match=f"official.json, row 3.*{field}"):
            evaluate_predictions(path, tmp_path / "out")


def official_file(path, **changes):
    """The rows above as the released inference writes them: without a level, with its own paths."""
    rows = [{**row, "irrelevance_level": "", "video": "dataset/videos/v.mp4", **changes} for row in official_rows()]
    path.write_text(json.dumps(rows))
    return path


def data_file(path, level="medium", video="/elsewhere/v.mkv", relevant=False, query="a dog runs", items=1):
    wrong = {"q": query, "r": relevant, "a": "no", "c": ["Attribute/Counting"], "difficulty": level}
    right = {"q": "a dog runs", "r": True, "a": "<answer>2.0 to 6.0</answer>"}
    row = {"video": video, "query_text": "a cat runs", "timestamp": [2, 6], "duration": 9, "GRPO": [right, wrong]}
    path.write_text(json.dumps([row] + [{**row, "GRPO": [{**wrong, "difficulty": "hard"}]}] * (items - 1)))
    return path


def by_difficulty(path, out, **options):
    evaluate_predictions(path, out, **options)
    [row] = [row for name, row in read_json(out / "report.json")["rows"].items() if name == str(path)]
    return row["groups"]["difficulty"]


@pytest.mark.parametrize(
    "changes, data, level",
    [
        ({}, None, "unknown"),
        ({"irrelevance_level": None}, None, "unknown"),
        ({"irrelevance_level": "weak"}, None, "easy"),
        ({"irrelevance_level": "", "hardness_level": "strong"}, None, "hard"),
        ({}, {}, "medium"),
        ({}, {"video": r"C:\videos\v.mp4"}, "medium"),
        ({}, {"video": "v"}, "medium"),
        ({}, {"level": "unknown"}, "unknown"),
        ({}, {"items": 2}, "unknown"),  # the data file has the query twice, under two levels
        ({"irrelevance_level": "weak"}, {}, "easy"),  # what the predictions state is kept
    ],
)
def test_no_prediction_is_reported_under_a_level_that_nobody_stated(changes, data, level, tmp_path, caplog):
    path = official_file(tmp_path / "p.json", **changes)
    options = {} if data is None else {"data": data_file(tmp_path / "d.json", **data)}
    assert by_difficulty(path, tmp_path / "out", **options) == {level: {"refused": pytest.approx(2 / 3), "n": 3}}
    assert ("3 irrelevant queries have no stated difficulty" in caplog.text) == (
        level == "unknown" and data is not None
    )


def test_predictions_that_are_not_in_the_data_are_named(tmp_path, caplog):
    path = official_file(tmp_path / "p.json")
    rows = read_json(path)
    rows[1] |= {"query": "a bird sings", "gt_categories": ["Negation/Negation"]}
    path.write_text(json.dumps(rows))
    found = by_difficulty(path, tmp_path / "out", data=data_file(tmp_path / "d.json"))
    said = caplog.text
    assert {name: group["n"] for name, group in found.items()} == {"medium": 2, "unknown": 1}
    assert "1 of 5 predictions, such as row 1, are not in the data file" in said
    assert f"{path}, row 1, gt_categories: unknown category 'Negation/Negation' is left out" in said
    for data, message in (({"query": "x"}, "row 0.*relevant in one of"), ({"video": "w.mp4"}, "none of the queries")):
        with pytest.raises(InputError, match=message):
            evaluate_predictions(path, tmp_path / "out", data=data_file(tmp_path / "d.json", **data))
    for level in ("brutal", "original"):
        with pytest.raises(InputError, match=f"p.json, row 0.*irrelevance_level.*{level}"):
            evaluate_predictions(official_file(path, irrelevance_level=level), tmp_path / "out")


def test_predictions_with_their_data_on_the_command_line(tmp_path, capsys):
    path, data = official_file(tmp_path / "p.json"), data_file(tmp_path / "d.json")
    with pytest.raises(SystemExit) as done:
        main(["evaluate", "--predictions", str(path), "--data", str(data), "--out", str(tmp_path / "out")])
    assert done.value.code == 0 and read_json(tmp_path / "out" / "report.json")["data"] == str(data)


def test_two_models_are_compared_sample_by_sample(tmp_path, world):
    folder = ROOT / "data" / "samples"
    samples = [
        dataclasses.replace(s, video=str(folder / "clips" / Path(s.video).name)) for c in world for s in c.group
    ][:6]
    write_predictions(tmp_path / "oracle.jsonl", reference_predictions(samples, "oracle"))
    table = evaluate(folder, tmp_path / "out", limit=6, against=tmp_path / "oracle.jsonl")
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    row = found["rows"][MODEL]
    assert found["paired"]["accuracy"]["difference"] == pytest.approx(row["accuracy"] - 1)
    assert "accuracy: -" in table and "sample by sample" in (tmp_path / "out" / "report.html").read_text()
    write_predictions(tmp_path / "oracle.jsonl", reference_predictions(samples[:4], "oracle"))
    with pytest.raises(ValueError, match="4 predictions for 6"):
        evaluate(folder, tmp_path / "out", limit=6, against=tmp_path / "oracle.jsonl")


def test_two_processes_answer_as_one_and_go_on_after_a_kill(base, tmp_path, world):
    samples = [s for clip in world[:4] for s in clip.group]
    one = predict(base, samples, output=tmp_path / "one.jsonl")
    lines = (tmp_path / "one.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "two.jsonl").write_text("".join(lines[:2]))
    with GuardedReader() as reader:
        asker = load_asker(MODEL, reader, batch_size=2, processes=2)
        two = predict(asker, samples, output=tmp_path / "two.jsonl")
    assert [p.completion for p in two] == [p.completion for p in one]
    assert (tmp_path / "two.jsonl").read_text().splitlines(keepends=True)[:2] == lines[:2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.jsonl", "two.jsonl"]
    with pytest.raises(ValueError, match="line 1: answers another question: its 'query' is"):
        predict(base, samples[1:], output=tmp_path / "two.jsonl")


@pytest.fixture
def broken(tmp_path, world):
    """Annotations of four videos: the second is cut, the third is missing. Returns the file and the folder."""
    folder = tmp_path / "videos"
    folder.mkdir()
    rows = []
    for number, clip in enumerate(world[:4]):
        rows += [{"video": clip.path.name, "query": s.query, "span": [1, 2], "duration": 9} for s in clip.group]
        if number != 2:
            content = clip.path.read_bytes()
            (folder / clip.path.name).write_bytes(content[:50] if number == 1 else content)
    data = tmp_path / "own.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data, folder


def rows_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_bad_videos_are_skipped_counted_and_named(tmp_path, broken, world):
    data, folder = broken
    bad, gone = world[1].path.name, world[2].path.name
    out = tmp_path / "out"
    table = evaluate(data, out, videos=folder, on_bad_video="skip", probes=True)
    found = json.loads((out / "report.json").read_text())
    assert all(row["n"] == 4 for row in found["rows"].values()) and "miou" in found["probes"]["blank"]
    assert (found["left_out"]["queries"], found["left_out"]["of"]) == (4, 8)
    assert [Path(video).name for video in found["left_out"]["videos"]] == [bad, gone]
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for said in (table, text, page):
        assert "left out of all figures: 4 of 8 queries" in said
        assert all(f"{folder / name}: " in said for name in (bad, gone)) and "no such file" in said
    assert ["error" in row for row in rows_of(out)] == [False, False, *[True] * 4, False, False]

    # The same on two processes, and when it goes on after a kill.
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    two = tmp_path / "two"
    two.mkdir()
    (two / "predictions.jsonl").write_text("".join(lines[:3]) + lines[3][:9])
    again = evaluate(data, two, videos=folder, on_bad_video="skip", processes=2)
    assert (two / "predictions.jsonl").read_text() == "".join(lines)
    assert again.split("| miou")[0] == table.split("| miou")[0]

    # Compared with a system that read one of the two: on the samples that both read.
    oracle = tmp_path / "oracle.jsonl"
    samples = [Sample(row["video"], row["query"], [Span(1, 2)], duration=9.0) for row in rows_of(out)]
    given = reference_predictions(samples, "oracle")
    given[0] = Prediction(samples[0], Answer(error="not read there"))
    write_predictions(oracle, given)
    evaluate(data, out, videos=folder, on_bad_video="skip", against=oracle)
    found = json.loads((out / "report.json").read_text())
    assert all(row["n"] == 3 for row in found["rows"].values()) and found["rows"][str(oracle)]["miou"] == 1
    assert found["left_out"]["queries"] == 5 and "not read there" in found["left_out"]["videos"].values()

    # A video that is repaired, and one that is found, with an ending, are asked about; the others stay.
    for clip in world[1:3]:
        (folder / clip.path.name).write_bytes(clip.path.read_bytes())
    evaluate(data, out, videos=folder)
    assert not any("error" in row for row in rows_of(out)) and [rows_of(out)[i] for i in (0, 1, 6, 7)] == [
        json.loads(lines[i]) for i in (0, 1, 6, 7)
    ]
    assert json.loads((out / "report.json").read_text())["left_out"] == {"queries": 0, "of": 8, "videos": {}}


def test_with_stop_what_was_answered_is_kept_and_the_error_names_the_file(tmp_path, broken, world, capsys):
    data, folder = broken
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match=f"{world[2].path.name}.*--on-bad-video skip"):
        evaluate(data, out, videos=folder)
    assert not out.exists(), "a missing video is named before any work"
    (folder / world[2].path.name).write_bytes(world[2].path.read_bytes())
    with pytest.raises(SystemExit):
        main(["evaluate", "--data", str(data), "--videos", str(folder), "--out", str(out)])
    said = capsys.readouterr().err
    assert world[1].path.name in said and "--on-bad-video skip" in said and "kept" in said
    assert [row["query"] for row in rows_of(out)] == [s.query for s in world[0].group]
    with pytest.raises(ValueError, match="choose stop or skip"):
        evaluate(data, out, videos=folder, on_bad_video="ignore")


def test_a_set_without_a_video_that_can_be_read_has_no_figures(tmp_path, broken):
    data, _ = broken
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="none of . queries has an answer"):
        evaluate(data, tmp_path / "out", videos=tmp_path / "empty", on_bad_video="skip")
    with pytest.raises(ValueError, match="has no figures"):
        scores([Prediction(Sample("v", "q", [Span(1, 2)]), Answer(error="cut"))])


@pytest.mark.parametrize("probability", ["0.5", True, 2, -1, float("nan")])
def test_a_prediction_with_a_wrong_probability_is_named(probability, tmp_path):
    sample = Sample("v", "q", [Span(1, 2)])
    path = tmp_path / "p.jsonl"
    row = {"video": "v", "query": "q", "completion": "x", "refusal_probability": probability}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="line 1: the field 'refusal_probability'"):
        read_predictions(path, [sample])


def test_a_video_that_was_missing_is_the_one_that_was_found_since(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"video": "a/x_0.0_2.0", "query": "q", "error": "no such file"}) + "\n")
    assert read_predictions(path, [Sample("a/x_0.0_2.0.mp4", "q")])[0].error
    for other in (Sample("a/x.mp4", "q"), Sample("a/x_0.0_2.0.mp4", "p")):
        with pytest.raises(ValueError, match="answers another question"):
            read_predictions(path, [other])


def test_predictions_of_another_part_of_a_video_are_not_taken(tmp_path):
    """Two samples with the same video and query, about different seconds."""
    whole = Sample("v.mp4", "q", [Span(1, 2)])
    first, second = (dataclasses.replace(whole, start=start, end=start + 10.0) for start in (0.0, 50.0))
    write_predictions(tmp_path / "p.jsonl", [Prediction(first, Answer("<answer>1 to 2</answer>"))])
    assert read_predictions(tmp_path / "p.jsonl", [first])[0].sample == first
    for other in (second, whole):
        with pytest.raises(InputError, match="line 1: answers another question"):
            read_predictions(tmp_path / "p.jsonl", [other])


@pytest.mark.parametrize(
    "option",
    ["--model x", "--processes 4", "--batch 2", "--fps 9", "--max-pixels 5", "--max-new-tokens 9", "--style plain"]
    + ["--device cpu", "--dtype float32", "--reading strict", "--probes", "--limit 3", "--on-bad-video skip"],
)
def test_options_of_asking_do_not_go_with_predictions(tmp_path, capsys, option):
    path = tmp_path / "official.json"
    path.write_text(json.dumps(official_rows()))
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "--predictions", str(path), "--out", str(tmp_path / "out"), *option.split()])
    assert end.value.code == 1 and option.split()[0] in capsys.readouterr().err and not (tmp_path / "out").exists()
