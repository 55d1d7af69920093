"""Results of benchmarks: what was measured on another model is not mixed with what is measured now."""

import importlib.util
import json

from rarft.course import ROOT


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
