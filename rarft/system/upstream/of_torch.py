"""A function of torch that is still a prototype.

- `torch.nn.attention.varlen.varlen_attn` (torch 2.10 and later, on a GPU, 16-bit numbers) attends to sequences of
  different lengths without padding, for `rarft.models.decoding.shared_cache`. Instead: `_one_by_one`, the fallback.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

try:
    from torch.nn.attention.varlen import AuxRequest, varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None

__all__ = ["attend_to_lengths"]


def attend_to_lengths(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    lengths: Sequence[int],
    starts: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to B sequences, with Q queries for each, and the log-sum-exp of each query's scores.

    Args:
        queries: (B * Q, heads, D); the queries of a sequence are adjacent.
        keys, values: (tokens, heads, D), the sequences one after another.
        lengths: of the B sequences. starts: (B + 1,) int32, where each begins, and the end of the last.

    Returns (B * Q, heads, D) and, in float32, (heads, B * Q).
    """
    if varlen_attn is None or not can_attend(queries):
        return _one_by_one(queries, keys, values, lengths, scaling)
    each, usual = len(queries) // len(lengths), queries.shape[-1] ** -0.5
    if not math.isclose(scaling, usual):
        queries = queries * (scaling / usual)
    query_starts = torch.arange(0, len(queries) + 1, each, dtype=torch.int32, device=queries.device)
    arguments = (queries, keys, values, query_starts, starts, each, max(lengths))
    attended, sums = varlen_attn(*arguments, return_aux=AuxRequest(lse=True))
    if sums.shape != queries.shape[1::-1]:
        raise RuntimeError(f"varlen_attn returned sums of shape {tuple(sums.shape)}, not (heads, queries)")
    return attended, sums


def can_attend(queries: torch.Tensor) -> bool:
    """Whether `varlen_attn` supports the device and the dtype of these tensors."""
    return queries.is_cuda and queries.dtype in (torch.bfloat16, torch.float16)


def _one_by_one(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, lengths: Sequence[int], scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    parts = zip(queries.chunk(len(lengths)), keys.split(list(lengths)), values.split(list(lengths)), strict=True)
    for query, key, value in parts:
        scores = torch.einsum("qhd,khd->hqk", query * scaling, key).float()
        sums = scores.logsumexp(-1)
        weights = (scores - sums[..., None]).exp().to(value.dtype)
        found.append((torch.einsum("hqk,khd->qhd", weights, value), sums))
    attended, sums = zip(*found, strict=True)
    return torch.cat(attended), torch.cat(sums, 1)
