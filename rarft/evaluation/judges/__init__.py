"""Judges of refusals. A judge looks at predictions and gives figures by name to each; `judged` adds them.

A data set may bring judges that know its truth (`rarft.asking.dataset.Judges`). `llm` asks a chat model, and
`categories` learns from a data set's references. To add one, write a function of your own and pass it to `judged`, or
name it as `rarft evaluate --judge-function module:function`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rarft.asking.answer import Prediction
from rarft.asking.dataset import CategoryJudge, Figures, Judge, Judges
from rarft.system.errors import InputError

__all__ = ["CategoryJudge", "Figures", "Judge", "Judges", "judged"]


def judged(predictions: Sequence[Prediction], judge: Judge) -> list[Prediction]:
    """The predictions with a judge's figures added to those that they have.

    Raises InputError if the judge gives another number of them.
    """
    figures = judge(predictions)
    if len(figures) != len(predictions):
        name = getattr(judge, "__name__", type(judge).__name__)
        raise InputError(f"judge {name}: {len(figures)} figures for {len(predictions)} predictions")
    return [replace(p, judged={**p.judged, **new}) for p, new in zip(predictions, figures, strict=True)]
