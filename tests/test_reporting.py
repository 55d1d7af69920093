import dataclasses
import json
from pathlib import Path

import pytest

from rarft.course import ROOT
from rarft.evaluate import Prediction, markdown, reference_predictions, report, write_predictions
from rarft.evaluation_page import worst, write_page
from rarft.reporting import evaluate_file, predict_in_processes

MODEL = str(ROOT / "data" / "base")


def test_the_page_escapes_what_data_and_model_say(tmp_path, world):
    samples = [s for clip in world[:2] for s in clip.samples]
    attack = "<script>alert(1)</script>"
    samples[0] = dataclasses.replace(samples[0], query=attack, video=f"{attack}.mp4")
    predictions = [Prediction(s, f"<think>{attack}</think><answer>{attack}</answer><correction>{attack}</correction>") for s in samples]
    rows = report({attack: predictions})
    table = markdown(rows, ["n", "f1"])
    path = write_page(tmp_path / "r.html", model=attack, data=attack, machine="m", rows=rows, table=table, predictions=predictions)
    page = path.read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/png;base64,") >= 4, "plots, and the frames of the cases whose video is there"
    assert "not there" in page or "no such file" in page.lower()
    assert "http" not in page, "self-contained"


def test_worst_cases_come_first_and_perfect_ones_not_at_all(world):
    samples = [s for clip in world for s in clip.samples]
    assert worst(reference_predictions(samples, "oracle"), 8) == []
    found = worst(reference_predictions(samples, "never refuse"), 8)
    assert [p.sample.relevant for p, _ in found] == [True] * 4 + [False] * 4
    assert [v for _, v in found[:4]] == sorted(v for _, v in found[:4]) and found[0][1] > 0


def test_evaluation_of_a_folder(tmp_path):
    evaluate_file(MODEL, ROOT / "data" / "samples", tmp_path, limit=6)
    found = json.loads((tmp_path / "report.json").read_text())
    assert set(found["rows"]) == {MODEL, "always refuse", "never refuse", "oracle"} and found["judge"] is None
    assert "| oracle | 6 |" in (tmp_path / "report.md").read_text()
    assert "Worst cases" in (tmp_path / "report.html").read_text()


def test_two_models_are_compared_sample_by_sample(tmp_path, world):
    folder = ROOT / "data" / "samples"
    samples = [dataclasses.replace(s, video=str(folder / "clips" / Path(s.video).name)) for c in world for s in c.samples][:6]
    write_predictions(tmp_path / "oracle.jsonl", reference_predictions(samples, "oracle"))
    table = evaluate_file(MODEL, folder, tmp_path / "out", limit=6, against=tmp_path / "oracle.jsonl")
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    row = found["rows"][MODEL]
    assert found["paired"]["accuracy"]["difference"] == pytest.approx(row["accuracy"] - 1)
    assert "accuracy: -" in table and "sample by sample" in (tmp_path / "out" / "report.html").read_text()
    write_predictions(tmp_path / "oracle.jsonl", reference_predictions(samples[:4], "oracle"))
    with pytest.raises(ValueError, match="4 predictions for 6"):
        evaluate_file(MODEL, folder, tmp_path / "out", limit=6, against=tmp_path / "oracle.jsonl")


def test_two_processes_answer_as_one_and_go_on_after_a_kill(tmp_path, world):
    samples = [s for clip in world[:4] for s in clip.samples]
    one = predict_in_processes(MODEL, samples, tmp_path / "one.jsonl", 1)
    lines = (tmp_path / "one.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "two.jsonl").write_text("".join(lines[:2]))
    two = predict_in_processes(MODEL, samples, tmp_path / "two.jsonl", 2)
    assert [p.completion for p in two] == [p.completion for p in one]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.jsonl", "two.jsonl"]
    with pytest.raises(ValueError, match="line 1"):
        predict_in_processes(MODEL, samples[1:], tmp_path / "two.jsonl", 2)
