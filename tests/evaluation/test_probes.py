"""The probes change what a model sees and nothing else, and a model that looks suffers from each."""

import json

import numpy as np
import pytest

from coursekit import ROOT
from rarft.asking import LocalAsker
from rarft.asking.dataset import open_dataset
from rarft.evaluation.probes import CHANGES, blank, frames_shuffled, probe, reversed_in_time, swapped
from rarft.evaluation.run import evaluate_file
from rarft.video import read_video


def test_changes_keep_all_but_the_frames(world):
    clip = read_video(world[0].path)
    for change in (blank, reversed_in_time, frames_shuffled):
        changed = change(clip)
        assert changed.frames.shape == clip.frames.shape and not np.array_equal(changed.frames, clip.frames)
        assert (changed.seconds == clip.seconds).all() and changed.duration == clip.duration
        assert np.array_equal(change(clip).frames, changed.frames), "repeatable"
    assert np.array_equal(reversed_in_time(reversed_in_time(clip)).frames, clip.frames)
    assert np.array_equal(np.sort(frames_shuffled(clip).frames, axis=0), np.sort(clip.frames, axis=0))


def test_swapped_samples_keep_their_query_and_get_another_video(world):
    samples = [s for clip in world for s in clip.group]
    others = swapped(samples)
    assert [s.query for s in others] == [s.query for s in samples]
    assert all(a.crop != b.crop for a, b in zip(samples, others, strict=True))
    assert {s.crop for s in others} == {s.crop for s in samples}
    with pytest.raises(ValueError, match="two or more"):
        swapped(samples[:2])


def test_the_base_looks(base, world):
    rows = probe(base, [s for clip in world for s in clip.group])
    assert set(rows) == {*CHANGES, "query only, a classifier"}
    assert rows["as it is"]["miou"] > 0.9
    for name in ("blank", "reversed", "frames shuffled", "another video"):
        assert rows[name]["miou"] < rows["as it is"]["miou"] - 0.3, name


def test_the_report_shows_the_probes(base, tmp_path):
    evaluate_file(LocalAsker(base), open_dataset(ROOT / "data" / "samples", limit=6), tmp_path, probes=True)
    probes = json.loads((tmp_path / "report.json").read_text())["probes"]
    assert list(probes)[0] == "as it is" and "miou" in probes["blank"]
    assert "Does it look?" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "Does it look?" in page and "frames shuffled" in page
