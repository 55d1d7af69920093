"""The answer of a model to a query about a video (`Answer`), and to a sample of a data set (`Prediction`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rarft.reading.completion import Response, parse_response
from rarft.schema import Sample


@dataclass(frozen=True)
class Answer:
    """One answer of a model.

    completion: its text; empty if there is an error.
    refusal_score: the probability of a refusal, see `rarft.models.decoding.refusal`; None if not computed.
    error: why there is no completion, for example a video that cannot be read.
    note: a warning for the reader, such as words of the query that the model has no tokens for.
    """

    completion: str = ""
    refusal_score: float | None = None
    error: str | None = None
    note: str | None = None

    def response(self, reading: str = "strict") -> Response:
        """What the completion says; see `rarft.reading.completion.parse_response`."""
        return parse_response(self.completion, reading)

    def to_json(self) -> dict[str, Any]:
        """What the completion says, as plain JSON types."""
        response = self.response()
        return {
            "verdict": response.verdict.value,
            "spans": [list(span) for span in response.spans],
            "answer": response.answer,
            "correction": response.correction,
            "think": response.think,
            "completion": self.completion,
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True)
class Prediction:
    """A sample, and the answer of a model to it.

    judged: figures by name, added by judges (`rarft.evaluation.judges`); empty for an answer with an error.
    reading: how the completion is read, see `rarft.reading.completion.parse_response`.
    """

    sample: Sample
    answer: Answer
    judged: Mapping[str, float] = field(default_factory=dict)
    reading: str = "strict"

    @property
    def completion(self) -> str:
        """The text of the answer."""
        return self.answer.completion

    @property
    def refusal_probability(self) -> float | None:
        """The refusal score of the answer; None if not computed."""
        return self.answer.refusal_score

    @property
    def error(self) -> str | None:
        """Why there is no answer; None if there is one."""
        return self.answer.error

    @property
    def response(self) -> Response:
        """What the answer says."""
        return self.answer.response(self.reading)
