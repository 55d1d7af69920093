"""The shells have the sizes of the published checkpoints; nothing is allocated."""

import pytest

from rarft.models import ARCHITECTURES, PRESETS, count, empty_model, freeze_vision
from rarft.models.lora import add_lora


@pytest.mark.parametrize(("name", "billions"), [("qwen2.5-vl-3b", 3.75), ("qwen2.5-vl-7b", 8.29)])
def test_parameters_are_those_of_the_published_models(name, billions):
    model = empty_model(name)
    assert count(model) / 1e9 == pytest.approx(billions, abs=0.01)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    freeze_vision(model)
    text = ARCHITECTURES[name]["text_config"]
    head = 0 if text["tie_word_embeddings"] else text["vocab_size"] * text["hidden_size"]
    assert count(model, trained=True) == count(model.model.language_model) + head
    # LoRA of rank r adds r * (inputs + outputs) to every linear layer of the language model
    width, inner, heads = (
        text["hidden_size"],
        text["intermediate_size"],
        text["num_key_value_heads"] / text["num_attention_heads"],
    )
    layer = 2 * 2 * width + 2 * (width + heads * width) + 3 * (width + inner)
    assert count(add_lora(model, rank=8), trained=True) == 8 * layer * text["num_hidden_layers"]


def test_shells_are_presets():
    assert set(ARCHITECTURES) <= set(PRESETS)
