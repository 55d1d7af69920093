"""The editor of the world's queries, for `rarft.hivtg.build`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rarft.hivtg.editors import Proposal, Rejected
from rarft.hivtg.official import released_samples
from rarft.schema import Sample
from rarft.world.dataset import stories_of
from rarft.world.edits import edit_query
from rarft.world.language import parse
from rarft.world.scenes import Story


class WorldEditor:
    """Edits queries of the world's grammar; truth is exact, so nothing has to be checked afterwards."""

    def __init__(self, stories: Mapping[str, Story], seed: int = 0):
        """stories: by the `video` of the samples."""
        self.stories, self.seed = stories, seed

    def edit(self, sample: Sample, edits: int, others: Sequence[str]) -> Proposal:
        """See `rarft.hivtg.editors.Editor`. Raises Rejected for a query that the grammar does not know."""
        query = parse(sample.query)
        if query is None:
            raise Rejected("not a sentence of the world's grammar")
        # The draw depends on the sample alone: a run that is resumed makes the same rows.
        digest = hashlib.sha256(f"{self.seed} {sample.video} {sample.query} {edits}".encode()).digest()
        edited = edit_query(self.stories[sample.video], query, edits, np.random.default_rng(list(digest[:8])))
        if edited is None:
            raise Rejected(f"no {edits} edits of this query are false of the whole clip")
        return Proposal(edited.query.sentence(), edited.answer, edited.categories)


def world_samples(folder: Path) -> tuple[list[Sample], dict[str, Story]]:
    """The relevant samples of a folder written by `rarft world`, and the story of each of their videos."""
    samples = [s for s in released_samples(folder / "hi_vtg.json") if s.relevant]
    return samples, {s.video: story for s, story in zip(samples, stories_of(samples, folder), strict=True)}
