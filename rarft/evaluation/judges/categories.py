"""The offline judge of mismatch categories: which of the eleven does a refusal name, in any wording?

For the world, a grammar gives the exact categories (`rarft.world.judge.claimed_categories`). For other data, a
classifier learns from the references of the evaluated data set, whose categories are known. It is not trained on any
model's answers or on videos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from rarft.asking.dataset import Judges
from rarft.metrics import OFFICIAL_SPLITS, rt_iou
from rarft.reading.completion import Response
from rarft.rewards.encoder import SentenceEncoder, default_encoder
from rarft.schema import Sample
from rarft.system.errors import InputError

FEWEST = 20  # references with categories to learn from


class CategoryClassifier:
    """One logistic regression per category on sentence embeddings of refusals. Call it with a `Response`."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        model: OneVsRestClassifier,
        names: MultiLabelBinarizer,
        references: tuple[np.ndarray, np.ndarray],
    ):
        """Takes a fitted model, and the embeddings (n, d) and targets (n, categories) of its references; see `fit`."""
        self.encoder, self._model, self._names, self._references = encoder, model, names, references

    @classmethod
    def fit(cls, references: Sequence[Sample], encoder: SentenceEncoder) -> CategoryClassifier:
        """Learn from the irrelevant samples that have an answer and categories. Raises InputError if there are too
        few."""
        known = [s for s in references if not s.relevant and s.categories and s.answer.strip()]
        if len(known) < FEWEST:
            raise InputError(f"{len(known)} refusals with known categories; at least {FEWEST} are needed to learn from")
        names = MultiLabelBinarizer()
        targets = names.fit_transform([[c.value for c in s.categories] for s in known])
        embeddings = encoder([s.answer for s in known])
        return cls(encoder, _untrained().fit(embeddings, targets), names, (embeddings, targets))

    def __call__(self, response: Response) -> set[str]:
        """The categories that a refusal names; an empty set for any other response."""
        if not response.refused:
            return set()
        return self._read(self._model.predict_proba(self.encoder([response.answer or ""])))[0]

    def agreement(self) -> float:
        """The mean Jaccard index with the known categories of the references, by five-fold cross-validation. It says
        how reliable this judge is on this data set."""
        folds = KFold(5, shuffle=True, random_state=0)
        embeddings, targets = self._references
        shares = cross_val_predict(_untrained(), embeddings, targets, cv=folds, method="predict_proba")
        truth = self._names.inverse_transform(targets)
        return float(np.mean([rt_iou(set(t), said) for t, said in zip(truth, self._read(shares), strict=True)]))

    def _read(self, shares: np.ndarray) -> list[set[str]]:
        """Every category with a probability of at least 0.5, and always the most likely one."""
        chosen = shares >= 0.5
        chosen[np.arange(len(shares)), shares.argmax(1)] = True
        return [set(self._names.classes_[row]) for row in chosen]


def _untrained() -> OneVsRestClassifier:
    return OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced"))


def learned_judges(references: Sequence[Sample]) -> Judges:
    """The judge of categories trained on the references of a data set; no judge if there are too few references."""
    try:
        judge = CategoryClassifier.fit(references, default_encoder())
    except InputError as reason:
        return Judges(about=f"no categories are judged: {reason}")
    agreement = f"Jaccard {judge.agreement():.2f} with known ones (five folds)"
    merge = f"official_rt_iou: merged as the released evaluator does, over {OFFICIAL_SPLITS} splits"
    return Judges({"classifier": judge}, f"categories by a classifier of sentence embeddings; {agreement}; {merge}")
