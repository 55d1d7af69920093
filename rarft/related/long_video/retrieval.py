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
from rarft.world.scenes import Actor, Event, Story
from rarft.world.timelines import story_of


@dataclass(frozen=True)
class Moment:
    """One event that a captioner saw."""

    part: int  # the number of its part
    span: Span  # in seconds of the whole file
    sentence: str
    actor: Actor
    event: Event


def entities(about: Actor | Slots, action: str) -> tuple[str, str]:
    """What a moment or a query is about: an actor in words, and its action."""
    return f"{about.colour} {about.shape}", action


class Index:
    """The moments of a long video.

    `stories` has what the captioner saw of each part, None where its timeline cannot be read; `vectors` one vector for
    each of `moments`; `graph` parts and entities, with an edge where one appears in the other, so that parts that share
    an entity are two steps apart.
    """

    def __init__(
        self, parts: Sequence[Crop], timelines: Sequence[str], encoder: SentenceEncoder, *, plain: bool = False
    ):
        """
        Args:
            parts: the crops that were captioned, in the order of the file.
            timelines: what a captioner wrote of each, see `rarft.world.timelines.timeline`. One that cannot be read
                leaves its part without moments.
            encoder: of the sentences.
            plain: sentences name colour, shape and action only, as short captions do.
        """
        self.parts, self.encoder = list(parts), encoder
        self.stories: list[Story | None] = []
        self.moments: list[Moment] = []
        for number, (crop, text) in enumerate(zip(parts, timelines, strict=True)):
            begin = crop.start or 0.0
            story = story_of(text, round((crop.end or 0.0) - begin))
            self.stories.append(story)
            self.moments += _moments(number, begin, story, plain=plain) if story else []
        self.vectors = encoder([moment.sentence for moment in self.moments])
        self.graph: nx.Graph = nx.Graph()
        for moment in self.moments:
            for entity in entities(moment.actor, moment.event.action):
                self.graph.add_edge(("part", moment.part), ("entity", entity))

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

    def entity_counts(self, names: Sequence[str]) -> Counter[int]:
        """The parts in which any of these entities appears, and how many of them do."""
        known = [node for node in (("entity", name) for name in names) if node in self.graph]
        return Counter(part for node in known for _, part in self.graph[node])


def _moments(part: int, begin: float, story: Story, *, plain: bool) -> list[Moment]:
    moments = []
    for actor in story.actors:
        for event in actor.events:
            seen = describe(story, actor, event)
            caption = Slots(seen.colour, seen.shape, seen.action) if plain else seen
            span = Span(begin + event.start, begin + event.end)
            moments.append(Moment(part, span, caption.sentence(), actor, event))
    return moments
