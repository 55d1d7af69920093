"""Computing equal beginnings once samples what computing every completion by itself samples."""

import pytest
import torch

from rarft.models.decoding import generation
from rarft.video import read_video


@pytest.fixture
def one_by_one(monkeypatch):
    """A switch to transformers' own loop, in which every completion has a row to its end."""
    return lambda: monkeypatch.setattr(generation, "is_whole", lambda _: False)


def completions(base, world, **options):
    clips = [read_video(c.path) for c in world[:3]]  # of different lengths, so prompts are padded
    queries = [c.group.relevant.query for c in world[:3]]
    torch.manual_seed(0)
    return base.generate(clips, queries, **{"num_generations": 4, "max_new_tokens": 80, **options})


def rows_of_passes(model):
    rows = []
    model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    return rows


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 1.5, 3.0])
def test_the_same_seed_gives_the_same_completions(base, world, one_by_one, temperature, lora):
    if lora:
        base.add_lora(rank=4)
    found = completions(base, world, temperature=temperature)
    assert len(set(found)) == 3 if temperature == 0 else len(set(found)) > 3
    one_by_one()
    assert completions(base, world, temperature=temperature) == found


def test_a_row_for_each_beginning_and_none_for_what_has_ended(base, world):
    rows = rows_of_passes(base.model)
    found = completions(base, world, temperature=1.5, max_new_tokens=300)
    token_count = {len(base.processor.tokenizer(text).input_ids) for text in found}
    assert rows[0] == rows[1] == 3, "the prompts, and the first token of their completions"
    assert 3 < max(rows) <= 12
    assert len(token_count) > 1 and rows[-1] < max(rows), "completions end at different times"


def test_what_is_sure_takes_a_row_a_prompt(base, world):
    rows = rows_of_passes(base.model)
    completions(base, world, max_new_tokens=300)
    assert set(rows[: len(rows) // 2]) == {3} and rows[-1] < 3


def test_another_number_of_completions_begins_alike(base, world):
    """The distribution of a completion does not depend on its siblings: all first tokens come from the same one."""
    alone = completions(base, world, num_generations=1, temperature=0.0, max_new_tokens=300)
    assert completions(base, world, num_generations=5, temperature=0.0, max_new_tokens=300) == [
        text for text in alone for _ in range(5)
    ]
