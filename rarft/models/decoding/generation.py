"""Prompts about videos → completions. Each video is encoded once and each prompt prefilled once, for any number of
completions: G completions take 1/G of the vision and prompt compute of plain generation. Common beginnings of the
completions are computed once, too (`rarft.models.decoding.distinct`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from rarft.models.decoding.distinct import sample_distinct
from rarft.models.decoding.graph import can_record, sample_with_graph
from rarft.models.decoding.sampling import Part
from rarft.models.decoding.shared_cache import Place, SharedPrefixCache
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.models.families import family_of, is_whole, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_prompts, video_inputs
from rarft.models.workers import run_parts, shares
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
    config = GenerationConfig.from_model_config(model.config)
    config.update(**model.generation_config.to_diff_dict())
    config.update(do_sample=temperature > 0, temperature=temperature or 1.0, max_new_tokens=max_new_tokens)
    ids = sample(video_model, tokenize_prompts(processor, prompts, features), features, config, num_generations)
    return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]


def sample(
    video_model: VideoModel,
    prompt_ids: Sequence[list[int]],
    features: Sequence[VisionFeatures],
    config: GenerationConfig,
    num_generations: int,
) -> list[list[int]]:
    """Complete prompts with one video each, in as many processes as the model uses. Equal seeds give equal completions
    for any number of processes, up to rounding, which depends on the number of rows of a batch.

    Args:
        prompt_ids: the tokens of each prompt, those of its video included, without padding.

    Returns the tokens of `num_generations` completions for each prompt, adjacent, with padding after their end.
    """
    splits = not config.do_sample or (share_prefixes(video_model.model) and not can_record(video_model.model))
    lengths = [len(ids) for ids in prompt_ids]
    parts = shares(video_model, lengths, each=num_generations) if splits else [list(range(len(lengths)))]
    random = torch.get_rng_state() if config.do_sample and len(parts) > 1 else None
    shared = (config, num_generations, len(lengths), random)
    given = [([prompt_ids[i] for i in part], [features[i] for i in part], part, *shared) for part in parts]
    sampled = run_parts(video_model, _sample_part, given)
    if random is not None:  # go on with the random numbers after those of the longest completion
        torch.set_rng_state(max(sampled, key=lambda one: len(one[0][0]))[1])
    completions: list[list[int]] = [[] for _ in range(len(lengths) * num_generations)]
    for part, (rows, _) in zip(parts, sampled, strict=True):
        for place, row in enumerate(rows):
            completions[part[place // num_generations] * num_generations + place % num_generations] = row
    return completions


def _sample_part(
    video_model: VideoModel,
    prompt_ids: Sequence[list[int]],
    features: Sequence[VisionFeatures],
    prompts: Sequence[int],
    config: GenerationConfig,
    num_generations: int,
    total: int,
    random: torch.Tensor | None,
) -> tuple[list[list[int]], torch.Tensor | None]:
    """Completions of some prompts, and the state of the random numbers after them.

    prompts: their numbers among `total` prompts. random: the state before; None if this process samples all prompts."""
    model, processor = video_model.model, video_model.processor
    inputs = processor.tokenizer.pad({"input_ids": list(prompt_ids)}, return_tensors="pt", padding_side="left")
    inputs = {**inputs, **video_inputs(inputs["input_ids"], features, processor.video_token_id)}
    completions = None
    if random is not None:
        torch.set_rng_state(random)
        rows = torch.tensor(prompts)[:, None] * num_generations + torch.arange(num_generations)
        completions = Part(rows.flatten(), total * num_generations)
    ids = generate_from_shared_prefix(
        model, to_device(dict(inputs), model.device), config, num_generations, completions
    )
    return ids[:, inputs["input_ids"].shape[1] :].tolist(), torch.get_rng_state() if random is not None else None


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
    model: PreTrainedModel, inputs: dict, config: GenerationConfig, num_generations: int, part: Part | None = None
) -> torch.Tensor:
    """`model.generate` for several completions of each prompt, whose keys and values are computed and kept once.
    On a GPU the forward pass of a token is a CUDA graph; elsewhere common beginnings of completions are computed once.

    Args:
        inputs: (B, L) left-padded prompts, as `tokenize_with_features` returns them.
        part: which completions these are, if other processes sample the others.

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
        how["custom_generate"] = partial(sample_distinct, part=part)
    else:
        cache = SharedPrefixCache(prefill, num_generations, config.max_new_tokens)
    passed = ("input_ids", "attention_mask", "mm_token_type_ids")
    return model.generate(
        **{name: repeat(inputs[name]) for name in passed if name in inputs},
        **{argument: cache},
        generation_config=config,
        **how,
    )
