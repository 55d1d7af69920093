"""Attention over a shared prefix: what the completions of a prompt have in common is computed and stored once.

A group of G completions shares one prompt, and a video makes the prompt long: 1,792 video tokens for an answer of 200,
at the paper's settings. Two places use this, both through one attention function that replaces transformers' "sdpa":

- `rarft.models.decoding.shared_cache`, in generation: the prompt's keys and values are stored once for G completions.
  (The idea: Hydragen, Juravsky et al. 2024.)
- `pack`, in the training pass: one row holds the prompts and, after them, their completions; each attends to its
  prompt and to itself. (The idea: Prefix Grouper, Liu et al. 2025.) Identical completions of a prompt are computed
  once. The pass is a forward pass over an ordinary row, so gradient checkpointing, LoRA, FSDP and DeepSpeed work
  unchanged.

The last token of the prompt counts as the first of each completion: its output predicts the completion's first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from rarft.models.decoding.shared_cache import Shared, attend_to_shared
from rarft.models.families import without_lora
from rarft.system.upstream.of_transformers import attention_of, sdpa_attention_forward, sdpa_mask

NAME = "sdpa_shared_prefix"


def share_prefixes(model: PreTrainedModel | PeftModel) -> bool:
    """Make the language model attend over shared prefixes; nothing else changes.

    Returns False, and changes nothing, if the model does not use transformers' "sdpa" attention.
    """
    inner = without_lora(model)
    config = inner.config.get_text_config()
    if attention_of(config) == "sdpa":
        inner.model.language_model.set_attn_implementation(NAME)
    return attention_of(config) == NAME


def shared_prefix_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, shared_prefix=None, **kwargs
):
    """transformers' attention interface: (B, heads, L, D) queries → (B, L, heads, D), without attention weights.

    Args:
        key, value: `Shared` if they come from a `SharedPrefixCache`, else tensors (B, key heads, L, D).
        shared_prefix: the `Packed` layout of a row from `pack`; None for ordinary rows.
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
    """The layout of a row: B prefixes of P tokens each, then K segments of S tokens each, and their attention masks.

    rows: (N,), the segment of the n-th completion given to `pack`.
    counts: the number of segments of each prefix; segments of one prefix are adjacent.
    prefix_mask: (B, 1, P, P). segment_mask: (B, 1, S, P + S), of every segment of a prefix.
    """

    rows: torch.Tensor
    counts: list[int]
    prefix_mask: torch.Tensor
    segment_mask: torch.Tensor

    @property
    def prefix(self) -> int:
        """P, the number of tokens of a prefix."""
        return self.prefix_mask.shape[-1]

    @property
    def segment(self) -> int:
        """S, the number of tokens of a segment."""
        return self.segment_mask.shape[-2]

    @property
    def prefixes(self) -> int:
        """B * P, the number of tokens of all prefixes."""
        return len(self.counts) * self.prefix

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """Values for each packed token's successor (1, B * P + K * S - 1) → for completion tokens (N, S - 1)."""
        last = values.new_zeros(1)
        segments = torch.cat([values[0, self.prefixes :], last]).view(-1, self.segment)
        return segments[self.rows, :-1]


def pack(
    groups: Sequence[Sequence[int]],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    completion: int,
) -> tuple[torch.Tensor, torch.Tensor, Packed]:
    """Pack prompts and their distinct completions into one row.

    Args:
        groups: the indices of the rows that share a prompt; groups may differ in size.
        input_ids, attention_mask, labels: (N, L + completion) of left-padded prompts and right-padded completions.
        completion: the number of tokens of the completion part.

    Returns input ids and labels (1, B * P + K * S) of B prompts and K distinct completions, with P = L - 1 and
    S = completion + 1, and the layout for the attention.
    """
    device, prefix = input_ids.device, input_ids.shape[1] - completion - 1
    firsts = torch.tensor([group[0] for group in groups], device=device)
    prompt = torch.empty(len(input_ids), dtype=torch.long, device=device)
    for number, group in enumerate(groups):
        prompt[torch.tensor(group, device=device)] = number
    described = [prompt[:, None], *(part[:, prefix + 1 :] for part in (input_ids, attention_mask, labels))]
    distinct, rows = torch.cat(described, 1).unique(dim=0, return_inverse=True)  # sorted: those of a prompt together
    counts = distinct[:, 0].bincount(minlength=len(groups)).tolist()
    new_ids, new_labels = distinct[:, 1 : 1 + completion], distinct[:, 1 + 2 * completion :]
    last = input_ids[firsts, prefix].repeat_interleave(torch.tensor(counts, device=device))[:, None]
    packed_ids = torch.cat([input_ids[firsts, :prefix].flatten(), torch.cat([last, new_ids], 1).flatten()])
    unscored = packed_ids.new_full((len(groups) * prefix,), -100)
    packed_labels = torch.cat([unscored, torch.cat([torch.full_like(last, -100), new_labels], 1).flatten()])
    layout = Packed(rows, counts, *_masks(attention_mask[firsts, :prefix].bool(), completion + 1))
    return packed_ids[None], packed_labels[None], layout


def _masks(real: torch.Tensor, segment: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention masks of prefixes and of their segments; real: (B, P), False for padding."""
    prompts, prefix = real.shape
    causal, own = (torch.ones(n, n, dtype=torch.bool, device=real.device).tril() for n in (prefix, segment))
    itself = torch.eye(prefix, dtype=torch.bool, device=real.device)  # padding without any key would give NaN
    real = real[:, None, None]
    before = real.expand(-1, -1, segment, -1)
    return real & causal | itself, torch.cat([before, own.expand(prompts, 1, -1, -1)], -1)


def pack_positions(positions: torch.Tensor, layout: Packed) -> torch.Tensor:
    """Positions of prompts (..., B, L) → of the packed row (..., 1, B * P + K * S). Each segment continues its prompt's
    positions."""
    counts = torch.tensor(layout.counts, device=positions.device)
    own = positions[..., -1:].repeat_interleave(counts, -2) + torch.arange(layout.segment, device=positions.device)
    return torch.cat([positions[..., :-1].flatten(-2), own.flatten(-2)], -1).unsqueeze(-2)


def _attend_packed(module, query, key, value, layout: Packed, **options) -> torch.Tensor:
    def parts(tensor: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """(1, heads, B * P + K * S, D) → prefixes (B, heads, P, D), and the segments of each (count, heads, S, D)."""
        prefixes, segments = tensor[0].split([layout.prefixes, tensor.shape[2] - layout.prefixes], 1)
        prefixes = prefixes.unflatten(1, (-1, layout.prefix)).transpose(0, 1)
        return prefixes, segments.unflatten(1, (-1, layout.segment)).transpose(0, 1).split(layout.counts)

    (queries, own_queries), (keys, own_keys), (values, own_values) = map(parts, (query, key, value))
    of_prefixes, _ = sdpa_attention_forward(module, queries, keys, values, layout.prefix_mask, **options)
    attended = [of_prefixes.flatten(0, 1)]
    for number, own_query in enumerate(own_queries):
        seen = [
            torch.cat([shared[number].expand(len(own_query), -1, -1, -1), own[number]], 2)
            for shared, own in ((keys, own_keys), (values, own_values))
        ]
        mask = layout.segment_mask[number : number + 1]
        of_segments, _ = sdpa_attention_forward(module, own_query, *seen, mask, **options)
        attended.append(of_segments.flatten(0, 1))
    return torch.cat(attended)[None]
