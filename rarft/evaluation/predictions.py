"""Predictions of a model on a test set, and the files that keep them.

A prediction file is JSON Lines in the order of the samples. A row has `video`, `query`, `completion` and
`refusal_probability`, and `start` and `end` if the sample has them. A sample without an answer has an `error` in place
of the completion and its probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rarft.asking.answer import Prediction
from rarft.asking.asker import Asker, LocalAsker
from rarft.asking.writer import PREDICTION, Row, answer_in, ask_all, read_rows
from rarft.models import VideoModel
from rarft.models.settings import check_on_bad_video
from rarft.schema import Sample
from rarft.system.files import write_text


def predict(
    model: VideoModel | Asker,
    samples: Sequence[Sample],
    *,
    batch_size: int = 64,
    output: str | Path | None = None,
    on_bad_video: str = "stop",
    desc: str = "predict",
) -> list[Prediction]:
    """Predict an answer for every sample by greedy decoding.

    Args:
        model: an asker, or a model in this process, which answers `batch_size` samples together.
        output: a prediction file. Predictions are appended as they come; those already in it, for example from a run
            that was killed, are kept. Samples with an error are asked again.
        on_bad_video: "stop" raises the VideoError of the first sample whose video cannot be read, after writing the
            predictions before it to `output`. "skip" gives such samples a prediction with an `error`.
    """
    check_on_bad_video(on_bad_video)
    asker = LocalAsker(model, batch_size=batch_size) if isinstance(model, VideoModel) else model
    questions, stop = list(map(_question, samples)), on_bad_video == "stop"
    path = Path(output) if output else None
    rows, _ = ask_all(asker, questions, path, PREDICTION, retry=True, stop=stop, desc=desc)
    return [Prediction(sample, answer_in(row)) for sample, row in zip(samples, rows, strict=True)]


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> None:
    """Write a prediction file, as `predict` does."""
    write_text(path, "".join(PREDICTION.line(PREDICTION.row(_question(p.sample), p.answer)) for p in predictions))


def read_predictions(path: str | Path, samples: Sequence[Sample]) -> list[Prediction]:
    """Read a prediction file, which may cover only the first samples.

    Raises InputError, which names the line and the field, for a row that is not a prediction or is for another sample.
    """
    rows = read_rows(path, list(map(_question, samples)), PREDICTION)
    return [Prediction(sample, answer_in(row)) for sample, row in zip(samples, rows, strict=False)]


def _question(sample: Sample) -> Row:
    part = {"start": sample.start, "end": sample.end}
    stated = {name: second for name, second in part.items() if second is not None}
    return {"video": sample.video, "query": sample.query, **stated}
