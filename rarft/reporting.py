"""A whole evaluation out of files: model and data set in, predictions, JSON report, Markdown table and page out."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rarft.category_classifier import CategoryClassifier
from rarft.course.build import machine
from rarft.data import find_video
from rarft.encoder import MINILM, default_encoder
from rarft.evaluate import (
    Prediction,
    markdown,
    predict,
    read_official_predictions,
    read_predictions,
    report,
    scores,
    write_predictions,
)
from rarft.evaluation_page import how_read, write_page
from rarft.files import lines_of, write_json, write_text
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.official import iter_rows, read_released
from rarft.judge import claimed_categories, world_judge
from rarft.llm import LLM
from rarft.llm_judge import llm_judge
from rarft.metrics import is_right, paired_difference
from rarft.models import open_model, settings_of
from rarft.schema import Sample
from rarft.settings import Settings
from rarft.vision_cache import VisionCache
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
    batch_size: int = 64,
    device: str = "auto",
    dtype: str = "auto",
    changes: Mapping[str, Any] | None = None,
    llm: LLM | None = None,
    against: Path | None = None,
    reading: str = "strict",
    similarity: str = MINILM,
) -> str:
    """Evaluate a model on a world folder, a released file or grounding annotations, and return the table.

    Args:
        data: a folder written by `rarft world`, whose truth is then used for exact judgements; a released file; or
            ordinary grounding annotations (`rarft.hivtg.annotations`), all of whose queries are relevant.
        videos: where the videos of a file are; they are found by base name.
        limit: the first so many samples.
        processes: each loads the model and answers its share, `batch_size` questions at a time.
        device, dtype, changes: see `rarft.models.open_model`.
        llm: asked to judge the refusals, see `rarft.llm_judge`.
        against: predictions.jsonl of another model on the same samples: a row of its own, and a paired comparison.
        reading: how completions are read, see `rarft.response.parse_response`.
        similarity: the sentence encoder that compares explanations and corrections with their references.

    Writes asked.json, predictions.jsonl (resumed if it is there), report.json, report.md and report.html into `out`. Raises
    FileNotFoundError if a video is missing, and ValueError if `out` holds the predictions of another model or of other
    settings.
    """
    world = data.is_dir()
    if not world and videos is None:
        raise ValueError(f"{data}: a file needs the folder of its videos (--videos)")
    references = read_test_set(data)
    samples = [locate(sample, data if world else videos) for sample in references[:limit]]
    options = {"device": device, "dtype": dtype, "changes": dict(changes or {})}
    remember_settings(out, model_name, (settings_of(model_name) or Settings()).changed(**options["changes"]))
    asked = predict_in_processes(model_name, samples, out / "predictions.jsonl", processes, batch_size, **options)
    predictions = [dataclasses.replace(p, reading=reading) for p in asked]
    if world:
        stories = [story_from_json(json.loads(line)) for line in lines_of(data / "stories.jsonl")]
        world_judge(predictions, [stories[sample.extra["row"]] for sample in samples])
    systems = {model_name: predictions}
    if against:
        systems[str(against)] = [dataclasses.replace(p, reading=reading) for p in read_predictions(against, samples)]
        if len(systems[str(against)]) < len(samples):
            raise ValueError(
                f"{against}: {len(systems[str(against)])} predictions for {len(samples)} samples; let that evaluation end first"
            )
    categories = (claimed_categories, "exact: the world's truth") if world else _category_judge(references)
    about = {"model": model_name, "data": str(data)}
    return write_report(systems, out, about=about, categories=categories, llm=llm, similarity=similarity)


def evaluate_predictions(path: Path, out: Path, *, llm: LLM | None = None, similarity: str = MINILM) -> str:
    """Score a prediction file of the released evaluator, read as that reads it, and return the table.

    Writes report.json, report.md and report.html into `out`.
    """
    predictions = read_official_predictions(path)
    if not predictions:
        raise ValueError(f"{path}: no predictions in it")
    categories = _category_judge([p.sample for p in predictions])
    about = {"model": str(path), "data": str(path)}
    return write_report({str(path): predictions}, out, about=about, categories=categories, llm=llm, similarity=similarity)


def write_report(
    systems: dict[str, list[Prediction]],
    out: Path,
    *,
    about: dict[str, str],
    categories: tuple[Callable[[Prediction], set[str]] | None, str],
    llm: LLM | None,
    similarity: str,
) -> str:
    """Score systems on the same samples, the first of which is reported, the second compared with it. Returns the table."""
    predictions, *_ = systems.values()
    judge = llm_judge(predictions, llm, offline=categories[0]) if llm else None
    rows = report(systems, encoder=default_encoder(similarity), categories=categories[0])
    kept = [column for column in COLUMNS if any(column in row for row in rows.values())]
    table = markdown(rows, kept)
    paired = None
    for other, theirs in list(systems.items())[1:]:
        paired = paired_comparison(theirs, predictions)
        table += "\n\n" + "\n".join(_sentence(figure, found, other) for figure, found in paired.items())
    about = {
        **about,
        "reading": predictions[0].reading,
        "similarity": similarity,
        "machine": machine(),
        "rows": rows,
        "judge": judge,
        "offline_judge": categories[1],
    }
    write_json(out / "report.json", {**about, "paired": paired})
    write_text(out / "report.md", f"{table}\n\n{how_read(about['reading'], similarity)}\n")
    write_page(out / "report.html", table=table, predictions=predictions, **about)
    return table


def remember_settings(out: Path, model_name: str, settings: Settings) -> None:
    """Write down which model is asked, and how. Raises ValueError if `out` holds predictions that were made otherwise:
    an evaluation that goes on would mix them."""
    path, asked = out / "asked.json", {"model": model_name, **dataclasses.asdict(settings)}
    if path.exists() and (out / "predictions.jsonl").exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{name} {before.get(name)!r}" for name, value in asked.items() if before.get(name) != value]
        if changed:
            raise ValueError(f"{out}: holds predictions made with {', '.join(changed)}; delete the folder or change --out")
    write_json(path, asked)


def read_test_set(data: Path) -> list[Sample]:
    """The samples of a world folder, a released file, or grounding annotations. What cannot be used is printed."""
    if data.is_dir() or _is_released(data):
        found = read_released(data / "hi_vtg.json" if data.is_dir() else data)
        samples, problems = found.samples, found.problems
    else:
        problems = []
        samples = list(read_annotations(data, problems.append))
    for problem in problems:
        print(f"left out: {problem}")
    if not samples:
        raise ValueError(f"{data}: no query that can be used")
    return samples


def _is_released(path: Path) -> bool:
    try:
        return any(isinstance(row, dict) and "GRPO" in row for row in islice(iter_rows(path), 100))
    except ValueError:
        return False  # text, or an object of videos: annotations


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


def predict_in_processes(
    model_name: str, samples: Sequence[Sample], output: Path, processes: int, batch_size: int = 64, **options: Any
) -> list[Prediction]:
    """`predict` by a model opened with `options` (see `rarft.models.open_model`), the samples that `output` does not hold
    yet shared out among processes, each with its own file.

    After a kill, the same call with as many processes goes on where each of them was.
    """
    if processes == 1:
        return _answer(model_name, samples, output, batch_size, options)
    done = read_predictions(output, samples) if output.exists() else []
    bounds = np.linspace(len(done), len(samples), processes + 1).round().astype(int).tolist()
    parts = [output.with_name(f"{output.name}.{begin}-{end}") for begin, end in zip(bounds, bounds[1:], strict=False)]
    threads = max(1, (os.cpu_count() or 1) // processes)
    jobs = [
        (model_name, samples[begin:end], part, batch_size, options, threads)
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


def _answer(
    model_name: str, samples: Sequence[Sample], output: Path, batch_size: int, options: dict, threads: int | None = None
) -> list[Prediction]:
    if threads:
        torch.set_num_threads(threads)
    model, processor, settings = open_model(model_name, **options)
    cache = VisionCache(model, processor, batch_size=min(32, batch_size), **settings.video)
    return predict(model, processor, samples, vision_cache=cache, batch_size=batch_size, output=output)


def locate(sample: Sample, folder: Path) -> Sample:
    """The sample with its video's path under `folder`. Raises FileNotFoundError."""
    path = find_video(folder, sample.video)
    if path is None:
        raise FileNotFoundError(f"{folder / Path(sample.video).name}: the video of the query {sample.query!r} is not there")
    return dataclasses.replace(sample, video=str(path))
