"""Predictions → figures: values per sample, summaries, intervals, groups.

A rule reads the relevance of an answer (`rarft.reading.answer`: it grounds, refuses, or is unreadable). The rule agreed
with the official LLM judge on all 54 published items. Every table has the rows always-refuse, never-refuse and oracle
for reference: on a balanced set, always refusing gets an RA-IoU of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rarft import metrics
from rarft.asking.answer import Prediction
from rarft.asking.dataset import CategoryJudge
from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Category, Difficulty, Sample, Verdict
from rarft.system.errors import InputError

OFFICIAL_RT_IOU = "official_rt_iou_"


def scores(
    predictions: Sequence[Prediction],
    *,
    encoder: SentenceEncoder | None = None,
    categories: Mapping[str, CategoryJudge] | None = None,
) -> dict[str, np.ndarray]:
    """Values per sample by name, arrays (n,); NaN where a value does not apply. `verdict` is a `Verdict` as text.

    Args:
        encoder: for the similarity of explanations and corrections with the reference; left out if None.
        categories: judge name → a function that finds the mismatch categories in a refusal. Each judge has its own
            values, `rt_iou_JUDGE` and `official_rt_iou_JUDGE` (see `rarft.metrics`).

    Raises InputError for a prediction with an error.
    """
    failed = next((p.error for p in predictions if p.error is not None), None)
    if failed is not None:
        raise InputError(f"a prediction without an answer has no figures; leave it out: {failed}")
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
            (
                "correction_similarity",
                [r.correction or "" for r in responses],
                [p.sample.correction for p in predictions],
            ),
        ):
            known = ~relevant & np.array([bool(text.strip()) for text in truth])  # leave out empty references
            values[name] = np.where(known, np.where(refused, encoder.cosine(said, truth), 0.0), np.nan)
    for judge, named in (categories or {}).items():
        figures = [
            {} if p.sample.relevant else category_figures(judge, p.sample, named(p.response)) for p in predictions
        ]
        for name in (f"rt_iou_{judge}", f"{OFFICIAL_RT_IOU}{judge}"):
            values[name] = np.array([figure.get(name, np.nan) for figure in figures])
    if any(p.refusal_probability is not None for p in predictions):
        values["refusal_probability"] = np.array([p.refusal_probability for p in predictions], float)
    for name in sorted({name for p in predictions for name in p.judged}):
        values[name] = np.array([p.judged.get(name, np.nan) for p in predictions])
    return values


def category_figures(judge: str, sample: Sample, named: set[str]) -> dict[str, float]:
    """`rt_iou_JUDGE` and `official_rt_iou_JUDGE` of an irrelevant sample whose refusal names these categories."""
    true = {category.value for category in sample.categories}
    return {
        f"rt_iou_{judge}": metrics.rt_iou(true, named),
        f"{OFFICIAL_RT_IOU}{judge}": metrics.official_jaccard(true, named),
    }


def summary(values: dict[str, np.ndarray]) -> dict[str, float]:
    """One row of a table from values per sample."""
    relevant, verdicts = values["relevant"], values["verdict"]
    refused = verdicts == Verdict.REFUSES
    row = {"n": int(len(relevant)), **metrics.relevance_f1(relevant, verdicts)}
    if relevant.all() or not relevant.any():  # F1 of an absent class means nothing, nor does the mean
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
        row["fpr95"] = metrics.fpr_at_tpr(~relevant[known], values["refusal_probability"][known])
    others = {"relevant", "verdict", "iou", "ra_iou", "refusal_probability"}
    for name in (name for name in values if name not in others):
        merge = metrics.official_rt_iou if name.startswith(OFFICIAL_RT_IOU) else metrics.mean
        row[name] = merge(values[name])
    return row


def selective_risk(values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk when only the most confident decisions are kept: risk is the share of them with the wrong
    relevance. Samples without a refusal probability are left out; both arrays are empty if no sample has one."""
    sure = values.get("refusal_probability", np.full(len(values["relevant"]), np.nan))
    known = ~np.isnan(sure)
    right = metrics.is_right(values["relevant"][known], values["verdict"][known])
    return metrics.risk_coverage(np.abs(sure[known] - 0.5), right)


def _mean_f1(relevant: np.ndarray, verdicts: np.ndarray) -> float:
    """`metrics.relevance_f1(...)["f1"]` from counts, faster, since a bootstrap calls it a thousand times."""
    f1 = []
    for true, said in ((relevant, verdicts == Verdict.GROUNDS), (~relevant, verdicts == Verdict.REFUSES)):
        f1.append(2 * np.sum(true & said) / max(1, np.sum(true) + np.sum(said)))
    return float(np.mean(f1))


def intervals(values: dict[str, np.ndarray], names: Sequence[str] = ("f1", "miou", "ra_iou")) -> dict[str, list[float]]:
    """95 % bootstrap intervals of the named figures of a summary."""
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
    """The share of irrelevant queries that are refused, and their number, by difficulty and by category."""
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
            name: {"refused": float(np.mean(shares[name])), "n": len(shares[name])}
            for name in sorted(shares, key=order.index)
        }
        for kind, shares in groups.items()
    }
