"""What a model said about each sample of a test set: made in batches, kept in a file as they come, read again.

A prediction file is JSON Lines, a row each with `video`, `query`, `completion` and `refusal_probability`, in the order
of the samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, ProcessorMixin

from rarft.errors import InputError
from rarft.files import lines_of, open_to_append, write_text
from rarft.models import VisionCache, generate, refusal_probabilities
from rarft.progress import progress
from rarft.response import Response, parse_response
from rarft.schema import Sample


@dataclass(frozen=True)
class Prediction:
    """A sample and what a model said about it.

    judged: figures by name, added by judges (`rarft.evaluation.judges`).
    refusal_probability: the model's own, see `rarft.models.confidence`; None if it is not known.
    reading: see `rarft.response.parse_response`.
    """

    sample: Sample
    completion: str
    judged: Mapping[str, float] = field(default_factory=dict)
    refusal_probability: float | None = None
    reading: str = "strict"

    @property
    def response(self) -> Response:
        return parse_response(self.completion, self.reading)


def predict(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: Sequence[Sample],
    *,
    vision_cache: VisionCache | None = None,
    batch_size: int = 64,
    output: str | Path | None = None,
    desc: str = "predict",
) -> list[Prediction]:
    """Answer every sample greedily.

    Args:
        output: a prediction file; predictions are added as they come, and those that it holds already (from a run that
            was killed) are kept. A half-written last line is dropped.
    """
    cache = vision_cache or VisionCache(model, processor)
    done = read_predictions(output, samples) if output and Path(output).exists() else []
    if output:
        write_predictions(output, done)
    if len(done) == len(samples):
        return done
    for start in progress(range(len(done), len(samples), batch_size), desc=desc):
        new = _answered(model, processor, cache, samples[start : start + batch_size])
        done += new
        if output:
            with open_to_append(output) as file:
                file.writelines(map(_line, new))
    return done


def _answered(
    model: PreTrainedModel, processor: ProcessorMixin, cache: VisionCache, samples: Sequence[Sample]
) -> list[Prediction]:
    features = cache.get([sample.crop for sample in samples])
    queries = [sample.query for sample in samples]
    texts = generate(model, processor, features, queries)
    probabilities = refusal_probabilities(model, processor, features, queries, texts)
    return [
        Prediction(sample, text, refusal_probability=None if np.isnan(p) else float(p))
        for sample, text, p in zip(samples, texts, probabilities, strict=True)
    ]


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> None:
    """Write a prediction file, as `predict` does."""
    write_text(path, "".join(map(_line, predictions)))


def _line(prediction: Prediction) -> str:
    sample = prediction.sample
    row = {"video": sample.video, "query": sample.query, "completion": prediction.completion}
    return json.dumps({**row, "refusal_probability": prediction.refusal_probability}) + "\n"


def read_predictions(path: str | Path, samples: Sequence[Sample]) -> list[Prediction]:
    """Stored predictions for the first samples. Raises InputError if they are of other samples."""
    predictions = []
    for number, line in enumerate(lines_of(path)):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break  # a line that a kill cut short; what follows is written again
        if number >= len(samples) or (row["video"], row["query"]) != (samples[number].video, samples[number].query):
            place = f"{path}, line {number + 1}"
            raise InputError(f"{place}: not the sample of this data set; delete the file or change --out")
        probability = row.get("refusal_probability")
        predictions.append(Prediction(samples[number], row["completion"], refusal_probability=probability))
    return predictions
