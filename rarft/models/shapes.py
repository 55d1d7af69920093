"""Published models without weights: every module with its shapes, to estimate what a run costs before any download.

The shapes are those of the checkpoints' own config.json.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
ARCHITECTURES = {
    "qwen2.5-vl-3b": {
        "text_config": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        "vision_config": {**_VISION, "out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "qwen2.5-vl-7b": {
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
        "vision_config": {**_VISION, "out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}


def empty_model(name: str) -> PreTrainedModel:
    """A model without weights, on torch's "meta" device. Raises KeyError for a name that is not in `ARCHITECTURES`."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # slow to import, and seldom needed

    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**ARCHITECTURES[name]))


def count(model: torch.nn.Module, *, trained: bool = False) -> int:
    """The number of parameters of a model, or only of the trainable ones; tied parameters count once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)
