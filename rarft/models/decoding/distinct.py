"""Sampling that computes the common beginning of several completions once.

Completions of a prompt often begin with the same tokens, for example with the same timeline. While two completions are
equal, their next token comes from the same distribution, so they share one row of the batch. When they diverge, the
row's keys and values are copied. Completions that have ended leave the batch; a prompt leaves with its last
completion.
"""

from __future__ import annotations

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from rarft.models.decoding.sampling import Part, Watch, next_tokens
from rarft.system.upstream.of_transformers import cache_argument

FEW = 8  # ended rows stay in the batch until they are more than an eighth of it


def sample_distinct(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    part: Part | None = None,
    watch: Watch | None = None,
    **model_kwargs,
) -> torch.Tensor:
    """A sampling loop for `model.generate(custom_generate=…)`. Its cache is a `SharedPrefixCache` with one completion
    for each prompt. part: which completions these are, if other batches hold the rest.

    Behaves as transformers' `GenerationMixin._sample`: equal seeds give equal samples, up to rounding, which depends on
    the batch size.
    """
    config, ids, cache = generation_config, input_ids, model_kwargs[cache_argument(model)]
    prompts = cache.layers[0].seats.prompts
    group = len(ids) // len(prompts)
    row_of = torch.tensor(prompts, device=ids.device).repeat_interleave(group)  # of each completion, in the batch
    tokens = ids[::group, -1:]
    positions, mask = model_kwargs["position_ids"][..., ::group, -1:], model_kwargs.get("attention_mask")
    if mask is None:  # transformers drops it if no prompt is padded
        mask = torch.ones_like(ids)
    mask = mask[::group]
    unfinished = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    while True:
        inputs = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}
        logits = model(**inputs, **{cache_argument(model): cache}, use_cache=True).logits[:, -1].float()
        if watch is not None:
            watch.look(logits, row_of)
        scores = logits_processor(ids, logits[row_of])
        token = next_tokens(scores, unfinished, config, part)
        ids = torch.cat([ids, token], 1)
        unfinished &= ~stopping_criteria(ids, None)
        if not unfinished.any():
            return ids
        going = unfinished.nonzero()[:, 0]
        distinct, rows = torch.stack([row_of[going], token[going, 0]], 1).unique(dim=0, return_inverse=True)
        parents, tokens = distinct[:, 0], distinct[:, 1:]
        row_of = torch.zeros_like(row_of)  # ended completions read any row; their token is not used
        ended = len(mask) - len(parents)
        if 0 <= ended * FEW <= len(mask) and len(parents.unique()) == len(parents):
            # No row diverged and few have ended. Ended rows stay, because removing them would copy all the others.
            row_of[going] = parents[rows]
            tokens = tokens.new_zeros(len(mask), 1).index_copy(0, parents, tokens)
        else:
            row_of[going] = rows
            cache.select(parents.tolist())
            mask, positions = mask[parents], positions[..., parents, :]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        positions = positions + 1
