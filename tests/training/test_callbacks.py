"""Watch: the model's answers to the same queries during a run."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState

from coursekit import sample_world
from rarft.training.callbacks import Watch


class Recorded(torch.nn.Module):
    """A model of which only the mode is looked at."""


@pytest.fixture
def model():
    return Recorded()


@pytest.fixture
def watch(model):
    """A Watch that asks two queries every three steps; the answers name the mode that the model was asked in."""
    samples = list(sample_world()[0].group)[:2]

    def generate(crops, queries):
        assert crops == [sample.crop for sample in samples]
        return [f"<think> x </think> {query}, {'training' if model.training else 'asked'}" for query in queries]

    return Watch(SimpleNamespace(generate=generate), samples, every=3)


def run(watch, model, steps):
    """What a trainer calls during a run of so many steps."""
    state, control = TrainerState(), TrainerControl()
    for step in range(steps):
        state.global_step = step
        watch.on_step_begin(None, state, control, model=model)
    state.global_step = steps
    watch.on_train_end(None, state, control, model=model)


def test_it_asks_every_few_steps_and_at_the_end(watch, model):
    run(watch, model, 8)
    assert [step for step, _ in watch.answers] == [0, 3, 6, 8]
    queries = [sample.query for sample in watch.samples]
    for _, answers in watch.answers:
        assert answers == [f"<think> x </think> {query}, asked" for query in queries]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(watch, model, training):
    model.train(training)
    run(watch, model, 1)
    assert model.training is training


def test_the_table_has_a_row_for_each_step_and_no_thinking(watch, model, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda made: shown.append(made.data))
    run(watch, model, 4)
    watch.answers[0] = (0, ["<think> y </think> <b>", "cut off"])
    watch.show()
    [table] = shown
    assert table.count("<tr>") == 1 + len(watch.answers)
    assert "&lt;b&gt;" in table and "cut off" in table and "think" not in table
