"""Evaluation: predictions of a model, judges of its refusals, figures, tables and reports."""

from rarft.asking.answer import Answer, Prediction
from rarft.evaluation.judges import Judges, judged
from rarft.evaluation.judges.categories import CategoryClassifier
from rarft.evaluation.official_predictions import read_official_predictions
from rarft.evaluation.predictions import predict, read_predictions, write_predictions
from rarft.evaluation.scoring import by_group, intervals, scores, selective_risk, summary
from rarft.evaluation.tables import REFERENCE_ROWS, markdown, reference_predictions, report

__all__ = [
    "REFERENCE_ROWS",
    "Answer",
    "CategoryClassifier",
    "Judges",
    "Prediction",
    "by_group",
    "intervals",
    "judged",
    "markdown",
    "predict",
    "read_official_predictions",
    "read_predictions",
    "reference_predictions",
    "report",
    "scores",
    "selective_risk",
    "summary",
    "write_predictions",
]
