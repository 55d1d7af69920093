"""Attention over a prefix that completions share, its two ways, against plain attention row by row."""

import math
from types import SimpleNamespace

import pytest
import torch

from rarft.models.decoding.shared_cache import Place, SharedPrefixCache, attend_to_shared
from rarft.system.upstream import of_torch

BATCH, GROUP, HEADS, KEY_HEADS, SIZE, PROMPT, TOKENS = 3, 4, 6, 2, 16, 9, 5
PADDED = (0, 4, 7)  # tokens of padding before each prompt


@pytest.fixture
def sums_of_lengths(monkeypatch):
    """`varlen_attn` as its documentation says it, for CPUs."""

    def varlen_attn(query, key, value, starts, key_starts, longest_query, longest_key, return_aux):
        attended, sums = torch.zeros_like(query), torch.zeros(query.shape[1::-1])
        for a, b, c, d in zip(starts, starts[1:], key_starts, key_starts[1:], strict=False):
            assert b - a <= longest_query and d - c <= longest_key
            scores = torch.einsum("qhd,khd->hqk", query[a:b], key[c:d]) / math.sqrt(query.shape[-1])
            attended[a:b] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[c:d])
            sums[:, a:b] = scores.logsumexp(-1)
        return attended, sums

    monkeypatch.setattr(of_torch, "varlen_attn", varlen_attn)
    monkeypatch.setattr(of_torch, "AuxRequest", lambda lse: None, raising=False)
    monkeypatch.setattr(of_torch, "can_attend", lambda _: True)


def by_parts_and_whole(device="cpu", dtype=torch.float64, scaling=0.2):
    """What three tokens of each completion get: from a cache with a place, and from plain attention."""
    torch.manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(device, dtype)

    keys, values = drawn(BATCH, KEY_HEADS, PROMPT, SIZE), drawn(BATCH, KEY_HEADS, PROMPT, SIZE)
    mask = torch.stack([torch.arange(PROMPT) >= padded for padded in PADDED]).to(device)
    place = Place(mask, TOKENS)
    prefill = SimpleNamespace(layers=[SimpleNamespace(keys=keys, values=values)])
    layer = SharedPrefixCache(prefill, GROUP, TOKENS, place=place).layers[0]
    parts, whole, own = [], [], ([], [])
    for step in range(3):
        query = drawn(BATCH * GROUP, HEADS, 1, SIZE)
        new = [drawn(BATCH * GROUP, KEY_HEADS, 1, SIZE) for _ in range(2)]
        place.written[step] = True
        place.next.fill_(step)
        parts.append(attend_to_shared(query, *layer.update(*new), None, scaling))
        for kept, tensor in zip(own, new, strict=True):
            kept.append(tensor)
        for row in range(BATCH * GROUP):
            prompt, padded = row // GROUP, PADDED[row // GROUP]
            k, v = (
                torch.cat([of[prompt, :, padded:-1], *[tensor[row] for tensor in kept]], 1)
                for of, kept in zip((keys, values), own, strict=True)
            )
            k, v = (tensor.repeat_interleave(HEADS // KEY_HEADS, 0).double() for tensor in (k, v))
            weights = (query[row].double() @ k.mT * scaling).softmax(-1)
            whole.append((weights @ v).transpose(0, 1))
    return torch.cat(parts).double(), torch.stack(whole)


@pytest.mark.parametrize("scaling", [0.25, 0.7])
def test_without_a_kernel(scaling):
    parts, whole = by_parts_and_whole(scaling=scaling)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scaling", [0.25, 0.7])
def test_with_a_kernel(sums_of_lengths, scaling):
    parts, whole = by_parts_and_whole(scaling=scaling)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_with_the_real_kernel():
    parts, whole = by_parts_and_whole("cuda", torch.bfloat16)
    assert (parts - whole).norm() / whole.norm() < 1e-2


def test_selected_completions_go_on_where_they_were():
    """Completions are forked, forgotten and unevenly shared out; each attends to its prompt and its own past."""
    torch.manual_seed(0)
    keys, values = (torch.randn(BATCH, KEY_HEADS, PROMPT, SIZE, dtype=torch.float64) for _ in range(2))
    real = torch.stack([torch.arange(PROMPT - 1) >= padded for padded in PADDED])
    cache = SharedPrefixCache(SimpleNamespace(layers=[SimpleNamespace(keys=keys, values=values)]), 1, TOKENS)
    prompts, own = [0, 1, 2], [([], []) for _ in range(3)]
    for step, parents in enumerate(([0, 0, 0, 1, 2], [0, 2, 2, 4], [3, 1, 0], [0, 0])):
        cache.select(parents)
        prompts, own = [prompts[p] for p in parents], [tuple(list(part) for part in own[p]) for p in parents]
        new = [torch.randn(len(parents), KEY_HEADS, 1, SIZE, dtype=torch.float64) for _ in range(2)]
        query = torch.randn(len(parents), HEADS, 1, SIZE, dtype=torch.float64)
        mask = torch.cat([real[prompts], torch.ones(len(parents), step + 1, dtype=torch.bool)], 1)[:, None, None]
        found = attend_to_shared(query, *cache.layers[0].update(*new), mask, 0.25)
        for row, prompt in enumerate(prompts):
            for kept, tensor in zip(own[row], new, strict=True):
                kept.append(tensor[row])
            k, v = (
                torch.cat([of[prompt, :, PADDED[prompt] : -1], *kept], 1).repeat_interleave(HEADS // KEY_HEADS, 0)
                for of, kept in zip((keys, values), own[row], strict=True)
            )
            expected = (query[row] @ k.mT * 0.25).softmax(-1) @ v
            torch.testing.assert_close(found[row], expected.transpose(0, 1), atol=1e-6, rtol=1e-5)
