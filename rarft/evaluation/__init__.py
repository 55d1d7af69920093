"""Evaluation: predictions of a model, judges of them, figures, tables and a report."""

from rarft.evaluation.judges import judged
from rarft.evaluation.judges.categories import CategoryClassifier
from rarft.evaluation.judges.exact import agreement_by_category, claimed_categories, world_judge
from rarft.evaluation.official_predictions import read_official_predictions
from rarft.evaluation.predictions import Prediction, predict, read_predictions, write_predictions
from rarft.evaluation.scoring import by_group, intervals, scores, selective_risk, summary
from rarft.evaluation.tables import REFERENCE_ROWS, markdown, reference_predictions, report

__all__ = [
    "REFERENCE_ROWS",
    "CategoryClassifier",
    "Prediction",
    "agreement_by_category",
    "by_group",
    "claimed_categories",
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
    "world_judge",
    "write_predictions",
]
