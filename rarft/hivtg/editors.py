"""Editors: each turns a relevant query into a hard-irrelevant one with a given number of edits, or says why it cannot.

`LLMEditor` asks a language model; `rarft.world.editor.WorldEditor` edits by the grammar of the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import numpy as np

from rarft.hivtg.sources import normalise
from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Category, Sample
from rarft.system.errors import BadReplyError


@dataclass(frozen=True)
class Proposal:
    """An irrelevant query, its refusal, and a category for each edit."""

    query: str
    answer: str
    categories: tuple[Category, ...]


class Rejected(Exception):
    """There is no usable edit; the message is the reason. `proposal` is the rejected one, if there was any."""

    def __init__(self, reason: str, proposal: Proposal | None = None):
        super().__init__(reason)
        self.proposal = proposal


class Editor(Protocol):
    """What makes hard-irrelevant queries."""

    def edit(self, sample: Sample, edits: int, others: Sequence[str]) -> Proposal:
        """Change `edits` elements of the sample's query. `others`: what else is known to be true of the video.

        Raises Rejected.
        """


CATEGORIES = [c.value for c in Category]
PROMPT = files("rarft.hivtg").joinpath("edit.txt").read_text(encoding="utf-8").format(categories="\n".join(CATEGORIES))
VERIFY_PROMPT = files("rarft.hivtg").joinpath("verify.txt").read_text(encoding="utf-8")
VERIFY_SCHEMA = {"type": "object", "properties": {"possible": {"type": "boolean"}}, "required": ["possible"]}


def edit_schema(edits: int) -> dict:
    """The JSON schema of a reply with `edits` edits."""
    categories = {"type": "array", "items": {"enum": CATEGORIES}, "minItems": edits, "maxItems": edits}
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "properties": {"query": text, "answer": text, "categories": categories},
        "required": ["query", "answer", "categories"],
    }


class LanguageModel(Protocol):
    """What answers with JSON."""

    def ask(self, system: str, user: str, schema: dict) -> dict:
        """One reply that fits the JSON schema; see `rarft.asking.llm.LLM`. Raises BadReplyError if there is none."""


class LLMEditor:
    """Asks a language model, and rejects what may be true of the video after all.

    Args:
        encoder: for similarity with the video's other annotations.
        near: an edit is rejected if it is this similar (cosine) to another annotation, and more so than to its
            own original.
        verify: ask the model again, with another prompt, whether the new query could be true.
    """

    def __init__(self, llm: LanguageModel, encoder: SentenceEncoder, *, near: float = 0.85, verify: bool = False):
        self.llm, self.encoder, self.near, self.verify = llm, encoder, near, verify

    def edit(self, sample: Sample, edits: int, others: Sequence[str]) -> Proposal:
        """A proposal of the model. Raises Rejected."""
        known = "\n".join(f"- {other}" for other in others) or "- (none)"
        question = f"Query: {sample.query}\nAlso true of the video:\n{known}\nElements to change: {edits}"
        try:
            reply = self.llm.ask(PROMPT, question, edit_schema(edits))
            proposal = Proposal(
                reply["query"].strip(), reply["answer"].strip(), tuple(map(Category, reply["categories"]))
            )
            self._check_similarity(sample, proposal, others)
            if self.verify:
                self._check_by_asking(sample, proposal, others)
        except BadReplyError as error:
            raise Rejected(str(error)) from error
        return proposal

    def _check_similarity(self, sample: Sample, proposal: Proposal, others: Sequence[str]) -> None:
        if not others:
            return
        own, *rest = self.encoder.cosine([proposal.query] * (1 + len(others)), [sample.query, *others])
        nearest = int(np.argmax(rest))
        if rest[nearest] >= self.near and rest[nearest] > own:
            raise Rejected(f"may be true: nearer to the annotation {others[nearest]!r} than to its original", proposal)

    def _check_by_asking(self, sample: Sample, proposal: Proposal, others: Sequence[str]) -> None:
        known = "\n".join(f"- {text}" for text in (sample.query, *others))
        if self.llm.ask(VERIFY_PROMPT, f"Descriptions:\n{known}\nQuery: {proposal.query}", VERIFY_SCHEMA)["possible"]:
            raise Rejected("may be true: the model says so when asked again", proposal)


def check_proposal(sample: Sample, proposal: Proposal, edits: int, others: Sequence[str]) -> None:
    """What must hold of every editor's work. Raises Rejected."""
    query, original = normalise(proposal.query), normalise(sample.query)
    if not query or not proposal.answer.strip():
        raise Rejected("the query or the answer is empty", proposal)
    if query == original:
        raise Rejected("the query was not changed", proposal)
    if query in map(normalise, others):
        raise Rejected("true: it is another annotation of the same video", proposal)
    for known in (original, *map(normalise, others)):
        if _only_leaves_words_out(query, known):
            raise Rejected(f"true: it does not contradict {known!r}, it only leaves words out", proposal)
    if original in normalise(proposal.answer):
        raise Rejected("the answer quotes the original query: a leak", proposal)
    if len(proposal.categories) != edits:
        raise Rejected(f"{edits} categories were expected, got {len(proposal.categories)}", proposal)


def _only_leaves_words_out(query: str, known: str) -> bool:
    """Whether a query is a true sentence with words missing: `a car drives` of `a red car drives`. It says less, and
    nothing that contradicts."""
    rest = iter(known.split())
    return all(word in rest for word in query.split())
