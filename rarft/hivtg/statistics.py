"""What is in an HI-VTG file: counts, lengths, how near the irrelevant queries are, and whether the text gives them
away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Sample


def statistics(samples: Sequence[Sample], encoder: SentenceEncoder | None = None) -> dict:
    """Counts by relevance, difficulty and category; words a query; the leak score; with `encoder`, similarity.

    similarity: mean cosine of an irrelevant query with the nearest relevant query of its video, by difficulty. A hard
    set is near 1, a shuffled one near 0.
    """
    irrelevant = [s for s in samples if not s.relevant]
    figures = {
        "videos": len({s.video for s in samples}),
        "relevant": len(samples) - len(irrelevant),
        "irrelevant": len(irrelevant),
        "difficulty": dict(Counter(s.difficulty.value for s in irrelevant)),
        "category": dict(Counter(c.value for s in irrelevant for c in s.categories)),
        "words": {
            "relevant": _mean_words([s.query for s in samples if s.relevant]),
            "irrelevant": _mean_words([s.query for s in irrelevant]),
            "refusal": _mean_words([s.answer for s in irrelevant if s.answer]),
        },
        "leak": leak_score([s.query for s in samples], [not s.relevant for s in samples], [s.video for s in samples]),
    }
    if encoder is not None:
        figures["similarity"] = _similarity(samples, encoder)
    return figures


def leak_score(queries: Sequence[str], irrelevant: Sequence[bool], videos: Sequence[str], folds: int = 5) -> float:
    """AUROC of telling irrelevant queries by their words and word pairs alone, cross-validated over videos.

    0.5: the text tells nothing. Well above it: a model can refuse without a look, and a high F1 on this set proves
    little. Far below it: shuffled queries, each of which is relevant to one video and irrelevant to another, so that
    what was learned on some videos is wrong on the others. NaN if there is one relevance only, or fewer videos than
    folds."""
    if len(set(irrelevant)) < 2 or len(set(videos)) < folds:
        return float("nan")
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").fit_transform(queries)
    chance = cross_val_predict(
        LogisticRegression(C=0.1, max_iter=1000),
        words,
        list(irrelevant),
        groups=list(videos),
        cv=GroupKFold(folds),
        method="predict_proba",
    )
    return float(roc_auc_score(irrelevant, chance[:, 1]))


def _mean_words(texts: Sequence[str]) -> float:
    return float(np.mean([len(text.split()) for text in texts])) if texts else float("nan")


def _similarity(samples: Sequence[Sample], encoder: SentenceEncoder) -> dict[str, float]:
    relevant: dict[str, list[str]] = {}
    for sample in samples:
        if sample.relevant:
            relevant.setdefault(sample.video, []).append(sample.query)
    nearest: dict[str, list[float]] = {}
    for sample in samples:
        if not sample.relevant and sample.video in relevant:
            near = encoder(relevant[sample.video]) @ encoder([sample.query])[0]
            nearest.setdefault(sample.difficulty.value, []).append(float(near.max()))
    return {level: float(np.mean(values)) for level, values in nearest.items()}
