"""The page of the result at a glance: what chapter 09 left, nothing chosen, nothing run that a model wrote."""

import json
import re
import shutil

from coursekit import ROOT, sample_world
from coursekit.site import glance
from rarft.asking.dataset import open_dataset
from rarft.evaluation import Answer, Prediction, write_predictions
from rarft.evaluation.tables import oracle
from rarft.system.files import write_json

HOSTILE = (
    "<think> x </think><answer></script><script>document.title='hit'</script></answer><correction>NIL</correction>"
)


def build(folder):
    """What chapter 09 leaves, as far as the page needs it."""
    sample_world()
    shutil.copytree(ROOT / "data" / "samples", folder / "world" / "test")
    samples = open_dataset(folder / "world" / "test").samples
    for name in glance.SYSTEMS:
        write_predictions(
            folder / "predictions" / f"{name}.jsonl",
            [Prediction(s, Answer(HOSTILE if name == "before" else oracle(s), 0.5)) for s in samples],
        )
    return samples


def test_the_first_queries_with_every_answer(tmp_path):
    samples = build(tmp_path)
    figures = {"f1": 0.5, "miou": None}
    write_json(tmp_path / "results" / "09.json", dict.fromkeys(glance.SYSTEMS, figures))
    page = glance.write_glance(tmp_path / "glance.html", tmp_path).read_text()
    assert page.count("<script") == 1 and "<td>0.50</td>" in page
    data = json.loads(re.search(r"const DATA = (.*);\n", page)[1])
    assert [row["query"] for row in data["queries"]] == [s.query for s in samples[: glance.QUERIES]]
    first = data["queries"][0]
    assert [answer["name"] for answer in first["answers"]] == ["right", *glance.SYSTEMS.values()]
    assert first["answers"][0]["spans"] == first["answers"][-1]["spans"] == [list(samples[0].spans[0])]
    assert "</script>" in first["answers"][1]["text"]
    assert len(data["frames"][first["video"]]) == 2 * samples[0].duration


def test_no_page_before_chapter_09(tmp_path):
    assert glance.write_glance(tmp_path / "glance.html", tmp_path) is None
