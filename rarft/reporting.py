"""A whole evaluation out of files: model and data set in, predictions, JSON report, Markdown table and page out."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rarft.category_classifier import CategoryClassifier
from rarft.course.build import machine
from rarft.data import find_video
from rarft.encoder import default_encoder
from rarft.evaluate import Prediction, markdown, predict, read_predictions, report, scores, write_predictions
from rarft.evaluation_page import write_page
from rarft.files import write_json, write_text
from rarft.hivtg.official import read_released
from rarft.judge import claimed_categories, world_judge
from rarft.llm import LLM
from rarft.llm_judge import llm_judge
from rarft.metrics import is_right, paired_difference
from rarft.models import freeze_vision, load_model
from rarft.schema import Sample
from rarft.world.dataset import story_from_json

COLUMNS = ("n", "f1", "f1_relevant", "f1_irrelevant", "auroc", "ra_iou", "miou", "over_refusal", "refused", "unreadable", "rt_iou",
           "explanation_similarity", "explanation_true", "correction_true", "llm_score", "llm_rt_iou")  # fmt: skip


def evaluate_file(
    model_name: str,
    data: Path,
    out: Path,
    *,
    videos: Path | None = None,
    limit: int | None = None,
    processes: int = 1,
    llm: LLM | None = None,
    against: Path | None = None,
) -> str:
    """Evaluate a model on a world folder or a released file, and return the table.

    Args:
        data: a folder written by `python -m rarft world`, whose truth is then used for exact judgements, or a
            released JSON file.
        videos: where the videos of a released file are; they are found by base name.
        limit: the first so many samples.
        processes: each loads the model and answers its share.
        llm: asked to judge the refusals, see `rarft.llm_judge`.
        against: predictions.jsonl of another model on the same samples: a row of its own, and a paired comparison.

    Writes predictions.jsonl (resumed if it is there), report.json, report.md and report.html into `out`. Raises
    FileNotFoundError if a video is missing.
    """
    world = data.is_dir()
    if not world and videos is None:
        raise ValueError(f"{data}: a released file needs the folder of its videos (--videos)")
    found = read_released(data / "hi_vtg.json" if world else data)
    for problem in found.problems:
        print(f"left out: {problem}")
    samples = [locate(sample, data if world else videos) for sample in found.samples[:limit]]
    predictions = predict_in_processes(model_name, samples, out / "predictions.jsonl", processes)
    options = {"encoder": default_encoder()}
    if world:
        lines = (data / "stories.jsonl").read_text(encoding="utf-8").splitlines()
        stories = [story_from_json(json.loads(line)) for line in lines]
        world_judge(predictions, [stories[sample.extra["row"]] for sample in samples])
        options["categories"], offline = claimed_categories, "exact: the world's truth"
    else:
        options["categories"], offline = _category_judge(found.samples)
    judge = llm_judge(predictions, llm) if llm else None
    systems = {model_name: predictions}
    if against:
        systems[str(against)] = read_predictions(against, samples)
        if len(systems[str(against)]) < len(samples):
            raise ValueError(f"{against}: {len(systems[str(against)])} predictions for {len(samples)} samples; let that evaluation end first")
    rows = report(systems, **options)
    kept = [column for column in COLUMNS if any(column in row for row in rows.values())]
    table = markdown(rows, kept)
    paired = paired_comparison(systems[str(against)], predictions) if against else None
    if paired:
        table += "\n\n" + "\n".join(_sentence(name, found, str(against)) for name, found in paired.items())
    about = {"model": model_name, "data": str(data), "machine": machine(), "rows": rows, "judge": judge, "offline_judge": offline}
    write_json(out / "report.json", {**about, "paired": paired})
    write_text(out / "report.md", table + "\n")
    write_page(out / "report.html", table=table, predictions=predictions, **about)
    return table


def paired_comparison(other: Sequence[Prediction], ours: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """`rarft.metrics.paired_difference`, ours minus the other, of right relevance and of RA-IoU on the same samples."""
    a, b = scores(other), scores(ours)
    right = [is_right(values["relevant"], values["verdict"]).astype(float) for values in (a, b)]
    return {"accuracy": paired_difference(*right), "ra_iou": paired_difference(a["ra_iou"], b["ra_iou"])}


def _sentence(name: str, found: dict[str, float], other: str) -> str:
    return f"{name}: {found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}] against {other}, sample by sample"


def _category_judge(samples: Sequence[Sample]) -> tuple[CategoryClassifier | None, str]:
    """The offline judge of categories that these references allow, and what a report says of it."""
    try:
        judge = CategoryClassifier(samples, default_encoder())
    except ValueError as reason:
        return None, f"no categories are judged: {reason}"
    return judge, f"categories by a classifier of sentence embeddings; Jaccard {judge.agreement():.2f} with known ones (five folds)"


def predict_in_processes(model_name: str, samples: Sequence[Sample], output: Path, processes: int) -> list[Prediction]:
    """`predict`, the samples that `output` does not hold yet shared out among processes, each with its own file.

    After a kill, the same call with as many processes goes on where each of them was.
    """
    if processes == 1:
        return _answer(model_name, samples, output)
    done = read_predictions(output, samples) if output.exists() else []
    bounds = np.linspace(len(done), len(samples), processes + 1).round().astype(int).tolist()
    parts = [output.with_name(f"{output.name}.{begin}-{end}") for begin, end in zip(bounds, bounds[1:], strict=False)]
    threads = max(1, (os.cpu_count() or 1) // processes)
    jobs = [
        (model_name, samples[begin:end], part, threads)
        for begin, end, part in zip(bounds, bounds[1:], parts, strict=False)
    ]
    # spawn: a forked child of a process that runs torch or decord threads can hang
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        shares = pool.starmap(_answer, jobs, chunksize=1)
    done += [prediction for share in shares for prediction in share]
    write_predictions(output, done)
    for part in parts:
        part.unlink(missing_ok=True)
    return done


def _answer(model_name: str, samples: Sequence[Sample], output: Path, threads: int | None = None) -> list[Prediction]:
    if threads:
        torch.set_num_threads(threads)
    model, processor = load_model(model_name, dtype="float32")
    freeze_vision(model)
    return predict(model, processor, samples, output=output)


def locate(sample: Sample, folder: Path) -> Sample:
    """The sample with its video's path under `folder`. Raises FileNotFoundError."""
    path = find_video(folder, sample.video)
    if path is None:
        raise FileNotFoundError(f"{folder / Path(sample.video).name}: the video of the query {sample.query!r} is not there")
    return dataclasses.replace(sample, video=str(path))
