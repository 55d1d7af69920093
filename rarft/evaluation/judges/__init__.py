"""Judges of refusals. A judge looks at predictions and gives figures by name to each; `judged` adds them.

`exact` knows the truth of the world, `llm` asks a chat model, `categories` learns from a data set's references. To add
one, write a function of your own and pass it to `judged`, or name it as `rarft evaluate --judge-function
module:function`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rarft.evaluation.predictions import Prediction
from rarft.system.errors import InputError

Figures = dict[str, float]
Judge = Callable[[Sequence[Prediction]], Sequence[Figures]]
CategoryJudge = Callable[[Prediction], set[str]]  # the mismatch categories that a refusal names
CategoryJudges = Mapping[str, CategoryJudge]  # by name: each has columns of its own in a report


def judged(predictions: Sequence[Prediction], judge: Judge) -> list[Prediction]:
    """The predictions with a judge's figures added to those that they have.

    Raises InputError if the judge gives another number of them.
    """
    figures = judge(predictions)
    if len(figures) != len(predictions):
        name = getattr(judge, "__name__", type(judge).__name__)
        raise InputError(f"judge {name}: {len(figures)} figures for {len(predictions)} predictions")
    return [replace(p, judged={**p.judged, **new}) for p, new in zip(predictions, figures, strict=True)]
