"""Samples become rows of a training set: what TRL's trainer draws from, and what the rewards read by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from rarft.prompts import build_prompt
from rarft.schema import Group, Sample
from rarft.system.errors import InputError


def refusal_dataset(
    groups: Sequence[Group],
    style: str,
    *,
    epochs: int = 1,
    seed: int = 0,
    irrelevant_share: float = 0.5,
) -> Dataset:
    """Two prompts a video and epoch: the relevant query, and one of the same video's irrelevant queries, at random.

    The paper: each step draws one of a video's three irrelevant queries. Here an epoch draws one; which depends only on
    (seed, epoch, video), so that all completions of a group and all processes see the same.

    Args:
        groups: one per video.
        style: of the prompts, see `rarft.prompts`.
        irrelevant_share: how many of the prompts are irrelevant queries. One half, as in the paper, gives each video
            one of either kind; any other share draws the kind of each prompt. 0 is GRPO on ordinary grounding data.

    Returns a `datasets.Dataset` whose rows are made when they are asked for. Raises InputError for a group that
    lacks either relevance, or for a share outside [0, 1].
    """
    if not 0 <= irrelevant_share <= 1:
        raise InputError(f"irrelevant_share is {irrelevant_share}; it has to be from 0 to 1")
    groups = [Group.of(group) for group in groups]

    def row(index: int) -> dict:
        epoch, rest = divmod(index, 2 * len(groups))
        video, turn = divmod(rest, 2)
        relevant, others = groups[video].relevant, groups[video].irrelevant
        rng = np.random.default_rng([seed, epoch, video])
        other = others[rng.integers(len(others))]
        irrelevant = turn == 1 if irrelevant_share == 0.5 else rng.random(2)[turn] < irrelevant_share
        return row_of(other, relevant, style) if irrelevant else row_of(relevant, other, style)

    def rows(batch: dict) -> dict:
        made = [row(index) for index in batch["index"]]
        return {name: [one[name] for one in made] for name in made[0]}

    # A transform, not stored columns: Arrow would give every message part every key, and chat templates ask for keys.
    return Dataset.from_dict({"index": list(range(2 * len(groups) * epochs))}).with_transform(rows)


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
