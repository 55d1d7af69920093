"""Samples → rows of a training set, with the columns that TRL's trainer and the rewards read."""

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
    """Two prompts per video and epoch: the relevant query, and a random one of the video's irrelevant queries.

    In the paper, each step draws one of a video's three irrelevant queries. Here each epoch draws one, which depends
    only on (seed, epoch, video), so that all processes get the same prompts.

    Args:
        groups: one per video.
        style: prompt style, see `rarft.prompts`.
        irrelevant_share: the share of irrelevant queries. 0.5, as in the paper, gives each video one prompt of each
            relevance; any other share draws the relevance of each prompt. 0 is GRPO on ordinary grounding data.

    Returns a `datasets.Dataset` whose rows are made on access. Raises InputError for a group without a relevant or
    without an irrelevant sample, or for a share outside [0, 1].
    """
    if not 0 <= irrelevant_share <= 1:
        raise InputError(f"irrelevant_share is {irrelevant_share}; a number from 0 to 1 was expected")
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

    # A transform, not stored columns: Arrow would add every key to every message part; chat templates test for keys.
    return Dataset.from_dict({"index": list(range(2 * len(groups) * epochs))}).with_transform(rows)


def row_of(sample: Sample, opposite: Sample, style: str) -> dict:
    """One row: the chat prompt with its video, and the columns for `rarft.rewards`.

    Args:
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
    """The text that belongs in `<answer>`: the segment as the data set writes it, or the refusal."""
    return sample.answer or str(sample.spans[0]) if sample.relevant else sample.answer
