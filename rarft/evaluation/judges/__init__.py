"""Judges of refusals. A judge is a function from predictions to figures by name for each; `judged` adds the figures.

A data set may have judges that use its exact truth (`rarft.asking.dataset.Judges`). `llm` asks a chat model, and
`categories` learns from a data set's references. To add a judge, write a function and pass it to `judged`, or name it
with `rarft evaluate --judge-function module:function`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rarft.asking.answer import Prediction
from rarft.asking.dataset import CategoryJudge, Figures, Judge, Judges
from rarft.system.errors import InputError

__all__ = ["CategoryJudge", "Figures", "Judge", "Judges", "judged"]


def judged(predictions: Sequence[Prediction], judge: Judge) -> list[Prediction]:
    """The predictions with a judge's figures added.

    Raises InputError if the judge does not return one set of figures per prediction.
    """
    figures = judge(predictions)
    if len(figures) != len(predictions):
        name = getattr(judge, "__name__", type(judge).__name__)
        raise InputError(f"judge {name}: {len(figures)} figures for {len(predictions)} predictions")
    return [replace(p, judged={**p.judged, **new}) for p, new in zip(predictions, figures, strict=True)]
