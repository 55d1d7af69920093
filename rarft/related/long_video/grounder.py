"""A video language model, asked as the systems of this part are asked: a segment and a refusal score for each query."""

from __future__ import annotations

from collections.abc import Sequence

from rarft.evaluation import predict
from rarft.models import VideoModel
from rarft.prompts import DESCRIBE
from rarft.reading.completion import parse_response
from rarft.related.features import FeatureBank, in_batches
from rarft.related.protocol import Answer, UntrainedSystem
from rarft.schema import Crop, Sample, Span
from rarft.system.progress import progress


class Grounder(UntrainedSystem):
    """A model as it is; nothing is trained here.

    Where it refuses, its segment is empty, so that mIoU counts refused relevant queries as 0. Its refusal score is its
    own probability of refusing. `asked` counts the queries that it has answered.
    """

    def __init__(self, video_model: VideoModel):
        self.video_model = video_model
        self.asked = 0

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """The model's own answers."""
        self.asked += len(samples)
        answers = []
        for prediction in predict(self.video_model, samples, desc="answers"):
            response = prediction.response
            span = response.spans[0] if response.spans else Span(0.0, 0.0)
            refusal = prediction.refusal_probability
            texts = (response.answer, response.correction) if response.refused else (None, None)
            answers.append(Answer(span, 0.5 if refusal is None else refusal, *texts))
        return answers

    def describe(self, crops: Sequence[Crop]) -> list[str]:
        """What the model thinks of each crop when it is asked to describe it, without a query: the base's captioning
        task. Whatever it answers after its thought is left out."""
        texts: list[str] = []
        batches = in_batches(crops)
        for part in progress(batches, total=len(batches), desc="captions"):
            texts += self.video_model.generate(part, [DESCRIBE] * len(part))
        return [parse_response(text).think or "" for text in texts]


class CachedGrounder(Grounder):
    """Gives the same answer to the same query about the same crop without a second look. `asked` counts both."""

    def __init__(self, video_model: VideoModel):
        super().__init__(video_model)
        self.known: dict[tuple[Crop, str], Answer] = {}

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """The model's own answers, each computed once."""
        new = list({(s.crop, s.query): s for s in samples if (s.crop, s.query) not in self.known}.values())
        asked = self.asked + len(samples)
        self.known |= zip([(s.crop, s.query) for s in new], super().answer(new), strict=True)
        self.asked = asked
        return [self.known[s.crop, s.query] for s in samples]
