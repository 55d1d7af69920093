"""Prompts about videos → completions. Each video is encoded once and each prompt prefilled once, for any number of
completions: G completions take 1/G of the vision and prompt compute of plain generation. Common beginnings of the
completions are computed once, too (`rarft.models.decoding.distinct`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from rarft.models.decoding.distinct import sample_distinct
from rarft.models.decoding.graph import can_record, sample_with_graph
from rarft.models.decoding.shared_cache import Place, SharedPrefixCache
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.models.families import family_of, is_whole, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features
from rarft.system.upstream.of_transformers import cache_argument

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel


@torch.inference_mode()
def complete(
    video_model: VideoModel,
    features: Sequence[VisionFeatures],
    prompts: Sequence[str],
    *,
    num_generations: int,
    temperature: float,
    max_new_tokens: int,
) -> list[str]:
    """Complete prompts (`rarft.models.prompt_text`) with one video each; see `VideoModel.generate`."""
    model, processor = video_model.model, video_model.processor
    inputs = to_device(tokenize_with_features(processor, list(prompts), features), model.device)
    config = GenerationConfig.from_model_config(model.config)
    config.update(**model.generation_config.to_diff_dict())
    config.update(do_sample=temperature > 0, temperature=temperature or 1.0, max_new_tokens=max_new_tokens)
    ids = generate_from_shared_prefix(model, inputs, config, num_generations)
    completions = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(completions, skip_special_tokens=True)]


def prompt_positions(model: PreTrainedModel, inputs: dict) -> torch.Tensor:
    """Positions of the tokens of prompts (B, L), as a forward pass counts them: (3, B, L) for M-RoPE, else (B, L)."""
    if not family_of(model).mrope:
        return torch.arange(inputs["input_ids"].shape[1], device=inputs["input_ids"].device).expand_as(
            inputs["input_ids"]
        )
    names = ("input_ids", "attention_mask", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts")
    return model.model.get_rope_index(**{name: inputs[name] for name in names if name in inputs})[0]


def position_offsets(model: PreTrainedModel, inputs: dict) -> torch.Tensor:
    """(B, 1): what to add to the index of a token after the prompt to get its M-RoPE position.

    Counted from the last token of the prompt, as in a forward pass over prompt and completion. transformers' own offset
    (`rope_deltas`) counts from the largest position. In Qwen2.5-VL that can be the end of a long video, beyond the text
    after it; log-probabilities of generation and training would then differ.
    """
    positions = prompt_positions(model, inputs)
    return (positions[:, :, -1].amax(0) + 1 - inputs["attention_mask"].sum(1))[:, None]


@torch.no_grad()
def generate_from_shared_prefix(
    model: PreTrainedModel, inputs: dict, config: GenerationConfig, num_generations: int
) -> torch.Tensor:
    """`model.generate` for several completions of each prompt, whose keys and values are computed and kept once.
    On a GPU the forward pass of a token is a CUDA graph; elsewhere common beginnings of completions are computed once.

    Args:
        inputs: (B, L) left-padded prompts, as `tokenize_with_features` returns them.

    Returns token ids (B * num_generations, L + new), prompts included.
    """
    inner = without_lora(model)
    sharing = share_prefixes(model)
    prefill = DynamicCache(config=model.config)
    argument = cache_argument(inner)
    model(**inputs, **{argument: prefill}, use_cache=True, logits_to_keep=1)

    def repeat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.repeat_interleave(num_generations, dim=0)

    if family_of(inner).mrope:
        inner.model.rope_deltas = repeat(position_offsets(inner, inputs))
    how: dict[str, Any] = {}
    if not sharing:
        cache = prefill
        cache.batch_repeat_interleave(num_generations)
        cache.crop(-1)
    elif can_record(model):
        place = Place(inputs["attention_mask"], config.max_new_tokens)
        cache = SharedPrefixCache(prefill, num_generations, config.max_new_tokens, place=place)
        how["custom_generate"] = sample_with_graph
    elif is_whole(model):
        cache = SharedPrefixCache(prefill, 1, config.max_new_tokens)
        how["custom_generate"] = sample_distinct
    else:
        cache = SharedPrefixCache(prefill, num_generations, config.max_new_tokens)
    passed = ("input_ids", "attention_mask", "mm_token_type_ids")
    return model.generate(
        **{name: repeat(inputs[name]) for name in passed if name in inputs},
        **{argument: cache},
        generation_config=config,
        **how,
    )
