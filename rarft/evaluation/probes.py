"""Does a model use the video? Ask the same queries about videos that are blank, reordered or swapped.

The figures of a model that uses the video get worse with each change. A figure that stays the same came from the words
of the query alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarft.asking.answer import Prediction
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
    """Replace all frames by grey."""
    return replace(clip, frames=np.full_like(clip.frames, 128))


def reversed_in_time(clip: Clip) -> Clip:
    """Reverse the frames: the order of events and the directions of motion change."""
    return replace(clip, frames=clip.frames[::-1])


def frames_shuffled(clip: Clip) -> Clip:
    """Shuffle the frames, with a seed that is their number. Motion is lost, appearance is kept."""
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
    """Each query with the next video in the list, so that its labels no longer apply.

    Raises InputError if all samples are about one video.
    """
    crops = list(dict.fromkeys(sample.crop for sample in samples))
    if len(crops) < 2:
        raise InputError("the probe with another video needs samples about two or more videos")
    following = dict(zip(crops, crops[1:] + crops[:1], strict=True))
    return [replace(sample, **following[sample.crop]._asdict()) for sample in samples]


def probe(
    model: VideoModel | Asker,
    samples: Sequence[Sample],
    *,
    known: Sequence[Prediction] | None = None,
    on_bad_video: str = "stop",
) -> dict[str, dict[str, float]]:
    """The figures of a model on the same samples after each change of their videos, always scored against the original
    labels, and those of a classifier that reads only the queries.

    Args:
        known: predictions for the unchanged videos, if there are any; then they are not asked again.
        on_bad_video: see `rarft.evaluation.predict`; "skip" leaves queries without an answer out of a row.

    Returns rows by the name of the change. A figure that cannot be computed is missing, e.g. without relevant samples.
    """
    asker = LocalAsker(model) if isinstance(model, VideoModel) else model
    others, rows = swapped(samples), {}
    for name, change in CHANGES.items():
        given = others if name == "another video" else samples
        if name == "as it is" and known is not None:
            predictions = list(known)
        else:
            changed = asker.with_change(change) if change else asker
            predictions = predict(changed, given, on_bad_video=on_bad_video, desc=name)
        answered = [p for p in predictions if p.error is None]
        row = summary(scores(answered)) if answered else {}
        rows[name] = {figure: row[figure] for figure in FIGURES if figure in row}
    queries, irrelevant = [s.query for s in samples], [not s.relevant for s in samples]
    leak = leak_score(queries, irrelevant, [s.video for s in samples])
    rows["query only, a classifier"] = {"auroc": leak}
    return rows
