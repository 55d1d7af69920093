"""A forward pass that is recorded once and replayed samples what the ordinary one samples."""

from types import SimpleNamespace

import pytest
import torch

from rarft.models.decoding import generation
from rarft.models.decoding.graph import DecodingGraph, can_record
from rarft.video import read_video


@pytest.fixture
def on_cpu(monkeypatch):
    """Everything of a graph but the graph: its replay computes the step again."""

    def record(self):
        self.step()
        self._rewind()
        self.graph = SimpleNamespace(replay=self.step)

    monkeypatch.setattr(DecodingGraph, "_record", record)
    return lambda: monkeypatch.setattr(generation, "can_record", lambda _: True)


def completions(base, world, **options):
    clips = [read_video(c.path) for c in world[:3]]
    queries = [c.group.relevant.query for c in world[:3]]
    torch.manual_seed(0)
    settings = {"num_generations": 3, "temperature": 1.5, "max_new_tokens": 60, **options}
    return base.generate(clips, queries, **settings)


@pytest.mark.parametrize("lora", [False, True])
def test_the_same_seed_gives_the_same_completions(base, world, on_cpu, lora):
    if lora:
        base.add_lora(rank=4)
    expected = completions(base, world)
    assert len(set(expected)) > 3  # the temperature is high enough to tell them apart
    on_cpu()
    assert completions(base, world) == expected
    assert completions(base, world) == expected  # nothing is left over from the first time


def test_a_model_on_the_cpu_is_not_recorded(base):
    assert not can_record(base.model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_graph_gives_the_same_answers(base, world, monkeypatch):
    base.model.to("cuda")
    greedy = completions(base, world, temperature=0.0, max_new_tokens=200)
    monkeypatch.setattr(generation, "can_record", lambda _: False)
    assert completions(base, world, temperature=0.0, max_new_tokens=200) == greedy
    assert len(set(greedy)) == 3
