"""What is known of a long video before anyone asks: a sentence for each moment that a captioner saw, its vector, and a
graph of who appears where. The three systems for long video share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Crop, Span
from rarft.world.language import Slots, describe
from rarft.world.reading import story_of
from rarft.world.scenes import Actor, Event, Story


@dataclass(frozen=True)
class Moment:
    """One event that a captioner saw. part: the number of its part. span: in seconds of the whole file."""

    part: int
    span: Span
    sentence: str
    actor: Actor
    event: Event

    @property
    def entities(self) -> tuple[str, str]:
        """Whom the moment is about, and what happens."""
        return f"{self.actor.colour} {self.actor.shape}", self.event.action


class Index:
    """The moments of a long video.

    Args:
        parts: the crops that were captioned, in the order of the file.
        timelines: what a captioner said of each, see `rarft.world.language.timeline`. One that cannot be read leaves
            its part without moments.
        encoder: of the sentences.
        plain: sentences name colour, shape and action only, as short captions do.
    """

    def __init__(
        self, parts: Sequence[Crop], timelines: Sequence[str], encoder: SentenceEncoder, *, plain: bool = False
    ):
        self.parts, self.encoder = list(parts), encoder
        self.stories: list[Story | None] = []
        self.moments: list[Moment] = []
        for number, (crop, text) in enumerate(zip(parts, timelines, strict=True)):
            begin = crop.start or 0.0
            story = story_of(text, round((crop.end or 0.0) - begin))
            self.stories.append(story)
            self.moments += _moments(number, begin, story, plain=plain) if story else []
        self.vectors = encoder([moment.sentence for moment in self.moments])
        self.graph = _graph(self.moments)

    def similarity(self, queries: Sequence[str]) -> np.ndarray:
        """Cosine of each query with each part, by the moment that is nearest: (queries, parts), -1 for a part without
        moments."""
        table = np.full((len(queries), len(self.parts)), -1.0)
        if not self.moments:
            return table
        cosines = self.encoder(list(queries)) @ self.vectors.T
        for column, moment in zip(cosines.T, self.moments, strict=True):
            table[:, moment.part] = np.maximum(table[:, moment.part], column)
        return table

    def sharing(self, entities: Sequence[str]) -> Counter[int]:
        """The parts in which any of these entities appears, and how many of them do."""
        known = [node for node in (("entity", entity) for entity in entities) if node in self.graph]
        return Counter(part for node in known for _, part in self.graph[node])


def _moments(part: int, begin: float, story: Story, *, plain: bool) -> list[Moment]:
    moments = []
    for actor in story.actors:
        for event in actor.events:
            told = describe(story, actor, event)
            said = Slots(told.colour, told.shape, told.action) if plain else told
            span = Span(begin + event.start, begin + event.end)
            moments.append(Moment(part, span, said.sentence(), actor, event))
    return moments


def _graph(moments: Sequence[Moment]) -> nx.Graph:
    """Parts and entities; an edge where one appears in the other. Parts that share an entity are two steps apart."""
    graph: nx.Graph = nx.Graph()
    for moment in moments:
        for entity in moment.entities:
            graph.add_edge(("part", moment.part), ("entity", entity))
    return graph
