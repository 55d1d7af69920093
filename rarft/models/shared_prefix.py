"""What the completions of a prompt have in common, computed and kept once: attention over a shared prefix.

A group of G completions shares one prompt, and with a video the prompt is nearly all there is: 1,792 tokens of video
before 200 of an answer, at the paper's settings. Two places use that, both by one attention function that stands in for
transformers' "sdpa":

- `rarft.models.shared_cache`, in generation: the prompt's keys and values lie in memory once for G completions. (The
  idea: Hydragen, Juravsky et al. 2024.)
- `pack`, in the training pass: one row holds the prompt and, one after another, its completions; each attends to the
  prompt and to itself. (The idea: Prefix Grouper, Liu et al. 2025.) It is one forward pass over ordinary rows, so
  gradient checkpointing, LoRA, FSDP and DeepSpeed see nothing new.

The last token of the prompt counts as the first of each completion: its output predicts the completion's first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from rarft.models.families import without_lora
from rarft.models.shared_cache import Shared, attend_to_shared
from rarft.upstream.of_transformers import attention_of, sdpa_attention_forward, sdpa_mask

NAME = "sdpa_shared_prefix"


def share_prefixes(model: PreTrainedModel | PeftModel) -> bool:
    """Let the language model attend over shared prefixes; nothing else changes.

    Returns False, with nothing changed, where the model does not use transformers' "sdpa" attention.
    """
    inner = without_lora(model)
    config = inner.config.get_text_config()
    if attention_of(config) == "sdpa":
        inner.model.language_model.set_attn_implementation(NAME)
    return attention_of(config) == NAME


def shared_prefix_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, shared_prefix=None, **kwargs
):
    """transformers' attention interface: (B, heads, L, D) queries → (B, L, heads, D), no weights.

    Args:
        key, value: of a `SharedPrefixCache`, they are `Shared`; else tensors (B, key heads, L, D).
        shared_prefix: the `Packed` of rows that `pack` made; none for ordinary rows.
    """
    if isinstance(key, Shared):
        return attend_to_shared(query, key, value, attention_mask, scaling), None
    if shared_prefix is not None:
        return _attend_packed(module, query, key, value, shared_prefix, scaling=scaling, dropout=dropout), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@dataclass(frozen=True)
class Packed:
    """Rows of a prefix (P tokens) and `group` segments (S tokens each), and which of their tokens see which.

    rows: (N,) where the completion that came in as number n lies among the B * group segments.
    prefix_mask: (B, 1, P, P). segment_mask: (B * group, 1, S, P + S).
    """

    group: int
    rows: torch.Tensor
    prefix_mask: torch.Tensor
    segment_mask: torch.Tensor

    @property
    def prefix(self) -> int:
        return self.prefix_mask.shape[-1]

    @property
    def segment(self) -> int:
        return self.segment_mask.shape[-2]

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """Of each packed token's successor (B, P + group * S - 1) → of each completion's tokens (N, S - 1)."""
        last = values.new_zeros(len(values), 1)
        segments = torch.cat([values[:, self.prefix :], last], 1).view(-1, self.segment)
        return segments[self.rows, :-1]


def pack(
    groups: Sequence[Sequence[int]],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    completion: int,
) -> tuple[torch.Tensor, torch.Tensor, Packed]:
    """Bring completions of the same prompt into one row.

    Args:
        groups: numbers of the rows that share a prompt. Groups need not be of one size; the largest pays for all.
        input_ids, attention_mask, labels: (N, L + completion) of left-padded prompts and right-padded completions.
        completion: tokens of the completion part.

    Returns input ids and labels (B, P + G * S), P = L - 1, S = completion + 1, and what their attention has to know.
    """
    size, device = max(map(len, groups)), input_ids.device
    filled = torch.tensor([[g[i] if i < len(g) else g[0] for i in range(size)] for g in groups], device=device)
    spare = torch.tensor([[i >= len(g) for i in range(size)] for g in groups], device=device)
    firsts, prefix = filled[:, 0], input_ids.shape[1] - completion - 1
    segments = labels[filled, prefix:].masked_fill(spare[..., None], -100)  # (B, G, S)
    segments[..., 0] = -100
    packed_ids = torch.cat([input_ids[firsts, :prefix], input_ids[filled, prefix:].flatten(1)], 1)
    packed_labels = torch.cat([torch.full_like(packed_ids[:, :prefix], -100), segments.flatten(1)], 1)

    real = attention_mask[firsts, None, None, :prefix].bool()
    causal = torch.ones(prefix, prefix, dtype=torch.bool, device=device).tril()
    itself = torch.eye(
        prefix, dtype=torch.bool, device=device
    )  # padding has to see something, or its softmax is not a number
    own = torch.ones(completion + 1, completion + 1, dtype=torch.bool, device=device).tril()
    segment_mask = torch.cat([real.expand(-1, -1, completion + 1, -1), own.expand(len(groups), 1, -1, -1)], -1)
    rows = torch.empty(sum(map(len, groups)), dtype=torch.long, device=device)
    for number, group in enumerate(groups):
        rows[torch.tensor(group, device=device)] = number * size + torch.arange(len(group), device=device)
    layout = Packed(size, rows, real & causal | itself, segment_mask.repeat_interleave(size, 0))
    return packed_ids, packed_labels, layout


def pack_positions(positions: torch.Tensor, group: int, segment: int) -> torch.Tensor:
    """Positions of prompts (..., B, L) → of packed rows (..., B, L - 1 + group * segment): each segment continues from
    the prompt."""
    own = positions[..., -1:] + torch.arange(segment, device=positions.device)
    return torch.cat([positions[..., :-1], *[own] * group], -1)


def _attend_packed(module, query, key, value, layout: Packed, **options) -> torch.Tensor:
    prefix = layout.prefix

    def to_segments(tensor: torch.Tensor) -> torch.Tensor:  # (B, heads, P + G * S, D) → (B * G, heads, S, D)
        return tensor[:, :, prefix:].unflatten(2, (layout.group, layout.segment)).transpose(1, 2).flatten(0, 1)

    def with_prefix(tensor: torch.Tensor) -> torch.Tensor:  # → (B * G, heads, P + S, D)
        shared = tensor[:, None, :, :prefix].expand(-1, layout.group, -1, -1, -1).flatten(0, 1)
        return torch.cat([shared, to_segments(tensor)], 2)

    of_prefix, _ = sdpa_attention_forward(
        module, query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], layout.prefix_mask, **options
    )
    of_segments, _ = sdpa_attention_forward(
        module, to_segments(query), with_prefix(key), with_prefix(value), layout.segment_mask, **options
    )
    return torch.cat([of_prefix, of_segments.unflatten(0, (-1, layout.group)).flatten(1, 2)], 1)
