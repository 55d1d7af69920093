"""Does a model look? The same queries about videos that cannot answer them, or no longer show the same.

A model that looks gets worse on every one of them. Where a figure stays as it was, it came from the words of the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarft.asking.asker import Asker, Change, LocalAsker
from rarft.evaluation.predictions import predict
from rarft.evaluation.scoring import scores, summary
from rarft.hivtg.statistics import leak_score
from rarft.models import VideoModel
from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.video import Clip

FIGURES = ("f1", "auroc", "miou", "over_refusal", "refused")


def blank(clip: Clip) -> Clip:
    """Grey frames: nothing to be seen."""
    return replace(clip, frames=np.full_like(clip.frames, 128))


def reversed_in_time(clip: Clip) -> Clip:
    """The last frame first: another order, other directions of motion."""
    return replace(clip, frames=clip.frames[::-1])


def frames_shuffled(clip: Clip) -> Clip:
    """The same frames in random order, which is fixed by their number: what happens is gone, what things look like is
    not."""
    order = np.random.default_rng(len(clip.frames)).permutation(len(clip.frames))
    return replace(clip, frames=clip.frames[order])


CHANGES: dict[str, Change | None] = {
    "as it is": None,
    "blank": blank,
    "reversed": reversed_in_time,
    "frames shuffled": frames_shuffled,
    "another video": None,  # see `swapped`
}


def swapped(samples: Sequence[Sample]) -> list[Sample]:
    """Each query with the video of the next one in the list: the truth of its own video no longer holds.

    Raises InputError if all samples are about one video.
    """
    crops = list(dict.fromkeys(sample.crop for sample in samples))
    if len(crops) < 2:
        raise InputError("queries can be put to another video only if there are two or more")
    following = dict(zip(crops, crops[1:] + crops[:1], strict=True))
    return [replace(sample, **following[sample.crop]._asdict()) for sample in samples]


def probe(model: VideoModel | Asker, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """The figures of a model on the same samples with their videos changed in each way, scored against the labels of
    the unchanged ones; and of a classifier that reads the queries only.

    Returns rows by the name of the change; a figure is missing where it cannot be computed (a set of one relevance).
    """
    asker = LocalAsker(model) if isinstance(model, VideoModel) else model
    others, rows = swapped(samples), {}
    for name, change in CHANGES.items():
        given = others if name == "another video" else samples
        row = summary(scores(predict(asker.with_change(change) if change else asker, given, desc=name)))
        rows[name] = {figure: row[figure] for figure in FIGURES if figure in row}
    queries, irrelevant = [s.query for s in samples], [not s.relevant for s in samples]
    leak = leak_score(queries, irrelevant, [s.video for s in samples])
    rows["query only, a classifier"] = {"auroc": leak}
    return rows
