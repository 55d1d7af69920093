"""RaTSG's Charades-STA: relevant and irrelevant sentences, for evaluation and as a source of annotations."""

import json
import shutil

import pytest

from coursekit import ROOT
from rarft.asking import LocalAsker
from rarft.asking.dataset import open_dataset, read_samples
from rarft.evaluation.run import evaluate_file
from rarft.hivtg.sources import read_sources
from rarft.schema import Difficulty, Span
from rarft.system.errors import InputError
from rarft.system.files import BASE

OFFICIAL = ROOT / "data" / "released" / "ratsg_charades_sta_test2.0.json"


def sentence(text, timestamp=(), **more):
    return {"sentence": text, "id": "A-0", "timestamp": list(timestamp), "no_answer": not timestamp, **more}


def write(path, **videos):
    path.write_text(json.dumps({name: {"sts": rows, "duration": 30.96} for name, rows in videos.items()}))
    return path


def test_relevant_and_irrelevant_sentences(tmp_path):
    path = write(tmp_path / "a.json", A=[sentence("a person sits", (2, 5.5)), sentence("a dog runs")])
    sits, runs = read_samples(path)
    assert (sits.video, sits.query, sits.spans, sits.duration) == ("A", "a person sits", [Span(2, 5.5)], 30.96)
    assert sits.relevant and sits.difficulty is Difficulty.ORIGINAL
    assert sits.extra == {"id": "A-0"}
    assert not runs.relevant and runs.difficulty is Difficulty.SHUFFLED and not runs.answer and not runs.correction
    source = read_sources([path])["A"]
    assert source.duration == 30.96 and source.spans == {"a person sits": [Span(2, 5.5)]}


@pytest.mark.parametrize(
    "row, message",
    [
        (sentence("x", (5, 2)), "a segment"),
        (sentence("x", (2,)), "a segment"),
        (sentence("x", (2, 3), no_answer="no"), "true or false"),
        ({"sentence": "x", "timestamp": [1, 2]}, "no_answer: missing"),
        (sentence("x", (1, 2), no_answer=True), "no_answer is true"),
        (sentence("x", (40, 50)), "starts after the 30.96 s"),
        (sentence(7, (1, 2)), "query: text was expected"),
        (sentence(" "), "query: empty"),
        (None, "list of objects"),
    ],
)
def test_a_sentence_that_cannot_be_used_is_named_and_the_others_are_read(row, message, tmp_path, caplog):
    path = write(tmp_path / "a.json", A=[sentence("a dog runs")], B=[row, sentence("a cat", (1, 2))], C=[])
    assert [sample.query for sample in read_samples(path)] == ["a dog runs", "a cat"]
    said = caplog.text
    assert f"{path}, row 1" in said and message in said


def test_a_file_without_a_sentence_that_can_be_used_is_refused(tmp_path):
    with pytest.raises(InputError, match="no query that can be used"):
        read_samples(write(tmp_path / "a.json", A=[None]))


def test_an_evaluation_measures_refusals_without_references(base, tmp_path, world):
    clip = world[0]
    shutil.copyfile(clip.path, tmp_path / "A.mp4")
    sample = clip.group.relevant
    rows = [sentence(sample.query, sample.spans[0]), sentence(world[3].group.relevant.query)]
    path = write(tmp_path / "a.json", A=rows)
    evaluate_file(LocalAsker(base), open_dataset(path, tmp_path), tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    row = report["rows"][str(BASE)]
    assert row["n"] == 2 and "f1" in row and "refused" in row and row["explanation_similarity"] is None
    assert report["rows"]["oracle"]["f1"] == 1.0, "it refuses where the file gives no reason, too"
    assert "shuffled" in row["groups"]["difficulty"] and "no categories are judged" in report["offline_judge"]


@pytest.mark.skipif(not OFFICIAL.exists(), reason="no released files")
def test_the_official_file():
    samples = read_samples(OFFICIAL)
    assert len(samples) == 3720 and sum(sample.relevant for sample in samples) == 1860
