"""Vgent: a graph of a long video, and sub-questions before the answer (Shen et al., NeurIPS 2025, arXiv 2510.14032).

Mechanism: a video is cut into parts; a model lists the entities of each; parts that share an entity are linked. The
query's entities lead to parts; each is asked yes/no sub-questions that the query breaks up into; the parts with the
most "yes" are looked at, with the answers to the sub-questions.

Kept: the graph, retrieval by entities, structured sub-questions, the choice by their answers. Scaled down: entities
with the same name are the same one; sub-questions are put to what a captioner wrote of a part, by the world's language
(`verify_by_grammar`) or by a language model behind any server (`LLMVerifier`). Ours: where no part answers yes to
everything, the query is refused, the "no" is the reason, and what the captioner wrote instead is the correction.

Does it refuse? Nobody trained it to. But "is there a ring? is it red? does it grow, and after that blink?" has an
answer where "how similar is this?" has none; what it cannot know is what the captioner has missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rarft.asking.llm import LLM
from rarft.related.features import FeatureBank
from rarft.related.long_video.retrieval import Index, Moment, entities
from rarft.related.long_video.windows import NOTHING_FOUND, Window
from rarft.related.protocol import Answer, UntrainedSystem
from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.world.completions import nearest
from rarft.world.language import parse

RETRIEVED, KEPT = 20, 3  # parts that retrieval brings, parts that are looked at


@dataclass(frozen=True)
class Verification:
    """What the sub-questions say of one part."""

    part: int
    denied: float  # the share of them that is answered no
    moment: Moment | None  # the one that comes nearest

    @property
    def refusal(self) -> float:
        """Refusal score: 0 if all were answered yes; above 0.5, since one "no" is enough, and more with each."""
        return 0.5 + self.denied / 2 if self.denied else 0.0


Verifier = Callable[[Index, int, str], Verification]  # answers a query's sub-questions about one part of a video


def verify_by_grammar(index: Index, part: int, query: str) -> Verification:
    """Each slot of the query is a sub-question; the captions of the part answer it, by the world's language.

    Raises InputError for a query that is not of the world.
    """
    slots = parse(query)
    if slots is None:
        raise InputError(f"not a sentence of the world: {query!r}; sub-questions about it need an LLMVerifier")
    story = index.stories[part]
    if story is None:
        return Verification(part, 1.0, None)
    match = nearest(story, slots)
    here = (part, match.actor, match.event)
    moment = next(moment for moment in index.moments if (moment.part, moment.actor, moment.event) == here)
    return Verification(part, len(match.fails) / len(slots.filled), moment)


class LLMVerifier:
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

    def __call__(self, index: Index, part: int, query: str) -> Verification:
        """Ask the model about the captions of one part."""
        moments = [moment for moment in index.moments if moment.part == part]
        if not moments:
            return Verification(part, 1.0, None)
        captions = "\n".join(f"{number}. {moment.sentence}" for number, moment in enumerate(moments, start=1))
        reply = self.llm.ask(self.SYSTEM, f"Captions:\n{captions}\nQuery: {query}", self.SCHEMA)
        no = [not answer["yes"] for answer in reply["answers"]]
        return Verification(part, sum(no) / len(no), moments[min(reply["caption"], len(moments)) - 1])


class Vgent(UntrainedSystem):
    """Answers from captions alone: the moment with the most sub-questions answered yes, refused where one is answered
    no.

    Args:
        indexes: by the path of the video.
        verify: answers sub-questions.

    `choose` names the windows for a grounder that is to look itself, see `rarft.related.long_video.windows`.
    """

    def __init__(self, indexes: dict[str, Index], verify: Verifier = verify_by_grammar):
        self.indexes, self.verify = indexes, verify

    def verifications(self, sample: Sample) -> list[Verification]:
        """The parts that retrieval brings, those with the most "yes" first."""
        index = self.indexes[sample.video]
        similarity = index.similarity([sample.query])[0]
        shared = index.entity_counts(entities_of(sample.query, index))
        parts = sorted(shared, key=lambda part: (-shared[part], -similarity[part]))[:RETRIEVED]
        return sorted((self.verify(index, part, sample.query) for part in parts), key=lambda found: found.denied)

    def choose(self, sample: Sample) -> list[Window]:
        """The parts with the most "yes"."""
        parts = self.indexes[sample.video].parts
        return [Window(parts[found.part], found.refusal) for found in self.verifications(sample)[:KEPT]]

    def answer(self, samples: Sequence[Sample], bank: FeatureBank | None = None) -> list[Answer]:
        """The moment that comes nearest to each query."""
        return [self._answer(sample) for sample in samples]

    def _answer(self, sample: Sample) -> Answer:
        best = next(iter(self.verifications(sample)), None)
        if best is None or best.moment is None:
            return NOTHING_FOUND
        answer = Answer(best.moment.span, best.refusal)
        story, query = self.indexes[sample.video].stories[best.part], parse(sample.query)
        if not best.denied or story is None or query is None:
            return answer
        match = nearest(story, query)
        if not match.sayable:
            return answer
        return replace(answer, explanation=match.refusal, correction=match.correction.sentence())


def entities_of(query: str, index: Index) -> list[str]:
    """The entities of the index that a query names: of a query of the world its actor and action, else those that stand
    in its text."""
    slots = parse(query)
    if slots is not None:
        return list(entities(slots, slots.action))
    text = f" {query.lower()} "
    return [entity for kind, entity in index.graph if kind == "entity" and f" {entity} " in text]
