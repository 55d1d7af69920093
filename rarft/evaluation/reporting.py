"""Predictions of one or more systems → report.json, report.md and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rarft.asking.answer import Prediction
from rarft.asking.dataset import Judge, Judges
from rarft.asking.llm import LLM
from rarft.evaluation.judges import judged
from rarft.evaluation.judges.llm import LLMJudge
from rarft.evaluation.page import write_page
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
    llm: a language model that judges the refusals, see `rarft.evaluation.judges.llm`.
    judges: your own judges, see `rarft.evaluation.judges`; each of their figures becomes a column.
    """

    reading: str = "strict"
    similarity: str = MINILM
    llm: LLM | None = None
    judges: Sequence[Judge] = ()


@dataclass(frozen=True)
class LeftOut:
    """Queries left out of all figures: `queries` out of `of`. videos: each video with a query that has no
    answer, and one error: it cannot be read, or a server failed."""

    queries: int = 0
    of: int = 0
    videos: Mapping[str, str] = field(default_factory=dict)

    def in_words(self) -> list[str]:
        """Lines of Markdown: the counts, then one line for each video; an empty list if nothing was left out."""
        if not self.queries:
            return []
        counts = f"left out of all figures: {self.queries} of {self.of} queries, which have no answer:"
        return [counts, *(f"- {plain(reason)}" for reason in self.videos.values())]


def write_report(
    systems: Mapping[str, Sequence[Prediction]],
    out: Path,
    *,
    about: Mapping[str, str],
    judges: Judges,
    scoring: Scoring,
    probes: dict[str, dict[str, float]] | None = None,
    left_out: LeftOut | None = None,
) -> str:
    """Score systems on the same samples, and report the first in comparison with the others. Returns the table.

    All judges judge all systems, except the language model, which judges only the first to save cost.

    Args:
        about: `model` and `data`, names for the report.
        judges: those of the data set; they run before those of `scoring`.
        probes: see `rarft.evaluation.probes.probe`.
        left_out: the queries without figures, listed below the table.
    """
    systems = {name: [replace(p, reading=scoring.reading) for p in given] for name, given in systems.items()}
    for judge in (*judges.figures, *scoring.judges):
        systems = {name: judged(given, judge) for name, given in systems.items()}
    first, *others = systems
    llm_judge = LLMJudge(scoring.llm, offline=next(iter(judges.categories.values()), None)) if scoring.llm else None
    if llm_judge:
        systems[first] = judged(systems[first], llm_judge)
    rows = report(systems, encoder=default_encoder(scoring.similarity), categories=judges.categories)
    paired = {name: paired_comparison(systems[name], systems[first]) for name in others}
    notes = [_sentence(name, *item) for name, figures in paired.items() for item in figures.items()]
    notes += left_out.in_words() if left_out else []
    how_read = f"Completions are read by the {scoring.reading} reading; texts are compared by {scoring.similarity}."
    contents = {
        **about,
        "reading": scoring.reading,
        "similarity": scoring.similarity,
        "machine": machine(),
        "rows": rows,
        "judge": llm_judge.about if llm_judge else None,
        "offline_judge": judges.about,
        "probes": probes,
        "paired": paired[others[0]] if others else None,
        "left_out": left_out and asdict(left_out),
    }
    columns = _columns(rows, systems[first])
    table = "\n\n".join(filter(None, (markdown(rows, columns), "\n".join(notes))))
    looks = f"\n\nDoes it look?\n\n{markdown(probes, FIGURES)}" if probes else ""
    write_json(out / "report.json", nan_as_null(contents))
    write_text(out / "report.md", f"{table}{looks}\n\n{how_read}\n")
    write_page(out / "report.html", contents, systems[first], columns=columns, notes=[*notes, how_read])
    return table


def _columns(rows: Mapping[str, Mapping], predictions: Sequence[Prediction]) -> list[str]:
    """The figures that any system has; those of your own judges come last."""
    known = dict.fromkeys((*COLUMNS, *(name for p in predictions for name in p.judged)))
    return [column for column in known if any(column in row for row in rows.values())]


def paired_comparison(other: Sequence[Prediction], ours: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """`rarft.metrics.paired_difference` (ours minus other) of relevance accuracy and RA-IoU on the same samples."""
    a, b = scores(other), scores(ours)
    accuracy = [is_right(values["relevant"], values["verdict"]).astype(float) for values in (a, b)]
    return {"accuracy": paired_difference(*accuracy), "ra_iou": paired_difference(a["ra_iou"], b["ra_iou"])}


def _sentence(other: str, figure: str, difference: Mapping[str, float]) -> str:
    interval = f"{difference['difference']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f"{figure}: {interval} against {plain(other)}, sample by sample"
