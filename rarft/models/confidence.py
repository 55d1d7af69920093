"""How sure is a model that a query is irrelevant? Its own probability of refusing, read where its answer begins.

A threshold on it trades coverage for risk (`rarft.metrics.risk_coverage`), and its AUROC says how well a model tells
relevant from irrelevant queries whatever its habit of refusing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from rarft.models.decoding.generation import chat_texts
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features
from rarft.models.load import prompt_style
from rarft.models.prompt_text import as_text

ANSWER = "<answer>"


def span_tokens(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Ids of the tokens with which a segment can begin: a digit, or the white space before one."""
    words = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    special = set(tokenizer.all_special_ids)
    starts = [i for i, word in enumerate(words) if i not in special and (not word.strip() or word.strip()[0].isdigit())]
    return torch.tensor(starts)


def begun(processor: ProcessorMixin, completion: str) -> str:
    """The beginning of a completion, up to the tag that opens its answer, as text that follows a prompt."""
    return as_text(processor.tokenizer, completion[: completion.index(ANSWER) + len(ANSWER)])


@torch.no_grad()
def refusal_probabilities(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    features: Sequence[VisionFeatures],
    queries: Sequence[str],
    completions: Sequence[str],
) -> np.ndarray:
    """Probability (n,) that each completion, given its own reasoning, continues with a refusal after `<answer>`.

    One forward pass over all of them. NaN for a completion that has no `<answer>`.
    """
    probabilities = np.full(len(completions), np.nan)
    rows = [i for i, text in enumerate(completions) if ANSWER in text]
    if not rows:
        return probabilities
    prompts = chat_texts(processor, [queries[i] for i in rows], prompt_style(model))
    texts = [p + begun(processor, completions[i]) for p, i in zip(prompts, rows, strict=True)]
    inputs = tokenize_with_features(processor, texts, [features[i] for i in rows])
    logits = model(**to_device(inputs, model.device), logits_to_keep=1).logits[:, -1].float()
    suppressed = model.generation_config.suppress_tokens
    if suppressed:
        logits[:, suppressed] = -torch.inf
    answering = torch.softmax(logits, -1)[:, span_tokens(processor.tokenizer).to(logits.device)].sum(-1)
    probabilities[rows] = 1 - answering.double().clamp(0, 1).cpu().numpy()
    return probabilities
