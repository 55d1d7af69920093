"""Samples become rows of a training set: what TRL's trainer draws from, and what the rewards read by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from rarft.errors import InputError
from rarft.prompts import build_prompt
from rarft.schema import Sample


def refusal_dataset(
    groups: Sequence[Sequence[Sample]], style: str, *, epochs: int = 1, seed: int = 0, relevant_only: bool = False
) -> Dataset:
    """Relevant queries, each followed by one of the same video's irrelevant queries, drawn at random.

    The paper: each step draws one of a video's three irrelevant queries. Here an epoch draws one; which depends only on
    (seed, epoch, video), so that all completions of a group and all processes see the same.

    Args:
        groups: per video, the relevant sample first, then its irrelevant ones.
        style: of the prompts, see `rarft.prompts`.
        relevant_only: leave the irrelevant ones out, for the ablation of GRPO on ordinary grounding data.

    Returns a `datasets.Dataset` whose rows are made when they are asked for. Raises InputError for a group that
    lacks either relevance.
    """
    for group in groups:
        if len(group) < 2 or not group[0].relevant or any(sample.relevant for sample in group[1:]):
            name = group[0].video if group else "an empty group"
            raise InputError(f"{name}: a group is one relevant sample, then at least one irrelevant one")
    kinds = 1 if relevant_only else 2

    def row(index: int) -> dict:
        epoch, rest = divmod(index, len(groups) * kinds)
        video, kind = divmod(rest, kinds)
        relevant, *others = groups[video]
        other = others[np.random.default_rng([seed, epoch, video]).integers(len(others))]
        return row_of(relevant, other, style) if kind == 0 else row_of(other, relevant, style)

    def rows(batch: dict) -> dict:
        made = [row(index) for index in batch["index"]]
        return {name: [one[name] for one in made] for name in made[0]}

    # A transform, not stored columns: Arrow would give every message part every key, and chat templates ask for keys.
    return Dataset.from_dict({"index": list(range(len(groups) * kinds * epochs))}).with_transform(rows)


def row_of(sample: Sample, opposite: Sample, style: str) -> dict:
    """One row: the chat prompt with its video, and the columns of `rarft.rewards`.

    opposite: a sample of the other relevance about the same video, for the explain reward's contrast.
    """
    return {
        "prompt": build_prompt(sample.query, style, video=sample.video, start=sample.start, end=sample.end),
        "query": sample.query,
        "spans": [list(span) for span in sample.spans],
        "duration": sample.duration,
        "answer": reference_answer(sample),
        "contrast": reference_answer(opposite),
        "correction": "NIL" if sample.relevant else sample.correction,
    }


def reference_answer(sample: Sample) -> str:
    """The text that belongs into `<answer>`: the segment, as the data set writes it, or the refusal."""
    return sample.answer or str(sample.spans[0]) if sample.relevant else sample.answer
