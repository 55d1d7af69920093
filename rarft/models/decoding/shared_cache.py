"""A key-value cache that stores the keys and values of a prompt once, for any number of completions.

The idea: Hydragen, Juravsky et al. 2024. `rarft.models.decoding.generation` creates the cache, and
`rarft.models.decoding.shared_prefix.shared_prefix_attention` reads it in each layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Cache, DynamicCache

from rarft.system.upstream.of_torch import attend_to_lengths
from rarft.system.upstream.of_transformers import DynamicLayer


@dataclass(frozen=True)
class Shared:
    """Keys, or values, of B prompts and of their N completions.

    prefix: of the prompts, (B, heads, P, D); with a place (tokens, heads, D), all prompts one after another.
    own: of the completions, (N, heads, T, D).
    seats: see `Seats`. place: see `Place`; None without a CUDA graph.
    """

    prefix: torch.Tensor
    own: torch.Tensor
    seats: Seats
    place: Place | None = None


class Seats:
    """Which prompt each of N completions continues, and its number among the completions of that prompt.

    prompt, number: (N,). prompts: `prompt` as a list. largest: the largest number of completions of one prompt.
    one_each: whether each prompt has exactly one completion, in the order of the prompts.
    """

    def __init__(self, prompts: Sequence[int], count: int, device: torch.device):
        """
        Args:
            prompts: the number of each completion's prompt.
            count: the number of prompts.
        """
        seen: Counter[int] = Counter()
        numbers = []
        for prompt in prompts:
            numbers.append(seen[prompt])
            seen[prompt] += 1
        self.prompts = list(prompts)
        self.prompt = torch.tensor(self.prompts, device=device)
        self.number = torch.tensor(numbers, device=device)
        self.largest = max(seen.values())
        self.one_each = self.prompts == list(range(count))


class SharedPrefixCache(Cache):
    """Key-value cache of G completions for each of B prompts; the prompts' part is neither copied nor repeated."""

    def __init__(self, prefill: DynamicCache, num_generations: int, max_new_tokens: int, *, place: Place | None = None):
        """
        Args:
            prefill: of the prompts (B, L). Their last token is left out: each completion begins with it.
            place: for a CUDA graph, whose tensors cannot grow; see `rarft.models.decoding.graph`.
        """
        prompts = [prompt for prompt in range(len(prefill.layers[0].keys)) for _ in range(num_generations)]
        layers = [
            SharedPrefixLayer(layer.keys, layer.values, prompts, max_new_tokens, place) for layer in prefill.layers
        ]
        super().__init__(layers=layers)
        self.place = place

    def select(self, completions: Sequence[int]) -> None:
        """Keep the completions with these numbers, and the prompts that they continue. A number that occurs twice
        duplicates its completion. Not for a cache with a place."""
        before, device = self.layers[0].seats, self.layers[0].keys.device
        continued = [before.prompts[number] for number in completions]
        prompts = sorted(set(continued))
        seats = Seats([prompts.index(prompt) for prompt in continued], len(prompts), device)
        for layer in self.layers:
            layer.select(torch.tensor(completions, device=device), torch.tensor(prompts, device=device), seats)


