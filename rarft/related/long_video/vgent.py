"""Vgent: a graph of a long video, and sub-questions before the answer (Shen et al., NeurIPS 2025, arXiv 2510.14032).

Mechanism: a video is cut into parts; a model lists the entities of each; parts that share an entity are linked. The
query's entities lead to parts; each is asked yes/no sub-questions that the query breaks up into; the parts with the
most "yes" are looked at, with what the sub-questions have told.

Kept: the graph, retrieval by entities, structured sub-questions, the choice by their answers. Scaled down: entities
with the same name are the same one; sub-questions are put to what a captioner wrote of a part, by the world's language
(`told`) or by a language model behind any server (`Server`). Ours: where no part answers yes to everything, the query
is refused, the "no" is the reason, and what the captioner wrote instead is the correction.

Does it refuse? Nobody trained it to. But "is there a ring? is it red? does it grow, and after that blink?" has an
answer where "how similar is this?" has none; what it cannot know is what the captioner has missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rarft.asking.llm import LLM
from rarft.related.bank import Bank
from rarft.related.long_video.looking import Choice
from rarft.related.long_video.retrieval import Index, Moment
from rarft.related.protocol import Answer, Untrained
from rarft.schema import Sample, Span
from rarft.system.errors import InputError
from rarft.world.completions import nearest
from rarft.world.language import parse, refusal

FOUND, KEPT = 20, 3  # parts that retrieval brings, parts that are looked at


@dataclass(frozen=True)
class Checked:
    """What the sub-questions have told of one part: the share answered no, and the moment that comes nearest."""

    part: int
    no: float
    moment: Moment | None

    @property
    def doubt(self) -> float:
        """In [0, 1]: 0 if all were answered yes; above 0.5, for one "no" is enough, and more with each."""
        return 0.5 + self.no / 2 if self.no else 0.0


class Verifier(Protocol):
    """Answers a query's sub-questions about one part of a video."""

    def __call__(self, index: Index, part: int, query: str) -> Checked: ...


def told(index: Index, part: int, query: str) -> Checked:
    """Each slot of the query is a sub-question; the captions of the part answer it, by the world's language.

    Raises InputError for a query that is not of the world.
    """
    slots = parse(query)
    if slots is None:
        raise InputError(f"not a sentence of the world: {query!r}; sub-questions about it need a Server")
    story = index.stories[part]
    if story is None:
        return Checked(part, 1.0, None)
    wrong, _, actor, event = nearest(story, slots)
    moment = next(m for m in index.moments if m.part == part and m.actor == actor and m.event == event)
    return Checked(part, len(wrong) / len(slots.filled), moment)


class Server:
    """Sub-questions by a language model behind an OpenAI-compatible server, for queries of any language."""

    SYSTEM = (
        "You are given what a captioner wrote about one part of a video, and a query. Break the query up into yes/no "
        "questions about single facts, answer each from the captions alone, and name the caption that fits best."
    )
    SCHEMA = {
        "type": "object",
        "properties": {
            "answers": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"question": {"type": "string"}, "yes": {"type": "boolean"}},
                    "required": ["question", "yes"],
                },
            },
            "caption": {"type": "integer", "minimum": 1},
        },
        "required": ["answers", "caption"],
    }

    def __init__(self, llm: LLM):
        self.llm = llm

    def __call__(self, index: Index, part: int, query: str) -> Checked:
        moments = [moment for moment in index.moments if moment.part == part]
        if not moments:
            return Checked(part, 1.0, None)
        listed = "\n".join(f"{number}. {moment.sentence}" for number, moment in enumerate(moments, start=1))
        reply = self.llm.ask(self.SYSTEM, f"Captions:\n{listed}\nQuery: {query}", self.SCHEMA)
        no = [not answer["yes"] for answer in reply["answers"]]
        return Checked(part, sum(no) / len(no), moments[min(reply["caption"], len(moments)) - 1])


class Vgent(Untrained):
    """Answers from captions alone: the moment with the most sub-questions answered yes, refused where one is answered
    no.

    Args:
        indexes: by the path of the video.
        verify: answers sub-questions.

    `choose` names the parts for a grounder that is to look itself, see `rarft.related.long_video.looking`.
    """

    def __init__(self, indexes: dict[str, Index], verify: Verifier = told):
        self.indexes, self.verify = indexes, verify

    def checked(self, sample: Sample) -> list[Checked]:
        """The parts that retrieval brings, least doubt first."""
        index = self.indexes[sample.video]
        similarity = index.similarity([sample.query])[0]
        shared = index.sharing(entities_of(sample.query, index))
        parts = sorted(shared, key=lambda part: (-shared[part], -similarity[part]))[:FOUND]
        return sorted((self.verify(index, part, sample.query) for part in parts), key=lambda checked: checked.no)

    def choose(self, sample: Sample) -> list[Choice]:
        """The parts with the most "yes"."""
        index = self.indexes[sample.video]
        return [Choice(index.parts[checked.part], checked.doubt) for checked in self.checked(sample)[:KEPT]]

    def answer(self, samples: Sequence[Sample], bank: Bank | None = None) -> list[Answer]:
        return [self._answer(sample) for sample in samples]

    def _answer(self, sample: Sample) -> Answer:
        best = next(iter(self.checked(sample)), None)
        if best is None or best.moment is None:
            return Answer(Span(0.0, 0.0), 1.0)
        answer = Answer(best.moment.span, best.doubt)
        story, query = self.indexes[sample.video].stories[best.part], parse(sample.query)
        if not best.no or story is None or query is None:
            return answer
        wrong, truth, *_ = nearest(story, query)
        true = {slot: getattr(truth, slot) for slot in wrong}
        if None in true.values():  # the grammar has no words for it
            return answer
        return replace(answer, explanation=refusal(query, truth, wrong), correction=replace(query, **true).sentence())


def entities_of(query: str, index: Index) -> list[str]:
    """The entities of the index that a query names, as words in a row."""
    slots = parse(query)
    if slots is not None:
        return [f"{slots.colour} {slots.shape}", slots.action]
    text = f" {query.lower()} "
    return [entity for kind, entity in index.graph if kind == "entity" and f" {entity} " in text]
