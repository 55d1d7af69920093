"""Prompts about videos → completions. Each video is encoded once and each prompt prefilled once, for any number of
completions: with a group of G completions that is a G-th of the plain way's vision and prompt compute. What the
completions of a prompt have in common is computed once, too (`rarft.models.decoding.distinct`).
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, ProcessorMixin

from rarft.models.decoding.distinct import sample_distinct
from rarft.models.decoding.graph import can_record, sample_with_graph
from rarft.models.decoding.shared_cache import Place, SharedPrefixCache
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.models.families import encode_clips, family_of, is_whole, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features
from rarft.models.load import max_new_tokens as model_limit
from rarft.models.load import prompt_style
from rarft.models.prompt_text import prompt_text
from rarft.prompts import build_prompt
from rarft.schema import without_surrogates
from rarft.system.upstream.of_transformers import cache_argument
from rarft.video import Clip

log = logging.getLogger(__name__)


def chat_texts(processor: ProcessorMixin, queries: list[str], style: str) -> list[str]:
    """Chat-templated prompts, each ending where the model's turn begins; see `rarft.models.prompt_text`."""
    return [prompt_text(processor, build_prompt(query, style)) for query in queries]


def unknown_words(processor: ProcessorMixin, query: str) -> list[str]:
    """The words of a query that the model's tokenizer has no token for, such as "door" for the tiny base.

    None for tokenizers that can spell any word, as those of all published models can.
    """
    tokenizer = processor.tokenizer
    if tokenizer.unk_token_id is None or not tokenizer.is_fast:
        return []
    as_text = {"add_special_tokens": False, "split_special_tokens": True}
    tokens = tokenizer(without_surrogates(query), return_offsets_mapping=True, **as_text)
    places = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    return [query[begin:end] for token, (begin, end) in places if token == tokenizer.unk_token_id]


def note_of_unknown_words(processor: ProcessorMixin, query: str) -> str | None:
    """A warning for a query with words that the model cannot read; None if it can read all."""
    words = ", ".join(dict.fromkeys(unknown_words(processor, query)))
    return f"{query!r}: this model has no tokens for: {words}. Its answer says nothing about them." if words else None


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    clips: list[Clip] | list[VisionFeatures],
    queries: list[str],
    *,
    num_generations: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int | None = None,
) -> list[str]:
    """Complete each query about its clip.

    Args:
        clips: one for each query; `VisionFeatures` where the tower has run already.
        num_generations: completions for each query; those of one query stand together in the result.
        max_new_tokens: the model's own number by default, see `rarft.models.settings`.
        temperature: 0 for the most likely tokens, else sampling (seed it with `torch.manual_seed`).

    Returns len(queries) * num_generations texts, the end-of-turn token left out. A query with words that the model has
    no tokens for is logged as a warning."""
    for query in dict.fromkeys(queries):
        note = note_of_unknown_words(processor, query)
        if note:
            log.warning(note)
    features = clips if isinstance(clips[0], VisionFeatures) else encode_clips(model, processor, clips)
    texts = chat_texts(processor, queries, prompt_style(model))
    inputs = to_device(tokenize_with_features(processor, texts, features), model.device)
    config = GenerationConfig.from_model_config(model.config)
    config.update(**model.generation_config.to_diff_dict())
    config.update(
        do_sample=temperature > 0, temperature=temperature or 1.0, max_new_tokens=max_new_tokens or model_limit(model)
    )
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
    """(B, 1): what to add to a token's place to get its M-RoPE position, from the end of the prompt on.

    Counted from the last token of the prompt, as a forward pass over prompt and completion counts. transformers' own
    offset (`rope_deltas`) counts from the largest position; in Qwen2.5-VL that is the end of a long video, beyond the
    text after it, and log-probabilities of generation and training would differ.
    """
    positions = prompt_positions(model, inputs)
    return (positions[:, :, -1].amax(0) + 1 - inputs["attention_mask"].sum(1))[:, None]


@torch.no_grad()
def generate_from_shared_prefix(
    model: PreTrainedModel, inputs: dict, config: GenerationConfig, num_generations: int
) -> torch.Tensor:
    """`model.generate` for several completions of each prompt, each prompt read once, its keys and values kept once.
    On a GPU the forward pass of a token is a CUDA graph; elsewhere equal beginnings of completions are computed once.

    Args:
        inputs: of (B, L) left-padded prompts, as `tokenize_with_features` makes them.

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
