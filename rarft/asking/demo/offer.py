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
    """A clip that can be asked about. queries: suggestions, each with whether the clip contains it."""

    crop: Crop
    title: str
    queries: list[tuple[str, bool]] = field(default_factory=list)


def videos_of(data: Path | None, folder: Path | None) -> dict[str, Video]:
    """Clips by name: of a data set (`rarft.asking.dataset.open_dataset`), or those in data/samples of the repository.

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
    """A model with the name that the page gives it. Asked by one thread at a time."""

    def __init__(self, name: str, asker: LocalAsker):
        self.name, self.asker = name, asker
        self._lock = threading.Lock()

    def ask(self, crop: Crop, query: str) -> dict[str, Any]:
        """What the model says, in plain JSON types: those of `rarft.asking.Answer.to_json`, and

        refusal_probability: its own, or None where its completion has no answer.
        segment_if_asked: [start, end] that it names when it may not refuse, or None.
        note: words that it cannot read, or None.

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
