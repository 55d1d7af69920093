"""What a model said about each sample of a test set: made in batches, kept in a file as they come, read again.

A prediction file is JSON Lines, a row each with `video`, `query`, `completion` and `refusal_probability`, in the order
of the samples. A sample whose video cannot be read has an `error` in place of the last two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rarft.models import VideoModel
from rarft.models.settings import check_on_bad_video
from rarft.reading.completion import Response, parse_response
from rarft.schema import Crop, Sample, is_finite_number
from rarft.system.errors import InputError, VideoError
from rarft.system.files import TEXT, Field, checked_row, json_lines, open_to_append, write_text
from rarft.system.progress import progress


@dataclass(frozen=True)
class Prediction:
    """A sample and what a model said about it.

    judged: figures by name, added by judges (`rarft.evaluation.judges`).
    refusal_probability: the model's own, see `rarft.models.decoding.refusal`; None if it is not known.
    reading: see `rarft.reading.completion.parse_response`.
    error: why its video cannot be read. Such a prediction has no completion and no figures.
    """

    sample: Sample
    completion: str
    judged: Mapping[str, float] = field(default_factory=dict)
    refusal_probability: float | None = None
    reading: str = "strict"
    error: str | None = None

    @property
    def response(self) -> Response:
        return parse_response(self.completion, self.reading)


def predict(
    video_model: VideoModel,
    samples: Sequence[Sample],
    *,
    batch_size: int = 64,
    output: str | Path | None = None,
    on_bad_video: str = "stop",
    desc: str = "predict",
) -> list[Prediction]:
    """Answer every sample greedily.

    Args:
        output: a prediction file; predictions are added as they come, and those that it holds already (from a run that
            was killed) are kept. Samples with an error are asked again.
        on_bad_video: "stop" raises the VideoError of the first sample whose video cannot be read; the predictions
            before it are in `output` then. "skip" gives such samples a prediction with an `error`.
    """
    check_on_bad_video(on_bad_video)
    done = read_predictions(output, samples, resume=True) if output else []
    kept = len(done)
    todo = unanswered(done, samples)
    for start in progress(range(0, len(todo), batch_size), desc=desc):
        places = todo[start : start + batch_size]
        errors = video_model.cache.fill([samples[i].crop for i in places])
        bad = next((i for i in places if samples[i].crop in errors), None) if on_bad_video == "stop" else None
        places = places if bad is None else places[: places.index(bad)]
        new = _answered(video_model, [samples[i] for i in places], errors)
        place_predictions(done, places, new)
        if output and places and places[0] < kept:  # some of them were errors before
            write_predictions(output, done)
        elif output:
            with open_to_append(output) as file:
                file.writelines(map(_line, new))
        if bad is not None:
            raise errors[samples[bad].crop]
    return done


def unanswered(done: Sequence[Prediction], samples: Sequence[Sample]) -> list[int]:
    """Places of the samples that have no prediction yet, or one with an error."""
    return [i for i in range(len(samples)) if i >= len(done) or done[i].error is not None]


def place_predictions(done: list[Prediction], places: Sequence[int], new: Sequence[Prediction]) -> None:
    """Put new predictions into their places, in place of errors or at the end."""
    for place, prediction in zip(places, new, strict=True):
        done[place : place + 1] = [prediction]


def _answered(
    video_model: VideoModel, samples: Sequence[Sample], errors: Mapping[Crop, VideoError]
) -> list[Prediction]:
    good = [sample for sample in samples if sample.crop not in errors]
    features = video_model.features([sample.crop for sample in good])
    queries = [sample.query for sample in good]
    texts = video_model.generate(features, queries) if good else []
    probabilities = video_model.refusal_scores(features, queries, texts)
    answers = iter(
        Prediction(sample, text, refusal_probability=None if np.isnan(p) else float(p))
        for sample, text, p in zip(good, texts, probabilities, strict=True)
    )
    return [Prediction(s, "", error=str(errors[s.crop])) if s.crop in errors else next(answers) for s in samples]


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> None:
    """Write a prediction file, as `predict` does."""
    write_text(path, "".join(map(_line, predictions)))


def _line(prediction: Prediction) -> str:
    sample = prediction.sample
    row: dict[str, Any] = {"video": sample.video, "query": sample.query}
    row |= {name: value for name, value in (("start", sample.start), ("end", sample.end)) if value is not None}
    if prediction.error is not None:
        return json.dumps({**row, "error": prediction.error}) + "\n"
    row |= {"completion": prediction.completion, "refusal_probability": prediction.refusal_probability}
    return json.dumps(row) + "\n"


PROBABILITY = Field(
    "a number from 0 to 1, or null,", lambda value: value is None or (is_finite_number(value) and 0 <= value <= 1)
)
ANSWERED = {"video": TEXT, "query": TEXT, "completion": TEXT, "refusal_probability": PROBABILITY}
FAILED = {"video": TEXT, "query": TEXT, "error": TEXT}


def read_predictions(path: str | Path, samples: Sequence[Sample], *, resume: bool = False) -> list[Prediction]:
    """Stored predictions for the first samples.

    Args: resume: the file is one that this run adds to, see `rarft.system.files.json_lines`.

    Raises InputError, which names the line and the field, for a row that is not a prediction or is of another sample.
    """
    predictions: list[Prediction] = []
    for place, row in json_lines(path, {}, resume=resume):
        checked_row(row, FAILED if "error" in row else ANSWERED, place)
        sample = samples[len(predictions)] if len(predictions) < len(samples) else None
        if sample is None or not _is_of(row, sample):
            raise InputError(f"{place}: not the sample of this data set; delete the file or change --out")
        values = {name: row.get(name) for name in ("refusal_probability", "error")}
        predictions.append(Prediction(sample, row.get("completion", ""), **values))
    return predictions


def _is_of(row: Mapping[str, Any], sample: Sample) -> bool:
    """Whether a row is of a sample. A video that was missing may have been found since, with an ending to its name."""
    path, before = Path(sample.video), row["video"]
    same = before == sample.video or ("error" in row and Path(before).name in (path.name, path.stem))
    return same and (row["query"], row.get("start"), row.get("end")) == (sample.query, sample.start, sample.end)
