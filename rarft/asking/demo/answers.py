"""One question to several models: what each says, how sure it is, and which segment it would name if it had to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from rarft.asking.batch import answer_of
from rarft.models import VisionCache, generate, open_model
from rarft.models.confidence import ANSWER, begun, refusal_probabilities, span_tokens
from rarft.models.decoding.generation import chat_texts, generate_from_shared_prefix, note_of_unknown_words
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features
from rarft.models.load import prompt_style
from rarft.reading.segments import read_answer
from rarft.schema import Crop, Span
from rarft.video import GuardedReader

SEGMENT_TOKENS = 24  # enough for the two numbers of a segment


class Model:
    """A model with the name that the page gives it. Asked by one thread at a time."""

    def __init__(self, name: str, path: str | Path, reader: GuardedReader, device: str = "auto"):
        self.name = name
        self.model, self.processor, _ = open_model(path, device=device)
        self.cache = VisionCache(self.model, self.processor, reader=reader)
        self._lock = threading.Lock()

    def ask(self, crop: Crop, query: str) -> dict[str, Any]:
        """What the model says, in plain JSON types: those of `rarft.asking.batch.answer_of`, and

        refusal_probability: its own, or None where its completion has no answer.
        segment_if_asked: [start, end] that it names when it may not refuse, or None.
        note: words that it cannot read, if there are any.

        Raises rarft.system.errors.VideoError for a file that cannot be read.
        """
        with self._lock:
            features = self.cache.get([crop])
            completion = generate(self.model, self.processor, features, [query])[0]
            [probability] = refusal_probabilities(self.model, self.processor, features, [query], [completion])
            answer = answer_of(completion)
            spans = answer["spans"] or forced_segment(self.model, self.processor, features, query, completion)
        return {
            "model": self.name,
            **answer,
            "refusal_probability": None if probability != probability else float(probability),
            "segment_if_asked": list(spans[0]) if spans else None,
            "note": note_of_unknown_words(self.processor, query),
        }


def forced_segment(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    features: Sequence[VisionFeatures],
    query: str,
    completion: str,
) -> Sequence[Span]:
    """The segment that a model names after its own reasoning if its answer has to begin with a number.

    Empty where the completion has no answer, or where no segment comes of it.
    """
    if ANSWER not in completion:
        return ()
    [prompt] = chat_texts(processor, [query], prompt_style(model))
    texts = [prompt + begun(processor, completion)]
    inputs = to_device(tokenize_with_features(processor, texts, features), model.device)
    allowed = span_tokens(processor.tokenizer)
    others = torch.ones(len(processor.tokenizer), dtype=torch.bool).index_fill_(0, allowed, False)
    settings = {
        **model.generation_config.to_diff_dict(),
        "do_sample": False,
        "max_new_tokens": SEGMENT_TOKENS,
        "begin_suppress_tokens": others.nonzero().flatten().tolist(),
    }
    ids = generate_from_shared_prefix(model, inputs, GenerationConfig(**settings), 1)
    [text] = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    _, spans = read_answer(text.split("</answer>")[0])
    return spans
