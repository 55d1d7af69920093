"""Model × data set → predictions, a line each as they come → report.

Three settings, as in the paper: hard-irrelevant (HI), simply-shuffled (SS), relevant only. Relevance is read
by a rule (`rarft.segments`: an answer grounds, refuses, or cannot be read), which agreed with the official LLM judge on
54 of the 54 published items. The always-refuse, never-refuse and oracle rows stand in every table: on a balanced set
always refusing gets an RA-IoU of 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from rarft import metrics
from rarft.confidence import refusal_probabilities
from rarft.encoder import SentenceEncoder
from rarft.files import lines_of, write_text
from rarft.generate import generate
from rarft.hivtg.official import LEVELS, span_of, split_answer
from rarft.response import Response, parse_response
from rarft.schema import Category, Difficulty, Sample, Span, Verdict
from rarft.vision_cache import VisionCache


@dataclass
class Prediction:
    """A sample and what a model said to it."""

    sample: Sample
    completion: str
    judged: dict[str, float] = field(default_factory=dict)  # by an exact or an LLM judge, name → score
    refusal_probability: float | None = None  # the model's own, see rarft.confidence
    reading: str = "strict"  # see rarft.response.parse_response

    @property
    def response(self) -> Response:
        return parse_response(self.completion, self.reading)


def predict(
    model,
    processor,
    samples: Sequence[Sample],
    *,
    vision_cache: VisionCache | None = None,
    batch_size: int = 64,
    output: str | Path | None = None,
    desc: str = "predict",
) -> list[Prediction]:
    """Answer every sample greedily.

    Args:
        output: a JSON Lines file; predictions are added as they come, and those that it holds already (from a run
            that was killed) are kept. A half-written last line is dropped.
    """
    cache = vision_cache or VisionCache(model, processor)
    done = read_predictions(output, samples) if output and Path(output).exists() else []
    if output:
        write_predictions(output, done)
    for start in tqdm(range(len(done), len(samples), batch_size), desc=desc, disable=len(done) == len(samples)):
        batch = samples[start : start + batch_size]
        features = cache.get([{"video": s.video, "start": s.start, "end": s.end} for s in batch])
        texts = generate(model, processor, features, [s.query for s in batch])
        sure = refusal_probabilities(model, processor, features, [s.query for s in batch], texts)
        new = [Prediction(*found) for found in zip(batch, texts, [{} for _ in batch], map(_known, sure), strict=True)]
        done += new
        if output:
            with open(output, "a", encoding="utf-8") as file:
                file.writelines(_line(p) for p in new)
    return done


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as `predict` does, a line each."""
    write_text(path, "".join(map(_line, predictions)))


def _line(prediction: Prediction) -> str:
    sample = prediction.sample
    row = {"video": sample.video, "query": sample.query, "completion": prediction.completion}
    return json.dumps({**row, "refusal_probability": prediction.refusal_probability}) + "\n"


def read_predictions(path: str | Path, samples: Sequence[Sample]) -> list[Prediction]:
    """Stored predictions for the first samples. Raises ValueError if they are of other samples."""
    found = []
    for number, line in enumerate(lines_of(path)):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break  # a line that a kill cut short; what follows is written again
        if number >= len(samples) or (row["video"], row["query"]) != (samples[number].video, samples[number].query):
            raise ValueError(f"{path}, line {number + 1}: not the sample of this data set; delete the file or change --out")
        found.append(Prediction(samples[number], row["completion"], refusal_probability=row.get("refusal_probability")))
    return found


