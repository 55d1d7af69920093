"""A whole evaluation out of files: model and test set in, predictions and report out."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rarft.asking.dataset import read_samples, read_test_set
from rarft.evaluation.judges import CategoryJudges
from rarft.evaluation.judges.categories import CategoryClassifier
from rarft.evaluation.judges.exact import claimed_categories, exact_judge
from rarft.evaluation.official_predictions import read_official_predictions, with_truth_of
from rarft.evaluation.predictions import (
    Prediction,
    place_predictions,
    predict,
    read_predictions,
    unanswered,
    write_predictions,
)
from rarft.evaluation.probes import probe, swapped
from rarft.evaluation.reporting import LeftOut, Scoring, write_report
from rarft.metrics import OFFICIAL_SPLITS
from rarft.models import VideoModel
from rarft.models.load import settings_of
from rarft.models.settings import Settings, check_on_bad_video
from rarft.rewards.encoder import default_encoder
from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json
from rarft.system.processes import worker_pool
from rarft.video import GuardedReader
from rarft.video.readers import PYAV


def evaluate_file(
    model_name: str,
    data: Path,
    out: Path,
    *,
    videos: Path | None = None,
    limit: int | None = None,
    processes: int = 1,
    batch_size: int = 64,
    device: str = "auto",
    dtype: str = "auto",
    changes: Mapping[str, Any] | None = None,
    features: Path | None = None,
    against: Path | None = None,
    scoring: Scoring | None = None,
    probes: bool = False,
    on_bad_video: str = "stop",
    reader: str = PYAV,
) -> str:
    """Evaluate a model on a world folder, a released file or grounding annotations, and return the table.

    Args:
        data, videos, limit: see `read_test_set`.
        processes: each loads the model and answers its share, `batch_size` questions at a time.
        device, dtype, changes: see `rarft.models.VideoModel.load`. With several GPUs, "auto" gives each process one.
        features: folder that keeps the encoded videos, for another evaluation or a training with the same tower.
        against: predictions.jsonl of another model on the same samples: a row of its own, and a paired comparison.
        probes: also ask with the videos changed (`rarft.evaluation.probes`): five times the answers.
        on_bad_video: a video that is missing or cannot be read. "stop", the default, ends the evaluation, since
            figures on fewer samples cannot be compared; the answers so far are kept. "skip" leaves its samples out of
            all figures and names the video in the table and the reports.
        reader: the library that decodes, of `rarft.video.readers.READERS`.

    Writes asked.json, predictions.jsonl (resumed if it is there), report.json, report.md and report.html into `out`.
    Raises MissingFileError if a video is missing and VideoError if one cannot be read, unless they are skipped;
    InputError if `out` holds the predictions of another model or of other settings, or if no video is left."""
    check_on_bad_video(on_bad_video)
    scoring = scoring or Scoring()
    default_encoder(scoring.similarity)  # a name that is none must not be found after the questions have been asked
    test_set = read_test_set(data, videos, limit, on_bad_video=on_bad_video)
    if probes:
        swapped(test_set.samples)  # as early: one video cannot be probed
    options: dict[str, Any] = {"device": device, "dtype": dtype, "changes": dict(changes or {})}
    remember_settings(out, model_name, (settings_of(model_name) or Settings()).changed(**options["changes"]), reader)
    others = {str(against): _predictions_of_all(against, test_set.samples)} if against else {}
    asked = predict_in_processes(
        model_name,
        test_set.samples,
        out / "predictions.jsonl",
        processes,
        batch_size,
        features=features,
        on_bad_video=on_bad_video,
        reader=reader,
        **options,
    )
    systems, places, left_out = answered_by_all({model_name: asked, **others})
    samples = [test_set.samples[place] for place in places]
    categories: tuple[CategoryJudges, str]
    if test_set.stories:
        categories = ({"exact": claimed_categories}, "exact: the world's truth")
        stories = [test_set.stories[place] for place in places]
        scoring = dataclasses.replace(scoring, judges=(exact_judge(stories), *scoring.judges))
    else:
        categories = _category_judge(test_set.references)
    about = {"model": model_name, "data": str(data)}
    if probes and left_out.videos:
        swapped(samples)  # again: bad videos may have left one
    looks = _probed(model_name, samples, batch_size, options, reader) if probes else None
    return write_report(
        systems, out, about=about, categories=categories, scoring=scoring, probes=looks, left_out=left_out
    )


def answered_by_all(
    systems: Mapping[str, Sequence[Prediction]],
) -> tuple[dict[str, list[Prediction]], list[int], LeftOut]:
    """The predictions for those samples whose video was read for every system; the places of these samples; and what
    was left out. All systems have the same samples. Raises InputError if no sample is left."""
    rows = list(zip(*systems.values(), strict=True))
    bad = {i: p for i, row in enumerate(rows) for p in row if p.error is not None}
    places = [i for i in range(len(rows)) if i not in bad]
    videos = {p.sample.video: p.error for p in bad.values()}
    if not places:
        raise InputError(f"none of {len(videos)} videos can be read: {next(iter(videos.values()))}")
    kept = {name: [given[i] for i in places] for name, given in systems.items()}
    return kept, places, LeftOut(len(bad), len(rows), videos)


def evaluate_predictions(path: Path, out: Path, *, data: Path | None = None, scoring: Scoring | None = None) -> str:
    """Score a prediction file of the released evaluator, read as that reads it, and return the table.

    Args:
        data: the file whose queries were asked. Fields that the predictions lack, such as difficulties, come from it.

    Writes report.json, report.md and report.html into `out`.
    """
    predictions = read_official_predictions(path)
    if not predictions:
        raise InputError(f"{path}: no predictions in it")
    about = {"model": str(path), "data": str(data or path)}
    references = [p.sample for p in predictions]
    if data:
        references = read_samples(data)
        predictions = with_truth_of(predictions, references, f"{path} and {data}")
    categories = _category_judge(references)
    scoring = dataclasses.replace(scoring or Scoring(), reading="official")
    return write_report({str(path): predictions}, out, about=about, categories=categories, scoring=scoring)


def remember_settings(out: Path, model_name: str, settings: Settings, reader: str = PYAV) -> None:
    """Write down which model is asked, and how. Raises InputError if `out` holds predictions that were made otherwise:
    a resumed evaluation would mix them."""
    path, asked = out / "asked.json", {"model": model_name, **dataclasses.asdict(settings), "reader": reader}
    if path.exists() and (out / "predictions.jsonl").exists():
        before = {"reader": PYAV, **read_json(path)}
        changed = [f"{name} {before.get(name)!r}" for name, value in asked.items() if before.get(name) != value]
        if changed:
            others = ", ".join(changed)
            raise InputError(f"{out}: holds predictions made with {others}; delete the folder or change --out")
    write_json(path, asked)


CLIPS_IN_MEMORY = 256  # samples of one video stand beside each other


def predict_in_processes(
    model_name: str,
    samples: Sequence[Sample],
    output: Path,
    processes: int,
    batch_size: int = 64,
    *,
    features: Path | None = None,
    on_bad_video: str = "stop",
    reader: str = PYAV,
    **options: Any,
) -> list[Prediction]:
    """`predict` by a model loaded with `options` (see `rarft.models.VideoModel.load`), the samples that `output` does
    not hold yet shared out among processes, each with its own file.

    Args:
        features: folder of encoded videos; without it each process keeps the latest in memory.
        reader: the library that decodes.

    After a kill, the same call with as many processes resumes each of them. Raises InputError if there are files of a
    call with another number of processes.
    """
    done = read_predictions(output, samples, resume=True)
    todo = unanswered(done, samples)
    bounds = np.linspace(0, len(todo), processes + 1).round().astype(int).tolist()
    shares = [todo[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False)]
    parts = [output.with_name(f"{output.name}.{share[0]}-{share[-1] + 1}") for share in shares if share]
    _check_parts(output, parts if processes > 1 else [])
    how = (batch_size, features, on_bad_video, reader)
    if processes == 1:
        return _answer(model_name, samples, output, *how, options)
    threads = max(1, (os.cpu_count() or 1) // processes)
    jobs = [
        (model_name, [samples[i] for i in share], part, *how, _on_own_device(options, number), threads)
        for number, (share, part) in enumerate(zip(filter(None, shares), parts, strict=True))
    ]
    with worker_pool(processes) as pool:
        running = [pool.submit(_answer, *job) for job in jobs]
        for job in as_completed(running):  # an error of any process ends all of them at once
            job.result()
    place_predictions(done, todo, [prediction for job in running for prediction in job.result()])
    write_predictions(output, done)
    for part in parts:
        part.unlink(missing_ok=True)
    return done


def _check_parts(output: Path, parts: Sequence[Path]) -> None:
    """Raises InputError if a run with another number of processes has left files that would not be read."""
    found = output.parent.glob(f"{glob.escape(output.name)}.[0-9]*-[0-9]*")
    others = sorted(path.name for path in found if path not in parts)
    if others:
        raise InputError(
            f"{output.parent}: {', '.join(others)} hold answers of a run with another --processes or --limit; "
            "resume it with the same values, or delete these files"
        )


def _on_own_device(options: dict[str, Any], number: int) -> dict[str, Any]:
    """Options for one of several processes: GPUs are shared out, where the user names none."""
    gpus = torch.cuda.device_count()
    return (
        {**options, "device": f"cuda:{number % gpus}"} if gpus and options.get("device", "auto") == "auto" else options
    )


def _answer(
    model_name: str,
    samples: Sequence[Sample],
    output: Path,
    batch_size: int,
    features: Path | None,
    on_bad_video: str,
    reader: str,
    options: dict[str, Any],
    threads: int | None = None,
) -> list[Prediction]:
    if threads:
        torch.set_num_threads(threads)
    with GuardedReader(reader=reader) as guarded:
        video_model = VideoModel.load(model_name, **options).with_cache(
            folder=features, in_memory=CLIPS_IN_MEMORY, batch_size=min(32, batch_size), reader=guarded
        )
        return predict(video_model, samples, batch_size=batch_size, output=output, on_bad_video=on_bad_video)


def _probed(
    model_name: str, samples: Sequence[Sample], batch_size: int, options: dict[str, Any], reader: str
) -> dict[str, dict[str, float]]:
    video_model = VideoModel.load(model_name, **options)
    with GuardedReader(reader=reader) as guarded:
        return probe(video_model, samples, batch_size=batch_size, reader=guarded)


def _predictions_of_all(path: Path, samples: Sequence[Sample]) -> list[Prediction]:
    predictions = read_predictions(path, samples)
    if len(predictions) < len(samples):
        counts = f"{len(predictions)} predictions for {len(samples)} samples"
        raise InputError(f"{path}: {counts}; let that evaluation end first")
    return predictions


def _category_judge(samples: Sequence[Sample]) -> tuple[CategoryJudges, str]:
    """The offline judge of categories that these references allow, and what a report says of it."""
    try:
        judge = CategoryClassifier.fit(samples, default_encoder())
    except InputError as reason:
        return {}, f"no categories are judged: {reason}"
    agreement = f"Jaccard {judge.agreement():.2f} with known ones (five folds)"
    merge = f"official_rt_iou: merged as the released evaluator does, over {OFFICIAL_SPLITS} splits"
    return {"classifier": judge}, f"categories by a classifier of sentence embeddings; {agreement}; {merge}"
