"""Results of benchmarks: what was measured on another model is not mixed with what is measured now."""

import importlib.util
import json

import numpy as np

from coursekit import ROOT
from rarft.system.files import write_json


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_are_kept_in_the_same_setting_only(tmp_path, capsys):
    resumed = load("resume").resumed
    path = tmp_path / "results.json"
    assert resumed(path, {"base": "a", "clips": 4}, {"runs": []}) == {"base": "a", "clips": 4, "runs": []}
    path.write_text(json.dumps({"base": "a", "clips": 4, "runs": [1], "tables": {}}))
    assert resumed(path, {"base": "a", "clips": 4}, {"runs": []})["runs"] == [1]
    assert capsys.readouterr().out == ""
    assert resumed(path, {"base": "b", "clips": 4}, {"runs": []})["runs"] == []
    assert "another setting (base)" in capsys.readouterr().out


def test_arms_are_compared_clip_by_clip():
    """Queries of a clip that fail together are one fact, not several: the interval is that of means over clips."""
    paired = load("experiment_tables").paired
    kinds = np.array(["relevant", "bound", "absent"] * 8 + ["shuffled"] * 8)
    right = "grr" * 8 + "r" * 8

    def run(letters, seed=0):
        return {"seed": seed, "said": {"rough": {"verdict": letters}}}

    half_of_clips = "rgg" * 4 + right[12:]  # four clips misread, with all their queries
    found = paired([run(right)], [run(half_of_clips)], kinds, "rough")
    assert found["difference"] == 0.5 and (found["seeds"], found["seeds_won"]) == (1, 1)
    a_third_of_each = "rrr" * 8 + right[24:]  # the same kind of query in every clip
    even = paired([run(right)], [run(a_third_of_each)], kinds, "rough")
    assert abs(even["difference"] - 1 / 3) < 1e-9 and abs(even["high"] - even["low"]) < 1e-9
    assert found["high"] - found["low"] > 0.5
    several = paired([run(right), run(right, 2)], [run(right, 1), run(half_of_clips)], kinds, "rough")
    assert several["difference"] == 0.5 and several["seeds"] == 1, "only the seed that both have"
    base = [{**run(half_of_clips), "arm": "base"}]
    assert paired([run(right), run(right, 2)], base, kinds, "rough")["seeds_won"] == 2


def test_a_list_of_numbers_takes_one_line_and_reads_the_same(tmp_path):
    data = {"a": [1, 2.5, -3e-7, None], "b": [], "c": ["1,\n 2", [4], {"d": [[5, 6]]}], "e": "[\n  1\n]"}
    path = write_json(tmp_path / "a.json", data)
    assert json.loads(path.read_text()) == data
    assert '"a": [ 1, 2.5, -3e-07, null ]' in path.read_text()
