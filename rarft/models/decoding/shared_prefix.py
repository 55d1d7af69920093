"""Attention over a shared prompt: the keys and values of a prompt are stored once for all its completions.

A group of G completions shares one prompt, and a video makes the prompt long: 1,792 video tokens for an answer of 200,
at the paper's settings. An attention function that replaces transformers' "sdpa" reads the cache of
`rarft.models.decoding.shared_cache`. (The idea: Hydragen, Juravsky et al. 2024.)
"""

from __future__ import annotations

from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from rarft.models.decoding.shared_cache import Shared, attend_to_shared
from rarft.models.families import without_lora
from rarft.system.upstream.of_transformers import attention_of, sdpa_attention_forward, sdpa_mask

NAME = "sdpa_shared_prefix"


def share_prefixes(model: PreTrainedModel | PeftModel) -> bool:
    """Replace the language model's attention by one that can read shared prompts; other inputs give the same results.

    Returns False, and changes nothing, if the model does not use transformers' "sdpa" attention.
    """
    inner = without_lora(model)
    config = inner.config.get_text_config()
    if attention_of(config) == "sdpa":
        inner.model.language_model.set_attn_implementation(NAME)
    return attention_of(config) == NAME


def shared_prefix_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """transformers' attention interface: (B, heads, L, D) queries → (B, L, heads, D), without attention weights.

    Args:
        key, value: `Shared` if they come from a `SharedPrefixCache`, else tensors (B, key heads, L, D).
    """
    if isinstance(key, Shared):
        return attend_to_shared(query, key, value, attention_mask, scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