def read_official_predictions(path: str | Path) -> list[Prediction]:
    """The predictions of the released evaluator, an array of `video`, `query`, `model_output`, `gt_relevant`,
    `gt_timestamp`, `gt_output`, `irrelevance_level` and `gt_categories`, to be read as it reads them.

    Raises ValueError that names the row and the field if one is missing or of the wrong kind.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: an array of predictions was expected, got {type(rows).__name__}")
    return [_official_prediction(row, f"{path}, row {number}") for number, row in enumerate(rows)]


def _official_prediction(row: Any, place: str) -> Prediction:
    kinds = {"video": str, "query": str, "model_output": str, "gt_relevant": bool}
    for name, kind in kinds.items():
        if not isinstance(row, dict) or not isinstance(row.get(name), kind):
            raise ValueError(f"{place}: the field {name!r} ({kind.__name__}) is missing")
    relevant, span = row["gt_relevant"], span_of(row.get("gt_timestamp"))
    if relevant and span is None:
        raise ValueError(f"{place}: the field 'gt_timestamp' should be two numbers of seconds, got {row.get('gt_timestamp')!r}")
    answer, correction = split_answer(str(row.get("gt_output") or ""))
    named = row.get("gt_categories") or []
    if not isinstance(named, list):
        raise ValueError(f"{place}: the field 'gt_categories' should be a list, got {named!r}")
    sample = Sample(
        row["video"],
        row["query"],
        [span] if relevant else [],
        answer=answer,
        correction=correction,
        categories=[category for category in Category if category.value in named],
        difficulty=Difficulty.ORIGINAL if relevant else LEVELS.get(str(row.get("irrelevance_level")), Difficulty.SHUFFLED),
    )
    return Prediction(sample, row["model_output"], reading="official")


def always_refuse(sample: Sample) -> str:
    return "<think> - </think><answer> the video does not show this at all </answer><correction> - </correction>"


def never_refuse(sample: Sample) -> str:
    """Answers the whole video."""
    return f"<think> - </think><answer> {Span(0.0, sample.duration or 0.0)} </answer><correction> NIL </correction>"


def oracle(sample: Sample) -> str:
    if sample.relevant:
        return f"<think> - </think><answer> {sample.spans[0]} </answer><correction> NIL </correction>"
    return f"<think> - </think><answer> {sample.answer} </answer><correction> {sample.correction} </correction>"


REFERENCE_ROWS: dict[str, Callable[[Sample], str]] = {
    "always refuse": always_refuse,
    "never refuse": never_refuse,
    "oracle": oracle,
}


def reference_predictions(samples: Sequence[Sample], name: str) -> list[Prediction]:
    """What a trivial policy ("always refuse", "never refuse") or a perfect one ("oracle") would say."""
    return [Prediction(sample, REFERENCE_ROWS[name](sample)) for sample in samples]


def scores(
    predictions: Sequence[Prediction],
    *,
    encoder: SentenceEncoder | None = None,
    categories: Callable[[Prediction], set[str]] | None = None,
) -> dict[str, np.ndarray]:
    """Per-sample values, NaN where one does not apply; all arrays (n,). `verdict` is a `Verdict` as text.

    Args:
        encoder: for the similarity of explanations and corrections with the reference; left out if None.
        categories: names the mismatch categories that a refusal claims, for RT-IoU; left out if None.
    """
    responses = [p.response for p in predictions]
    relevant = np.array([p.sample.relevant for p in predictions])
    verdicts = np.array([r.verdict.value for r in responses])
    refused = verdicts == Verdict.REFUSES
    iou = np.array([metrics.best_iou(r.spans, p.sample.spans) for r, p in zip(responses, predictions, strict=True)])
    values = {
        "relevant": relevant,
        "verdict": verdicts,
        "iou": np.where(relevant, iou, np.nan),
        "ra_iou": metrics.ra_iou(relevant, verdicts, iou),
        "format": np.array([float(r.well_formed) for r in responses]),
    }
    if encoder is not None:
        for name, said, truth in (
            ("explanation_similarity", [r.answer or "" for r in responses], [p.sample.answer for p in predictions]),
            ("correction_similarity", [r.correction or "" for r in responses], [p.sample.correction for p in predictions]),
        ):
            known = ~relevant & np.array([bool(text.strip()) for text in truth])  # an empty reference compares nothing
            values[name] = np.where(known, np.where(refused, encoder.cosine(said, truth), 0.0), np.nan)
    if categories is not None:
        values["rt_iou"] = np.array(
            [
                np.nan if p.sample.relevant else metrics.rt_iou({c.value for c in p.sample.categories}, categories(p))
                for p in predictions
            ]
        )
    if any(p.refusal_probability is not None for p in predictions):
        values["refusal_probability"] = np.array([p.refusal_probability for p in predictions], float)
    for name in sorted({name for p in predictions for name in p.judged}):
        values[name] = np.array([p.judged.get(name, np.nan) for p in predictions])
    return values


def summary(values: dict[str, np.ndarray]) -> dict[str, float]:
    """One row of a table out of per-sample values."""
    relevant, verdicts = values["relevant"], values["verdict"]
    refused = verdicts == Verdict.REFUSES
    row = {"n": int(len(relevant)), **metrics.relevance_f1(relevant, verdicts)}
    if relevant.all() or not relevant.any():  # F1 of a class that is not there says nothing, nor does a mean with it
        for name in ("f1", "f1_irrelevant" if relevant.all() else "f1_relevant"):
            del row[name]
    row["unreadable"] = float(np.mean(verdicts == Verdict.UNREADABLE))
    row["ra_iou"] = metrics.mean(values["ra_iou"])
    row |= {f"RA-{k}": v for k, v in metrics.recall_at(values["ra_iou"]).items()}
    if relevant.any():
        row["miou"] = metrics.mean(values["iou"][relevant])
        row |= metrics.recall_at(values["iou"][relevant])
        row["over_refusal"] = float(np.mean(refused[relevant]))
    if not relevant.all():
        row["refused"] = float(np.mean(refused[~relevant]))
    if "refusal_probability" in values:
        known = ~np.isnan(values["refusal_probability"])
        row["auroc"] = metrics.auroc(~relevant[known], values["refusal_probability"][known])
    for name in values.keys() - {"relevant", "verdict", "iou", "ra_iou", "refusal_probability"}:
        row[name] = metrics.mean(values[name])
    return row


def selective_risk(values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk when only the decisions are kept of which the model is surest: risk is the share of wrong
    relevance among them. Samples without a refusal probability are left out; both arrays are empty if all are."""
    sure = values.get("refusal_probability", np.full(len(values["relevant"]), np.nan))
    known = ~np.isnan(sure)
    right = metrics.is_right(values["relevant"][known], values["verdict"][known])
    return metrics.risk_coverage(np.abs(sure[known] - 0.5), right)