class SharedPrefixLayer(DynamicLayer):
    """One layer of a `SharedPrefixCache`. The completions' keys and values are written in place; concatenation would
    copy them for each token."""

    is_croppable = False

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        prompts: Sequence[int],
        max_new_tokens: int,
        place: Place | None = None,
    ):
        """
        Args:
            keys, values: of the prompts (B, heads, L, D).
            prompts: the number of each completion's prompt.
        """
        super().__init__()
        _, heads, self.prompt, size = keys.shape
        self.prefix_keys, self.prefix_values = keys[:, :, :-1], values[:, :, :-1]
        self.keys = keys.new_empty(len(prompts), heads, max_new_tokens, size)
        self.values = values.new_empty(len(prompts), heads, max_new_tokens, values.shape[-1])
        self.seats, self.place = Seats(prompts, len(keys), keys.device), place
        if place is not None:
            self.prefix_keys, self.prefix_values = place.unpad(self.prefix_keys), place.unpad(self.prefix_values)
            self.keys.zero_()  # unwritten keys and values are read too: masked out, but they must not be NaN
            self.values.zero_()
        self.filled = 0
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[Shared, Shared]:
        """Add the keys and values of new tokens (N, heads, T, D). Returns all of them, the prompts' included."""
        if self.place is not None:
            self.keys.index_copy_(2, self.place.next, key_states)
            self.values.index_copy_(2, self.place.next, value_states)
            return (
                Shared(self.prefix_keys, self.keys, self.seats, self.place),
                Shared(self.prefix_values, self.values, self.seats, self.place),
            )
        start, self.filled = self.filled, self.filled + key_states.shape[2]
        self.keys[:, :, start : self.filled] = key_states
        self.values[:, :, start : self.filled] = value_states
        return (
            Shared(self.prefix_keys, self.keys[:, :, : self.filled], self.seats),
            Shared(self.prefix_values, self.values[:, :, : self.filled], self.seats),
        )

    def select(self, completions: torch.Tensor, prompts: torch.Tensor, seats: Seats) -> None:
        """See `SharedPrefixCache.select`. seats: which of these prompts each completion continues."""
        self.seats = seats
        self.keys, self.values = self._rows(self.keys, completions), self._rows(self.values, completions)
        if len(prompts) < len(self.prefix_keys):
            self.prefix_keys, self.prefix_values = self.prefix_keys[prompts], self.prefix_values[prompts]

    def _rows(self, tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The given rows; only what has been written so far is copied."""
        selected = tensor.new_empty(len(rows), *tensor.shape[1:])
        selected[:, :, : self.filled] = tensor[rows, :, : self.filled]
        return selected

    def get_seq_length(self) -> int:
        """The number of tokens of a prompt and its completion so far."""
        return self.prompt - 1 + self.filled


class Place:
    """The index of the current token, kept in tensors because a CUDA graph cannot count in Python.

    next: (1,), the index of the current token in its completion. written: (T,), which indices hold a token already.
    real: (B, L - 1), False for padding. lengths: tokens of each prompt, without padding and without the last token.
    starts: (B + 1,), the cumulative sums of `lengths`.
    """

    def __init__(self, prompt_mask: torch.Tensor, max_new_tokens: int):
        """
        Args:
            prompt_mask: (B, L), 0 for padding.
        """
        device = prompt_mask.device
        self.next = torch.zeros(1, dtype=torch.long, device=device)
        self.written = torch.zeros(max_new_tokens, dtype=torch.bool, device=device)
        self.real = prompt_mask[:, :-1].bool()
        lengths = self.real.sum(1)
        self.lengths: list[int] = lengths.tolist()
        self.starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()

    def unpad(self, tensor: torch.Tensor) -> torch.Tensor:
        """(B, heads, P, D) → (tokens, heads, D)."""
        return tensor.transpose(1, 2)[self.real]

    def rewind(self) -> None:
        """Go back to the first token."""
        self.next.zero_()
        self.written.zero_()


def attend_to_shared(
    query: torch.Tensor, key: Shared, value: Shared, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Attention of one new token (N, heads, 1, D) per completion → (N, 1, heads, D). The queries of a group are
    multiplied with their prefix in one product."""
    if key.place is not None:
        return _attend_in_parts(query, key, value, scaling)
    (batch, key_heads, prefix, size), rows, seats = key.prefix.shape, len(query), key.seats
    shared_by = query.shape[1] // key_heads  # query heads per key head
    own_queries = query.reshape(rows, key_heads, shared_by, size) * scaling

    def meet(own: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """(N, key heads, heads per key head, X) @ (B, key heads, X, Y), each completion with its own prompt."""
        if seats.one_each:
            return own @ prompts
        together = own.new_zeros(batch, key_heads, seats.largest, *own.shape[2:])
        together[seats.prompt, :, seats.number] = own
        product = together.flatten(2, 3) @ prompts
        return product.unflatten(2, (seats.largest, shared_by))[seats.prompt, :, seats.number]

    to_prefix = meet(own_queries, key.prefix.mT)
    if mask is not None:  # masks the padding before the prompt; a completion has no padding
        to_prefix = to_prefix.masked_fill(~mask[:, :, :, :prefix], torch.finfo(query.dtype).min)
    scores = torch.cat([to_prefix, own_queries @ key.own.mT], -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    on_prefix, on_own = weights.split([prefix, weights.shape[-1] - prefix], -1)
    attended = meet(on_prefix, value.prefix) + on_own @ value.own
    return attended.reshape(rows, 1, query.shape[1], -1)


def _attend_in_parts(query: torch.Tensor, key: Shared, value: Shared, scaling: float) -> torch.Tensor:
    """The same, computed as two softmaxes that are merged by the logarithms of their sums. A fused kernel, which does
    not store its scores, can then handle the prefix, by far the longer part."""
    (rows, heads, _, size), key_heads = query.shape, key.own.shape[1]
    queries = query.reshape(rows, key_heads, -1, size)  # a key head serves several query heads
    to_own = ((queries * scaling) @ key.own.mT).float().masked_fill(~key.place.written, -torch.inf)
    own_sum = to_own.logsumexp(-1)
    from_own = (to_own - own_sum[..., None]).exp().to(value.own.dtype) @ value.own

    together = queries.transpose(1, 2).reshape(-1, key_heads, size)  # (N * query heads per key head, key heads, D)
    prompts = (key.prefix, value.prefix, key.place.lengths, key.place.starts)
    from_prefix, prefix_sum = attend_to_lengths(together, *prompts, scaling)
    from_prefix = from_prefix.view(rows, -1, key_heads, size).transpose(1, 2)
    prefix_sum = prefix_sum.view(key_heads, rows, -1).transpose(0, 1)
    share = torch.sigmoid(prefix_sum - own_sum)[..., None]
    return torch.lerp(from_own.float(), from_prefix.float(), share).to(query.dtype).reshape(rows, 1, heads, size)
