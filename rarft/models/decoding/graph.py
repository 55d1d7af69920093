"""Sampling on a GPU with a CUDA graph: the forward pass of one token is recorded once and replayed for every token.

A GPU reads the weights of a 7B model in a few milliseconds to compute the next token of every completion. Python takes
several times as long to launch the thousand kernels of that pass (benchmarks/step_at_size.py). Replaying a graph
launches them all at once.

The tensors of a graph keep their addresses, so the cache has its full length from the start (`shared_cache.Place`).
"""

from __future__ import annotations

import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from rarft.models.decoding.sampling import Watch, next_tokens
from rarft.models.decoding.shared_cache import SharedPrefixCache
from rarft.models.families import is_whole
from rarft.system.upstream.of_transformers import cache_argument

LOOK_EVERY = 8  # tokens between two checks whether all completions have ended; each check waits for the GPU


def can_record(model: PreTrainedModel | PeftModel) -> bool:
    """Whether all weights of a model are on one GPU: a graph cannot gather them."""
    return (
        model.device.type == "cuda" and is_whole(model) and len(set(getattr(model, "hf_device_map", {}).values())) < 2
    )


def sample_with_graph(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    watch: Watch | None = None,
    **model_kwargs,
) -> torch.Tensor:
    """A sampling loop for `model.generate(custom_generate=…)`. Its cache is a `SharedPrefixCache` with a place.

    Behaves as transformers' `GenerationMixin._sample`, except that the result may have more padding at the end.
    """
    config, ids = generation_config, input_ids
    graph = DecodingGraph(model, model_kwargs[cache_argument(model)], model_kwargs["position_ids"][..., -1:])
    unfinished = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    for done in range(1, config.max_length - ids.shape[1] + 1):
        logits = graph(ids[:, -1:]).float()
        if watch is not None:
            watch.look(logits)
        scores = logits_processor(ids, logits)
        token = next_tokens(scores, unfinished, config)
        ids = torch.cat([ids, token], 1)
        unfinished &= ~stopping_criteria(ids, None)
        if done % LOOK_EVERY == 0 and not unfinished.any():
            break
    return ids


class DecodingGraph:
    """The logits after one more token of each completion. Recorded at the first call, replayed at every call."""

    def __init__(self, model: PreTrainedModel, cache: SharedPrefixCache, position_ids: torch.Tensor):
        """
        Args:
            cache: has a `Place`.
            position_ids: (..., N, 1), of the first token.
        """
        if cache.place is None:
            raise ValueError("the cache of a graph needs a place: SharedPrefixCache(..., place=Place(...))")
        self.model, self.place = model, cache.place
        self.inputs = {
            "input_ids": position_ids.new_empty(position_ids.shape[-2:]),
            "position_ids": position_ids.clone(),
            "use_cache": True,
            cache_argument(model): cache,
        }
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(N, 1) → (N, vocabulary), overwritten by the next call."""
        self.inputs["input_ids"].copy_(input_ids)
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.logits

    def step(self) -> None:
        """Compute `logits`, and move on to the next token."""
        self.place.written.index_fill_(0, self.place.next, True)
        self.logits = self.model(**self.inputs).logits[:, -1]
        self.place.next.add_(1)
        self.inputs["position_ids"].add_(1)

    def _record(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # a first run, not recorded: libraries allocate their workspaces in it
            self.step()
        torch.cuda.current_stream().wait_stream(side)
        self._rewind()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()

    def _rewind(self) -> None:
        self.place.rewind()
        self.inputs["position_ids"].sub_(1)
