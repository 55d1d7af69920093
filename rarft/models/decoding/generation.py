"""Prompts about videos → completions. Each video is encoded once and each prompt prefilled once, for any number of
completions: G completions take 1/G of the vision and prompt compute of plain generation. Common beginnings of the
completions are computed once, too (`rarft.models.decoding.distinct`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rarft.models.decoding.distinct import sample_distinct
from rarft.models.decoding.graph import can_record, sample_with_graph
from rarft.models.decoding.sampling import Part, Watch
from rarft.models.decoding.shared_cache import Place, SharedPrefixCache
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.models.families import family_of, is_whole, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_prompts, video_inputs
from rarft.models.workers import batches, run_parts, shares
from rarft.system.upstream.of_transformers import cache_argument

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel


class Sampled(NamedTuple):
    """Completions of prompts.

    ids: the tokens of each completion, with padding after its end.
    following: for each completion, the probability that one of the watched tokens comes right after the first
    occurrence of the watched text. NaN if the text does not occur or the probability was not computed.
    """

    ids: list[list[int]]
    following: list[float]


@torch.inference_mode()
def complete(
    video_model: VideoModel,
    features: Sequence[VisionFeatures],
    prompts: Sequence[str],
    *,
    num_generations: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int | None = None,
    **options: Any,
) -> tuple[list[str], list[float]]:
    """Complete prompts (`rarft.models.prompt_text`) with one video each; see `VideoModel.generate`.

    Args:
        options: further arguments of `sample`.

    Returns the texts and their `Sampled.following`."""
    model, processor = video_model.model, video_model.processor
    length = max_new_tokens or video_model.settings.max_new_tokens
    config = GenerationConfig.from_model_config(model.config)
    config.update(**model.generation_config.to_diff_dict())
    config.update(do_sample=temperature > 0, temperature=temperature or 1.0, max_new_tokens=length)
    ids = tokenize_prompts(processor, prompts, features)
    sampled = sample(video_model, ids, features, config, num_generations, **options)
    texts = processor.batch_decode(sampled.ids, skip_special_tokens=True)
    return [text.strip() for text in texts], sampled.following


def sample(
    video_model: VideoModel,
    prompt_ids: Sequence[list[int]],
    features: Sequence[VisionFeatures],
    config: GenerationConfig,
    num_generations: int,
    *,
    batch_size: int | None = None,
    watched: tuple[str, Sequence[int]] | None = None,
) -> Sampled:
    """Complete prompts with one video each, in as many processes as the model uses. Equal seeds give equal completions
    for any number of processes, up to rounding, which depends on the batch size.

    Args:
        prompt_ids: the tokens of each prompt, including its video tokens, without padding.
        batch_size: the most prompts that go through the model of one process together; no limit by default.
        watched: a text and token ids, see `Sampled.following`.

    Returns `num_generations` adjacent completions for each prompt.
    """
    lengths = [len(ids) for ids in prompt_ids]
    on_cpu = video_model.model.device.type == "cpu"
    if config.do_sample and not (on_cpu and share_prefixes(video_model.model)):
        dealt = [[list(range(len(lengths)))]]  # other loops draw random numbers for all completions together
    elif batch_size is None:
        dealt = [[rows] for rows in shares(video_model, lengths, each=num_generations)]
    else:
        dealt = batches(video_model, lengths, batch_size)
    in_parts = config.do_sample and sum(map(len, dealt)) > 1
    work = _Work(config, num_generations, len(lengths), torch.get_rng_state() if in_parts else None, watched)
    given = [
        ([([prompt_ids[i] for i in rows], [features[i] for i in rows], rows) for rows in some], work) for some in dealt
    ]
    found = [batch for part in run_parts(video_model, _sample_batches, given) for batch in part]
    if in_parts:  # continue with the random state after the longest completion, as a single batch would
        torch.set_rng_state(max(found, key=lambda batch: len(batch[0].ids[0]))[1])
    ids: list[list[int]] = [[] for _ in range(len(lengths) * num_generations)]
    following = [math.nan] * len(ids)
    for rows, (sampled, _) in zip((rows for some in dealt for rows in some), found, strict=True):
        places = [row * num_generations + number for row in rows for number in range(num_generations)]
        for place, tokens, probability in zip(places, *sampled, strict=True):
            ids[place], following[place] = tokens, probability
    return Sampled(ids, following)


class _Work(NamedTuple):
    """What all batches of a `sample` share. prompts: the number of prompts in all batches. random: the state of the
    random generator before sampling; None if there is one batch or decoding is greedy."""

    config: GenerationConfig
    num_generations: int
    prompts: int
    random: torch.Tensor | None
    watched: tuple[str, Sequence[int]] | None


def _sample_batches(
    video_model: VideoModel, given: Sequence[tuple], work: _Work
) -> list[tuple[Sampled, torch.Tensor | None]]:
    """Completions of each batch, and the state of the random generator after them.

    given: for each batch the tokens of its prompts, the features of their videos, and their indices among all prompts.
    """
    return [_sample_batch(video_model, *batch, work) for batch in given]


def _sample_batch(
    video_model: VideoModel,
    prompt_ids: Sequence[list[int]],
    features: Sequence[VisionFeatures],
    prompts: Sequence[int],
    work: _Work,
) -> tuple[Sampled, torch.Tensor | None]:
    model, processor = video_model.model, video_model.processor
    inputs = processor.tokenizer.pad({"input_ids": list(prompt_ids)}, return_tensors="pt", padding_side="left")
    inputs = {**inputs, **video_inputs(inputs["input_ids"], features, processor.video_token_id)}
    part = watch = None
    if work.random is not None:
        torch.set_rng_state(work.random)
        rows = torch.tensor(prompts)[:, None] * work.num_generations + torch.arange(work.num_generations)
        part = Part(rows.flatten(), work.prompts * work.num_generations)
    if work.watched is not None:
        watch = Watch(work.watched[1], work.config.suppress_tokens, model.device)
    inputs = to_device(inputs, model.device)
    tokens = generate_from_shared_prefix(model, inputs, work.config, work.num_generations, part=part, watch=watch)
    ids = tokens[:, inputs["input_ids"].shape[1] :].tolist()
    following = [math.nan] * len(ids)
    if watch is not None and watch.probabilities:
        probabilities = torch.stack(watch.probabilities, 1).double().tolist()
        ends = [end_of_text(processor.tokenizer, row, work.watched[0]) for row in ids]
        following = [
            values[end] if end is not None and end < len(values) else math.nan
            for values, end in zip(probabilities, ends, strict=True)
        ]
    return Sampled(ids, following), torch.get_rng_state() if part else None


def end_of_text(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> int | None:
    """The number of tokens up to the end of a text's first occurrence; None without one that ends with a token."""

    def until(count: int) -> str:
        return tokenizer.decode(ids[:count], skip_special_tokens=True)

    if text not in until(len(ids)):
        return None
    count = bisect_left(range(len(ids) + 1), True, key=lambda count: text in until(count))
    return count if until(count).endswith(text) else None  # the last token may continue after the text


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
    model: PreTrainedModel,
    inputs: dict,
    config: GenerationConfig,
    num_generations: int,
    *,
    part: Part | None = None,
    watch: Watch | None = None,
) -> torch.Tensor:
    """`model.generate` for several completions of each prompt, whose keys and values are computed and kept once.
    On a GPU the forward pass of a token is a CUDA graph; elsewhere common beginnings of completions are computed once.

    Args:
        inputs: (B, L) left-padded prompts, as `tokenize_with_features` returns them.
        part: which completions these are, if other batches hold the rest.
        watch: receives the logits of each step. It receives none if the model is sharded or does not use "sdpa"
            attention, because transformers' own loop then runs.

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
        how["custom_generate"] = partial(sample_with_graph, watch=watch)
    elif is_whole(model):
        cache = SharedPrefixCache(prefill, 1, config.max_new_tokens)
        how["custom_generate"] = partial(sample_distinct, part=part, watch=watch)
    else:
        cache = SharedPrefixCache(prefill, num_generations, config.max_new_tokens)
    passed = ("input_ids", "attention_mask", "mm_token_type_ids")
    return model.generate(
        **{name: repeat(inputs[name]) for name in passed if name in inputs},
        **{argument: cache},
        generation_config=config,
        **how,
    )
