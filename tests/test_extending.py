"""A reward, a data format, a judge and a model family of one's own, each added from outside, in one file."""

import json
import sys

import numpy as np
import pytest
import torch

from coursekit import ROOT, sample_world
from rarft.asking import LocalAsker
from rarft.asking.dataset import open_dataset
from rarft.evaluation.reporting import Scoring
from rarft.evaluation.run import evaluate_file
from rarft.hivtg import annotations
from rarft.hivtg.annotations import Format, lines_with_numbers, read_annotations
from rarft.models import FAMILIES, Family
from rarft.models.families import encode_patches
from rarft.rewards import make_rewards
from rarft.schema import Sample, Span
from rarft.system.files import BASE
from rarft.system.plugins import load_callable
from rarft.training import build_trainer, grpo_config
from rarft.video import read_video

OWN = '''
def short_thoughts(completions, **columns):
    """A reward."""
    return [-float(len(text)) for text in completions]


def politeness(predictions):
    """A judge."""
    return [{"polite": float("please" in p.completion)} for p in predictions]
'''


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own", None)


def test_a_reward(own_module, base, world, tmp_path):
    rewards = make_rewards("robust", ["format", "own:short_thoughts"])
    assert rewards[1](["four"]) == [-4.0]
    groups = [clip.group for clip in world[:2]]
    config = grpo_config(tmp_path, num_generations=2, per_device_train_batch_size=4)
    assert build_trainer(base, groups, config, rewards=rewards).reward_func_names == ["format", "short_thoughts"]
    for name in ("own:missing", "nowhere:reward", ":"):
        with pytest.raises(ValueError, match=f"reward {name}.*module:function"):
            make_rewards("robust", [name])


def test_a_judge(own_module, base, tmp_path):
    asker, test_set = LocalAsker(base), open_dataset(ROOT / "data" / "samples", limit=4)
    scoring = Scoring(judges=[load_callable("own:politeness", "judge")])
    table = evaluate_file(asker, test_set, tmp_path / "out", scoring)
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert "polite" in table.splitlines()[0] and rows[str(BASE)]["polite"] == 0.0
    with pytest.raises(ValueError, match="0 figures for 4 predictions"):
        evaluate_file(asker, test_set, tmp_path / "out", Scoring(judges=[lambda predictions: []]))


def test_a_data_format(tmp_path, monkeypatch):
    def sample(line, *, allow_empty):
        video, start, end, query = line.split(";")
        return Sample(video, query, [Span(float(start), float(end))])

    form = Format("semicolons", lambda first: first.count(";") == 3, lines_with_numbers, sample)
    path = tmp_path / "own.txt"
    path.write_text("v.mp4;1;4;a dog runs\nv.mp4;x;4;a cat\n")
    problems = []
    with pytest.raises(ValueError, match="no layout that is known"):
        list(read_annotations(path, problems.append))
    monkeypatch.setattr(annotations, "FORMATS", [form, *annotations.FORMATS])
    assert [s.query for s in read_annotations(path, problems.append)] == ["a dog runs"]
    assert "row 1" in str(problems[0]) and "could not convert" in str(problems[0])


def test_a_model_family(base, monkeypatch):
    """A family whose features are those of Qwen3-VL in reversed order: `generate` uses its own encoder."""

    def reversed_in_time(video_model, clips):
        features = encode_patches(video_model, clips)
        for feature in features:
            feature.embeds.copy_(feature.embeds.flip(0))
        return features

    clip = sample_world()[0]
    video, query = read_video(clip.path), clip.group.relevant.query
    plain = base.generate([video], [query])
    monkeypatch.setitem(FAMILIES, "own_vl", Family("model.visual", reversed_in_time, mrope=True))
    base.model.config.model_type = "own_vl"
    forwards = encode_patches(base, [video])[0].embeds
    assert torch.equal(base.encode([video])[0].embeds, forwards.flip(0))
    assert np.all(base.generate([video], [query]) != plain)
