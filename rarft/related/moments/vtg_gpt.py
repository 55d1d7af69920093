"""VTG-GPT: grounding without training, by captions and similarity (Xu et al., arXiv 2403.02076).

Mechanism: a captioner describes each moment of the video; a language model rewrites the query into several; a step
scores by the similarity of its caption with the rewritings; scores are scaled to [0, 1] over the video; runs of steps
above a limit are proposals, and the best one, by its mean score and length, is the answer.

Kept: all of that. Here the captioner is a grounder's own timeline (`timeline_captions`), the rewriter is the world's
language, which says the same in other words (`paraphrases`); any two functions will do.

Does it refuse? Scaled by minimum and maximum over one video, the best step always scores 1, whatever was asked: the
method has thrown away what separates relevant queries from others. `scaled=False` reads the refusal score from
the similarity before it is scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rarft.related.features import FeatureBank
from rarft.related.protocol import Answer, UntrainedSystem
from rarft.schema import Crop, Sample, Span
from rarft.world.language import paraphrases
from rarft.world.timelines import lines_of_timeline, runs

LIMIT = 0.6  # of scaled scores: steps above it can be part of a proposal
Captions = Mapping[Crop, Sequence[Sequence[str]]]


def timeline_captions(think: str, length: int) -> list[list[str]]:
    """What a timeline (see `rarft.world.timelines.timeline`) says of each second: a caption for each actor.

    From `red ring with one dot ... : 0 grows 1 grows . ... scene : 0 sand` second 0 gets "the red ring with one dot ...
    grows on the sand". Seconds that it leaves out, or words that are no timeline, give no caption.
    """
    lines = lines_of_timeline(think)
    scene = lines.pop("scene", {})
    return [
        [
            f"the {looks} {seconds[t]}" + (f" on the {scene[t]}" if t in scene else "")
            for looks, seconds in lines.items()
            if t in seconds
        ]
        for t in range(length)
    ]


class VTGGPT(UntrainedSystem):
    """Grounding by captions; nothing is trained.

    captions: of each video's steps (each may have several, of which the most similar counts). rewrite: a query → the
    queries to compare, itself among them. scaled: read the refusal score from scaled scores, as published, or before
    scaling.
    """

    def __init__(self, captions: Captions, rewrite: Callable[[str], list[str]] = paraphrases, *, scaled: bool = True):
        self.captions, self.rewrite, self.scaled = captions, rewrite, scaled

    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The best proposal of each video."""
        return [self._answer(sample, bank) for sample in samples]

    def _answer(self, sample: Sample, bank: FeatureBank) -> Answer:
        similarity = self.similarity(sample, bank)
        scores = scale_to_unit(similarity)
        proposals = [(start, end) for above, start, end in runs((scores >= LIMIT).tolist()) if above]
        start, end = max(proposals, key=lambda p: scores[p[0] : p[1]].mean() + 0.02 * (p[1] - p[0]))
        seconds = float(sample.duration or 0) / len(scores)
        span = Span(round(start * seconds, 2), round(end * seconds, 2))
        return Answer(span, refusal_score(similarity, scaled=self.scaled))

    def similarity(self, sample: Sample, bank: FeatureBank) -> np.ndarray:
        """Of each step: the mean cosine of its caption with the rewritten queries, of the caption that is nearest. A
        step without a caption is as unlike as the least similar other one; -1 if no step has one."""
        queries = bank.encoder(self.rewrite(sample.query))
        captions = self.captions[sample.crop]
        values = {
            step: float((bank.encoder(list(texts)) @ queries.T).mean(1).max())
            for step, texts in enumerate(captions)
            if texts
        }
        return np.array([values.get(step, min(values.values(), default=-1.0)) for step in range(len(captions))])


def scale_to_unit(similarity: np.ndarray) -> np.ndarray:
    """Similarities of a video's steps (T,), scaled to [0, 1] by minimum and maximum; all 1 where they are equal."""
    low, high = similarity.min(), similarity.max()
    return (similarity - low) / (high - low) if high > low else np.ones_like(similarity)


def refusal_score(similarity: np.ndarray, *, scaled: bool) -> float:
    """In [0, 1], from the best step: after scaling, as published, which is 0 for every query; or before."""
    return 1 - float(scale_to_unit(similarity).max()) if scaled else (1 - float(similarity.max())) / 2
