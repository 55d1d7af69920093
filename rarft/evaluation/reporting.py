"""Predictions of one system or more → report.json, report.md and report.html."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarft.asking.llm import LLM
from rarft.evaluation.judges import CategoryJudges, Judge, judged
from rarft.evaluation.judges.llm import LLMJudge
from rarft.evaluation.page import how_read, write_page
from rarft.evaluation.predictions import Prediction
from rarft.evaluation.probes import FIGURES
from rarft.evaluation.scoring import scores
from rarft.evaluation.tables import markdown, plain, report
from rarft.metrics import is_right, paired_difference
from rarft.rewards.encoder import MINILM, default_encoder
from rarft.system.files import nan_as_null, write_json, write_text
from rarft.system.machine import machine

COLUMNS = (
    "n",
    "f1",
    "f1_relevant",
    "f1_irrelevant",
    "auroc",
    "ra_iou",
    "miou",
    "over_refusal",
    "refused",
    "unreadable",
    "rt_iou_exact",
    "rt_iou_classifier",
    "explanation_similarity",
    "explanation_true",
    "correction_true",
    "llm_score",
    "rt_iou_llm",
    "official_rt_iou_classifier",
    "official_rt_iou_llm",
)


@dataclass(frozen=True)
class Scoring:
    """How predictions become figures.

    reading: how completions are read, see `rarft.reading.completion.parse_response`.
    similarity: the sentence encoder that compares explanations and corrections with their references.
    llm: asked to judge the refusals, see `rarft.evaluation.judges.llm`.
    judges: of your own, see `rarft.evaluation.judges`; each figure that they give becomes a column.
    """

    reading: str = "strict"
    similarity: str = MINILM
    llm: LLM | None = None
    judges: Sequence[Judge] = ()


@dataclass(frozen=True)
class LeftOut:
    """Queries without figures. queries: their number. of: that of all queries. videos: the unreadable ones, and why."""

    queries: int
    of: int
    videos: Mapping[str, str]

    def in_words(self) -> str:
        """A line with the counts, and one for each video; "" if nothing was left out."""
        if not self.queries:
            return ""
        counts = f"left out of all figures: {self.queries} of {self.of} queries, of videos that cannot be read:"
        return "\n".join([counts, *(f"- {plain(reason)}" for reason in self.videos.values())])


def write_report(
    systems: Mapping[str, Sequence[Prediction]],
    out: Path,
    *,
    about: dict[str, str],
    categories: tuple[CategoryJudges, str],
    scoring: Scoring,
    probes: dict[str, dict[str, float]] | None = None,
    left_out: LeftOut | None = None,
) -> str:
    """Score systems on the same samples, the first of which is reported, the others compared with it. Returns the
    table.

    All judges judge all systems, but for the language model, which costs: it judges the first.

    Args:
        about: `model` and `data`, for the reader.
        categories: the judges of mismatch categories by name, see `rarft.evaluation.scoring.scores`, and what a report
            says of them. A language model is not one of them.
        probes: see `rarft.evaluation.probes.probe`.
        left_out: named below the table.
    """
    systems = {name: _read_and_judged(given, scoring) for name, given in systems.items()}
    first, *others = systems
    llm_judge = LLMJudge(scoring.llm, offline=next(iter(categories[0].values()), None)) if scoring.llm else None
    if llm_judge:
        systems[first] = judged(systems[first], llm_judge)
    rows = report(systems, encoder=default_encoder(scoring.similarity), categories=categories[0])
    paired = {name: paired_comparison(systems[name], systems[first]) for name in others}
    said = left_out.in_words() if left_out else ""
    table = "\n\n".join(filter(None, (_table(rows, paired, systems[first]), said)))
    contents: dict[str, Any] = {
        **about,
        "reading": scoring.reading,
        "similarity": scoring.similarity,
        "machine": machine(),
        "rows": rows,
        "judge": llm_judge.about if llm_judge else None,
        "offline_judge": categories[1],
        "probes": probes,
    }
    more = {"paired": paired[others[0]] if others else None, "left_out": left_out and dataclasses.asdict(left_out)}
    write_json(out / "report.json", nan_as_null({**contents, **more}))
    probed = f"\n\nDoes it look?\n\n{markdown(probes, FIGURES)}" if probes else ""
    write_text(out / "report.md", f"{table}{probed}\n\n{how_read(scoring.reading, scoring.similarity)}\n")
    write_page(out / "report.html", table=table, predictions=systems[first], **contents)
    return table


def _table(rows: dict[str, dict], paired: Mapping[str, dict], predictions: Sequence[Prediction]) -> str:
    """The Markdown table of all figures that any system has, and a sentence for each comparison."""
    known = dict.fromkeys((*COLUMNS, *(name for p in predictions for name in p.judged)))
    table = markdown(rows, [column for column in known if any(column in row for row in rows.values())])
    sentences = [
        _sentence(figure, difference, name)
        for name, figures in paired.items()
        for figure, difference in figures.items()
    ]
    return "\n\n".join(filter(None, (table, "\n".join(sentences))))


def _read_and_judged(predictions: Sequence[Prediction], scoring: Scoring) -> list[Prediction]:
    predictions = [dataclasses.replace(p, reading=scoring.reading) for p in predictions]
    for judge in scoring.judges:
        predictions = judged(predictions, judge)
    return predictions


def paired_comparison(other: Sequence[Prediction], ours: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """`rarft.metrics.paired_difference`, ours minus the other, of right relevance and of RA-IoU on the same samples."""
    a, b = scores(other), scores(ours)
    accuracy = [is_right(values["relevant"], values["verdict"]).astype(float) for values in (a, b)]
    return {"accuracy": paired_difference(*accuracy), "ra_iou": paired_difference(a["ra_iou"], b["ra_iou"])}


def _sentence(name: str, difference: Mapping[str, float], other: str) -> str:
    interval = f"{difference['difference']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f"{name}: {interval} against {plain(other)}, sample by sample"
