"""VTG-GPT: grounding without training, by captions and similarity (Xu et al., arXiv 2403.02076).

Mechanism: a captioner describes each moment of the video; a language model rewrites the query into several; a step
scores by the similarity of its caption with the rewritings; scores are scaled to [0, 1] over the video; runs of steps
above a limit are proposals, and the best one, by its mean score and length, is the answer.

Kept: all of that. Here the captioner is a grounder's own timeline (`timeline_captions`), the rewriter is the world's
language, which says the same in other words (`rewritten`); any two functions will do.

Does it refuse? Scaled by minimum and maximum over one video, the best step always scores 1, whatever was asked: the
method has thrown away what could have told. `scaled=False` reads doubt from the similarity before it is scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rarft.related.bank import Bank
from rarft.related.protocol import Answer, Untrained
from rarft.schema import Crop, Sample, Span
from rarft.world.language import parse
from rarft.world.reading import lines_of_timeline
from rarft.world.wordings import Form

LIMIT = 0.6  # of scaled scores: steps above it can be part of a proposal
Captions = Mapping[Crop, Sequence[Sequence[str]]]


def timeline_captions(think: str, length: int) -> list[list[str]]:
    """What a timeline (see `rarft.world.language.timeline`) says of each second: a caption for each actor.

    From `red ring with one dot ... : 0 grows 1 grows . ... scene : 0 sand` second 0 gets "the red ring with one dot ...
    grows on the sand". Seconds that it leaves out, or words that are no timeline, give no caption.
    """
    said = lines_of_timeline(think)
    scene = said.get("scene", {})
    actors = [(looks, seconds) for looks, seconds in said.items() if looks != "scene"]
    return [
        [
            f"the {looks} {seconds[t]}" + (f" on the {scene[t]}" if t in scene else "")
            for looks, seconds in actors
            if t in seconds
        ]
        for t in range(length)
    ]


def rewritten(query: str) -> list[str]:
    """The query, and the same in the other wordings that training shows; a query of another language stays alone."""
    slots = parse(query)
    if slots is None:
        return [query]
    forms = (Form(*[number] * 7) for number in (0, 1))
    return list(dict.fromkeys([query, *(replace(slots, form=form).sentence() for form in forms)]))


class VTGGPT(Untrained):
    """Grounding by captions; nothing is trained.

    captions: of each video's steps (each may have several, of which the most similar counts). rewrite: a query → the
    queries to compare, itself among them. scaled: read doubt from scaled scores, as published, or before scaling.
    """

    def __init__(self, captions: Captions, rewrite: Callable[[str], list[str]] = rewritten, *, scaled: bool = True):
        self.captions, self.rewrite, self.scaled = captions, rewrite, scaled

    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        return [self._answer(sample, bank) for sample in samples]

    def _answer(self, sample: Sample, bank: Bank) -> Answer:
        raw = self.similarity(sample, bank)
        scores = scaled_to_unit(raw)
        first, last = max(
            _runs(scores >= LIMIT), key=lambda run: scores[run[0] : run[1]].mean() + 0.02 * (run[1] - run[0])
        )
        seconds = float(sample.duration or 0) / len(raw)
        doubt = refusal_score(raw, scaled=self.scaled)
        return Answer(Span(round(first * seconds, 2), round(last * seconds, 2)), doubt)

    def similarity(self, sample: Sample, bank: Bank) -> np.ndarray:
        """Of each step: the mean cosine of its caption with the rewritten queries, of the caption that is nearest. A
        step of which nothing was said is as unlike as the least similar other one; -1 if nothing was said at all."""
        queries = bank.encoder(self.rewrite(sample.query))
        captions = self.captions[sample.crop]
        values = {
            step: float((bank.encoder(list(said)) @ queries.T).mean(1).max())
            for step, said in enumerate(captions)
            if said
        }
        return np.array([values.get(step, min(values.values(), default=-1.0)) for step in range(len(captions))])


def scaled_to_unit(similarity: np.ndarray) -> np.ndarray:
    """Similarities of a video's steps (T,), scaled to [0, 1] by minimum and maximum; all 1 where they are equal."""
    low, high = similarity.min(), similarity.max()
    return (similarity - low) / (high - low) if high > low else np.ones_like(similarity)


def refusal_score(similarity: np.ndarray, *, scaled: bool) -> float:
    """Doubt in [0, 1] from the best step: after scaling, as published, which is 0 for every query; or before."""
    return 1 - float(scaled_to_unit(similarity).max()) if scaled else (1 - float(similarity.max())) / 2


def _runs(above: np.ndarray) -> list[tuple[int, int]]:
    """Maximal runs of true values as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
