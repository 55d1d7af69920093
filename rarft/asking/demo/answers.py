"""One question to several models: what each says, how sure it is, and which segment it would name if it had to."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from rarft.asking.batch import answer_of
from rarft.models import VideoModel
from rarft.models.decoding.refusal import forced_segment
from rarft.schema import Crop
from rarft.video import GuardedReader


class Model:
    """A model with the name that the page gives it. Asked by one thread at a time."""

    def __init__(self, name: str, path: str | Path, reader: GuardedReader, device: str = "auto"):
        self.name = name
        self.video_model = VideoModel.load(path, device=device).with_cache(reader=reader)
        self._lock = threading.Lock()

    def ask(self, crop: Crop, query: str) -> dict[str, Any]:
        """What the model says, in plain JSON types: those of `rarft.asking.batch.answer_of`, and

        refusal_probability: its own, or None where its completion has no answer.
        segment_if_asked: [start, end] that it names when it may not refuse, or None.
        note: words that it cannot read, if there are any.

        Raises rarft.system.errors.VideoError for a file that cannot be read.
        """
        with self._lock:
            features = self.video_model.features([crop])
            [completion] = self.video_model.generate(features, [query])
            [probability] = self.video_model.refusal_scores(features, [query], [completion])
            answer = answer_of(completion)
            spans = answer["spans"] or forced_segment(self.video_model, features[0], query, completion)
        return {
            "model": self.name,
            **answer,
            "refusal_probability": None if probability != probability else float(probability),
            "segment_if_asked": list(spans[0]) if spans else None,
            "note": self.video_model.note_of_unknown_words(query),
        }