def _mean_f1(relevant: np.ndarray, verdicts: np.ndarray) -> float:
    """`metrics.relevance_f1(...)["f1"]` from counts: a bootstrap asks for it a thousand times."""
    f1 = []
    for true, said in ((relevant, verdicts == Verdict.GROUNDS), (~relevant, verdicts == Verdict.REFUSES)):
        f1.append(2 * np.sum(true & said) / max(1, np.sum(true) + np.sum(said)))
    return float(np.mean(f1))


def intervals(values: dict[str, np.ndarray], names: Sequence[str] = ("f1", "miou", "ra_iou")) -> dict[str, list[float]]:
    """95 % bootstrap intervals of the figures of a summary."""
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "f1": lambda i: _mean_f1(values["relevant"][i], values["verdict"][i]),
        "miou": lambda i: metrics.mean(values["iou"][i]),
        "ra_iou": lambda i: float(values["ra_iou"][i].mean()),
    }
    return {
        name: list(metrics.bootstrap(statistics[name], len(values["relevant"])))
        for name in names
        if (name != "miou" or values["relevant"].any()) and (name != "f1" or len(set(values["relevant"])) == 2)
    }


def by_group(predictions: Sequence[Prediction], values: dict[str, np.ndarray]) -> dict[str, dict[str, dict]]:
    """Refusal accuracy of irrelevant queries by difficulty, category and number of them."""
    groups: dict[str, dict[str, list[float]]] = {"difficulty": {}, "category": {}}
    for prediction, refused in zip(predictions, values["verdict"] == Verdict.REFUSES, strict=True):
        sample = prediction.sample
        if sample.relevant:
            continue
        groups["difficulty"].setdefault(sample.difficulty.value, []).append(float(refused))
        for category in sample.categories:
            groups["category"].setdefault(category.short, []).append(float(refused))
    order = [d.value for d in Difficulty] + [c.short for c in Category]
    return {
        kind: {
            name: {"refused": float(np.mean(found[name])), "n": len(found[name])}
            for name in sorted(found, key=order.index)
        }
        for kind, found in groups.items()
    }


def report(predictions: dict[str, Sequence[Prediction]], **options) -> dict:
    """Summaries with intervals and groups of several systems over the same samples, reference rows added.

    Args:
        predictions: system name → its predictions.
        options: see `scores`.
    """
    samples = [p.sample for p in next(iter(predictions.values()))]
    systems = {**predictions, **{name: reference_predictions(samples, name) for name in REFERENCE_ROWS}}
    rows = {}
    for name, found in systems.items():
        values = scores(found, **options)
        rows[name] = {**summary(values), "intervals": intervals(values), "groups": by_group(found, values)}
    return rows


def markdown(rows: dict[str, dict], columns: Sequence[str]) -> str:
    """A table of systems by figures; a figure with an interval is written with it."""

    def cell(row: dict, column: str) -> str:
        value = row.get(column)
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "–"
        if isinstance(value, int):
            return str(value)
        around = row.get("intervals", {}).get(column)
        return f"{value:.3f}" + (f" [{around[0]:.3f}, {around[1]:.3f}]" if around else "")

    lines = ["| system | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(row, c) for c in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)

