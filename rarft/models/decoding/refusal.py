"""The refusal score: the probability that a model's answer is a refusal, computed where the answer begins.

A threshold on the refusal score trades coverage for risk (`rarft.metrics.risk_coverage`). Its AUROC measures how well a
model separates relevant from irrelevant queries, regardless of how often it refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from rarft.models.decoding.generation import complete, generate_from_shared_prefix
from rarft.models.families import plan_of
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features
from rarft.models.prompt_text import as_text
from rarft.models.workers import run_parts, shares
from rarft.reading.answer import read_answer
from rarft.schema import Span
from rarft.system.cores import threads

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

ANSWER = "<answer>"
SEGMENT_TOKENS = 24  # enough for the two numbers of a segment


@lru_cache(8)
def span_tokens(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Ids of the tokens that can begin a segment: a digit, or white space before one."""
    words = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    special = set(tokenizer.all_special_ids)
    starts = [i for i, word in enumerate(words) if i not in special and (not word.strip() or word.strip()[0].isdigit())]
    return torch.tensor(starts)


def answer(
    video_model: VideoModel,
    features: Sequence[VisionFeatures],
    queries: Sequence[str],
    *,
    batch_size: int | None,
    scored: bool,
) -> tuple[list[str], np.ndarray]:
    """See `VideoModel.answer`. The refusal scores come from probabilities that the decoding loop records."""
    watched = (ANSWER, span_tokens(video_model.processor.tokenizer).tolist()) if scored else None
    prompts = video_model.prompt_texts(queries)
    texts, answering = complete(video_model, features, prompts, batch_size=batch_size, watched=watched)
    scores = 1 - np.clip(answering, 0, 1)
    rest = [i for i, text in enumerate(texts) if np.isnan(scores[i]) and ANSWER in text] if scored else []
    if rest:  # transformers' own loop was used, or `<answer>` ends inside a token
        given = ([values[i] for i in rest] for values in (features, queries, texts))
        scores[rest] = refusal_scores(video_model, *given)
    return texts, scores


def refusal_scores(
    video_model: VideoModel, features: Sequence[VisionFeatures], queries: Sequence[str], completions: Sequence[str]
) -> np.ndarray:
    """The probability (n,) that each completion, given its own reasoning, continues with a refusal after `<answer>`.

    Takes one forward pass, which the model's processes share. NaN for a completion without `<answer>`.
    """
    scores = np.full(len(completions), np.nan)
    rows = [i for i, text in enumerate(completions) if ANSWER in text]
    if not rows:
        return scores
    lengths = [len(features[row].embeds) + len(completions[row].split()) for row in rows]
    parts = [[rows[i] for i in part] for part in shares(video_model, lengths)]
    given = [tuple([values[i] for i in part] for values in (features, queries, completions)) for part in parts]
    for part, found in zip(parts, run_parts(video_model, _scores_of_part, given), strict=True):
        scores[part] = found
    return scores


@torch.no_grad()
def _scores_of_part(
    video_model: VideoModel, features: Sequence[VisionFeatures], queries: Sequence[str], completions: Sequence[str]
) -> np.ndarray:
    model = video_model.model
    inputs = _up_to_answer(video_model, features, queries, completions)
    logits = model(**inputs, logits_to_keep=1).logits[:, -1].float()
    suppressed = model.generation_config.suppress_tokens
    if suppressed:
        logits[:, suppressed] = -torch.inf
    answering = torch.softmax(logits, -1)[:, span_tokens(video_model.processor.tokenizer).to(logits.device)].sum(-1)
    return 1 - answering.double().clamp(0, 1).cpu().numpy()


def forced_segment(video_model: VideoModel, features: VisionFeatures, query: str, completion: str) -> Sequence[Span]:
    """The segment that a model gives after its own reasoning if its answer is forced to begin with a number.

    Empty if the completion has no `<answer>`, or if the forced answer has no segment.
    """
    if ANSWER not in completion:
        return ()
    model, processor = video_model.model, video_model.processor
    inputs = _up_to_answer(video_model, [features], [query], [completion])
    others = torch.ones(len(processor.tokenizer), dtype=torch.bool)
    others[span_tokens(processor.tokenizer)] = False
    settings = {
        **model.generation_config.to_diff_dict(),
        "do_sample": False,
        "max_new_tokens": SEGMENT_TOKENS,
        "begin_suppress_tokens": others.nonzero().flatten().tolist(),
    }
    with threads(plan_of(video_model).threads):
        ids = generate_from_shared_prefix(model, inputs, GenerationConfig(**settings), 1)
    [text] = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return read_answer(text.split("</answer>")[0])[1]


def _up_to_answer(
    video_model: VideoModel, features: Sequence[VisionFeatures], queries: Sequence[str], completions: Sequence[str]
) -> dict:
    """Inputs of a forward pass over the prompts and the completions up to the tag that opens their answers."""
    tokenizer = video_model.processor.tokenizer
    begun = [as_text(tokenizer, text[: text.index(ANSWER) + len(ANSWER)]) for text in completions]
    texts = [prompt + text for prompt, text in zip(video_model.prompt_texts(queries), begun, strict=True)]
    inputs = tokenize_with_features(video_model.processor, texts, features)
    return to_device(inputs, video_model.model.device)
