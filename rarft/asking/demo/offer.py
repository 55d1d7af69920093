"""What the demo offers: clips with suggested queries, and models to ask about them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rarft.asking.asker import LocalAsker
from rarft.asking.dataset import open_dataset
from rarft.models.decoding.refusal import forced_segment
from rarft.schema import Crop, Sample
from rarft.system.errors import VideoError
from rarft.system.files import SAMPLES

MOST_CLIPS = 200


@dataclass
class Video:
    """A clip with suggested queries, each with whether it is relevant to the clip."""

    crop: Crop
    title: str
    queries: list[tuple[str, bool]] = field(default_factory=list)


def videos_of(data: Path | None, folder: Path | None) -> dict[str, Video]:
    """Clips by name, from a data set (`rarft.asking.dataset.open_dataset`) or, by default, from data/samples.

    Raises InputError or MissingFileError for data that cannot be read.
    """
    samples = open_dataset(data or SAMPLES, folder).samples
    asked: dict[Crop, list[Sample]] = {}
    for sample in samples:
        asked.setdefault(sample.crop, []).append(sample)
    return {
        str(number): Video(crop, _title(crop, queries), [(query.query, query.relevant) for query in queries])
        for number, (crop, queries) in enumerate(islice(asked.items(), MOST_CLIPS))
    }


def _title(crop: Crop, queries: list[Sample]) -> str:
    seconds = queries[0].duration
    part = "".join(f", {word} {at:g} s" for word, at in (("from", crop.start), ("to", crop.end)) if at is not None)
    return Path(crop.video).stem + (f", {seconds:g} s" if seconds else "") + part


class Model:
    """A model with its name on the page. Only one thread at a time can ask it."""

    def __init__(self, name: str, asker: LocalAsker):
        self.name, self.asker = name, asker
        self._lock = threading.Lock()

    def ask(self, crop: Crop, query: str) -> dict[str, Any]:
        """The answer in plain JSON types: the keys of `rarft.asking.Answer.to_json`, and

        model: its name.
        refusal_probability: the refusal score; None if the completion has no answer.
        segment_if_asked: the [start, end] of the answer, or of a forced one if the model refused, or None.
        note: a warning about words that the model has no tokens for, or None.

        Raises VideoError for a file that cannot be read.
        """
        video_model = self.asker.video_model
        with self._lock:
            [answer] = self.asker.ask([crop], [query])
            if answer.error is not None:
                raise VideoError(answer.error)
            spans = answer.response().spans or forced_segment(
                video_model, *video_model.features([crop]), query, answer.completion
            )
        return {
            "model": self.name,
            **answer.to_json(),
            "refusal_probability": answer.refusal_score,
            "segment_if_asked": list(spans[0]) if spans else None,
            "note": answer.note,
        }
