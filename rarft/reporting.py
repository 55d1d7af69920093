"""A whole evaluation out of files: model and data set in, predictions, JSON report and Markdown table out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rarft.course.build import machine
from rarft.encoder import default_encoder
from rarft.evaluate import markdown, predict, report
from rarft.files import write_json, write_text
from rarft.hivtg.official import read_released
from rarft.judge import claimed_categories, world_judge
from rarft.models import freeze_vision, load_model
from rarft.schema import Sample
from rarft.world.dataset import story_from_json

COLUMNS = ("n", "f1", "f1_relevant", "f1_irrelevant", "ra_iou", "miou", "over_refusal", "refused", "rt_iou",
           "explanation_similarity", "explanation_true", "correction_true")  # fmt: skip


def evaluate_file(
    model_name: str, data: Path, out: Path, *, videos: Path | None = None, limit: int | None = None
) -> str:
    """Evaluate a model on a world folder or a released file, and return the table.

    Args:
        data: a folder written by `python -m rarft world`, whose truth is then used for exact judgements, or a
            released JSON file.
        videos: where the videos of a released file are; they are found by base name.
        limit: the first so many samples.

    Writes predictions.jsonl (resumed if it is there), report.json and report.md into `out`. Raises
    FileNotFoundError if a video is missing.
    """
    world = data.is_dir()
    if not world and videos is None:
        raise ValueError(f"{data}: a released file needs the folder of its videos (--videos)")
    found = read_released(data / "hi_vtg.json" if world else data)
    for problem in found.problems:
        print(f"left out: {problem}")
    samples = [locate(sample, data if world else videos) for sample in found.samples[:limit]]
    model, processor = load_model(model_name, dtype="float32")
    freeze_vision(model)
    predictions = predict(model, processor, samples, output=out / "predictions.jsonl")
    options = {"encoder": default_encoder()}
    if world:
        lines = (data / "stories.jsonl").read_text(encoding="utf-8").splitlines()
        stories = [story_from_json(json.loads(line)) for line in lines]
        world_judge(predictions, [stories[sample.extra["row"]] for sample in samples])
        options["categories"] = claimed_categories
    rows = report({model_name: predictions}, **options)
    table = markdown(rows, COLUMNS)
    write_json(out / "report.json", {"model": model_name, "data": str(data), "machine": machine(), "rows": rows})
    write_text(out / "report.md", table + "\n")
    return table


def locate(sample: Sample, folder: Path) -> Sample:
    """The sample with its video's path under `folder`: as written, or by base name."""
    for path in (folder / sample.video, folder / Path(sample.video).name):
        if path.exists():
            return dataclasses.replace(sample, video=str(path))
    raise FileNotFoundError(f"{folder / Path(sample.video).name}: the video of the query {sample.query!r} is not there")
