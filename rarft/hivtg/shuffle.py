"""SS-VTG: simply-shuffled queries, taken from other videos, for any list of annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Difficulty, Sample
from rarft.system.errors import InputError


def shuffled_queries(
    samples: Sequence[Sample], encoder: SentenceEncoder, *, seed: int = 0, near: float = 0.6, tries: int = 50
) -> list[Sample]:
    """For each relevant sample, an irrelevant one of the same video with a query of another video.

    A query is passed over if it is as similar as `near` (cosine) to any annotation of the video: it may happen there,
    too. The draw is fixed by the seed. Raises InputError if there is only one video, or if none of `tries` draws fits.
    """
    relevant = [s for s in samples if s.relevant]
    known: dict[str, list[str]] = {}
    for sample in relevant:
        known.setdefault(sample.video, []).append(sample.query)
    if len(known) < 2:
        raise InputError("queries can be shuffled between two videos or more")
    encoder([s.query for s in relevant])  # one batch; what follows comes out of the cache
    rng = np.random.default_rng(seed)
    shuffled = []
    for sample in relevant:
        for index in rng.integers(len(relevant), size=tries):
            other = relevant[index]
            if other.video != sample.video and (encoder(known[sample.video]) @ encoder([other.query])[0]).max() < near:
                break
        else:
            raise InputError(f"{sample.video}: none of {tries} queries of other videos differs enough; raise `near`")
        shuffled.append(
            replace(
                sample,
                query=other.query,
                spans=[],
                answer="",  # as in the release: only the query's own video could say what the mismatch is
                correction=sample.query,
                difficulty=Difficulty.SHUFFLED,
            )
        )
    return shuffled
