"""Code shared by the sampling loops: from the scores of a step to its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig


class Watch:
    """Records, at each step of a sampling loop, the total probability of the watched tokens.

    probabilities: for each step, (N,) probabilities, one for each completion.
    """

    def __init__(self, tokens: Sequence[int], suppressed: Sequence[int] | None, device: torch.device):
        """tokens: the watched tokens. suppressed: tokens that are never sampled."""
        self.tokens = torch.tensor(tokens, device=device)
        self.suppressed = torch.tensor(list(suppressed or ()), dtype=torch.long, device=device)
        self.probabilities: list[torch.Tensor] = []

    def look(self, logits: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """Record a step. logits: (R, vocabulary). rows: (N,), the row of each completion; without it, R = N."""
        possible = logits.index_fill(-1, self.suppressed, -torch.inf)
        found = possible.softmax(-1).index_select(-1, self.tokens).sum(-1)
        self.probabilities.append(found if rows is None else found[rows])


class Part(NamedTuple):
    """The completions of one batch among those of all batches. rows: (N,), their indices. total: how many there are."""

    rows: torch.Tensor
    total: int


def next_tokens(
    scores: torch.Tensor, unfinished: torch.Tensor, config: GenerationConfig, part: Part | None = None
) -> torch.Tensor:
    """Processed scores (N, vocabulary) → tokens (N, 1), sampled or most likely; padding for ended completions.

    Works as transformers' `GenerationMixin._sample`: equal seeds give equal tokens. This also holds with a part: it
    draws the random numbers of all completions, as `torch.multinomial` does, and uses those of its own rows.
    """
    if not config.do_sample:
        tokens = scores.argmax(-1, keepdim=True)
    elif part is None:
        tokens = torch.multinomial(scores.softmax(-1), 1)
    else:
        drawn = scores.new_empty(part.total, scores.shape[-1]).exponential_()
        tokens = (scores.softmax(-1) / drawn[part.rows]).argmax(-1, keepdim=True)
    return tokens if config.pad_token_id is None else tokens.where(unfinished[:, None], config.pad_token_id)
