"""A whole evaluation: read the data, predict, judge, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rarft.asking.answer import Prediction
from rarft.asking.asker import Asker
from rarft.asking.dataset import SampleSet, read_samples
from rarft.evaluation.judges.categories import learned_judges
from rarft.evaluation.official_predictions import read_official_predictions, with_truth_of
from rarft.evaluation.predictions import predict, read_predictions
from rarft.evaluation.probes import probe, swapped
from rarft.evaluation.reporting import LeftOut, Scoring, write_report
from rarft.models.settings import check_on_bad_video
from rarft.rewards.encoder import default_encoder
from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json
from rarft.video.readers import PYAV


def evaluate_file(
    asker: Asker,
    test_set: SampleSet,
    out: Path,
    scoring: Scoring | None = None,
    *,
    against: Path | None = None,
    probes: bool = False,
    on_bad_video: str = "stop",
) -> str:
    """Evaluate a model on a test set, and return the table.

    Args:
        against: predictions.jsonl of another model on the same samples, which adds a row and a paired comparison.
        probes: also ask with changed videos (`rarft.evaluation.probes`); takes four more answers per sample.
        on_bad_video: what to do with a video that cannot be read. "stop", the default, ends the evaluation, since
            figures on fewer samples cannot be compared; the answers so far are kept. "skip" leaves its samples out of
            all figures and names the video in the table and the reports.

    Writes asked.json, predictions.jsonl (resumed if it exists), report.json, report.md and report.html into `out`.
    Raises VideoError for a video that cannot be read, unless it is skipped; InputError if `out` has predictions of
    another model or with other settings, or if no video is left."""
    check_on_bad_video(on_bad_video)
    scoring = scoring or Scoring()
    default_encoder(scoring.similarity)  # fails on an unknown name before anything is asked
    own_judges = test_set.judges  # fails if the stories cannot be read
    if probes:
        swapped(test_set.samples)  # fails if there is only one video
    others = {str(against): _predictions_of_all(against, test_set.samples)} if against else {}
    model = asker.about["model"]
    remember_asked(out, asker.about)

    predictions = predict(asker, test_set.samples, output=out / "predictions.jsonl", on_bad_video=on_bad_video)
    systems, left_out = answered_by_all({model: predictions, **others})
    answered = systems[model]
    looks = probe(asker, [p.sample for p in answered], known=answered, on_bad_video=on_bad_video) if probes else None

    judges = own_judges or learned_judges(test_set.references)
    about = {"model": model, "data": str(test_set.path)}
    return write_report(systems, out, about=about, judges=judges, scoring=scoring, probes=looks, left_out=left_out)


def evaluate_predictions(path: Path, out: Path, scoring: Scoring | None = None, *, data: Path | None = None) -> str:
    """Score a prediction file of the released evaluator with its reading of completions, and return the table.

    Args:
        data: the file with the queries. It supplies the fields that the predictions lack, such as difficulties.

    Writes report.json, report.md and report.html into `out`.
    """
    predictions = read_official_predictions(path)
    if not predictions:
        raise InputError(f"{path}: no predictions in it")
    references = [p.sample for p in predictions]
    if data:
        references = read_samples(data)
        predictions = with_truth_of(predictions, references, f"{path} and {data}")
    judges = learned_judges(references)
    about = {"model": str(path), "data": str(data or path)}
    scoring = replace(scoring or Scoring(), reading="official")
    return write_report({str(path): predictions}, out, about=about, judges=judges, scoring=scoring)


def remember_asked(out: Path, about: Mapping[str, Any]) -> None:
    """Write the model and its settings (`Asker.about`) to asked.json. Raises InputError if `out` has predictions of
    another model or with other settings, which a resumed evaluation would mix."""
    path, answers = out / "asked.json", out / "predictions.jsonl"
    if path.exists() and answers.exists() and answers.stat().st_size:
        before = {"reader": PYAV, **read_json(path)}
        changed = [name for name in {**about, **before} if before.get(name) != about.get(name)]
        if changed:
            others = ", ".join(f"{name} {before.get(name)!r}" for name in changed)
            raise InputError(f"{out}: holds predictions made with {others}; delete the folder or change --out")
    write_json(path, dict(about))


def answered_by_all(
    systems: Mapping[str, Sequence[Prediction]],
) -> tuple[dict[str, list[Prediction]], LeftOut]:
    """The predictions for the samples that every system answered, and what was left out. All systems must have the same
    samples. Raises InputError if no sample is left."""
    rows = list(zip(*systems.values(), strict=True))
    failed = {i: p for i, row in enumerate(rows) for p in row if p.error is not None}
    videos = {p.sample.video: p.error for p in failed.values()}
    if len(failed) == len(rows):
        raise InputError(f"none of {len(rows)} queries has an answer: {next(iter(videos.values()))}")
    kept = {name: [p for i, p in enumerate(given) if i not in failed] for name, given in systems.items()}
    return kept, LeftOut(len(failed), len(rows), videos)


def _predictions_of_all(path: Path, samples: Sequence[Sample]) -> list[Prediction]:
    predictions = read_predictions(path, samples)
    if len(predictions) < len(samples):
        counts = f"{len(predictions)} predictions for {len(samples)} samples"
        raise InputError(f"{path}: {counts}; let that evaluation end first")
    return predictions
