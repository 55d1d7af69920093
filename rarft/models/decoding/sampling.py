"""Code shared by the sampling loops: from the scores of a step to its tokens."""

from __future__ import annotations

import torch
from transformers import GenerationConfig


def next_tokens(scores: torch.Tensor, unfinished: torch.Tensor, config: GenerationConfig) -> torch.Tensor:
    """Processed scores (N, vocabulary) → tokens (N, 1), sampled or most likely; padding for ended completions.

    Works as transformers' `GenerationMixin._sample`: equal seeds give equal tokens.
    """
    tokens = torch.multinomial(scores.softmax(-1), 1) if config.do_sample else scores.argmax(-1, keepdim=True)
    return tokens if config.pad_token_id is None else tokens.where(unfinished[:, None], config.pad_token_id)
