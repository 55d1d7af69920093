"""The exact judge: in the world the truth is known, so explanations, corrections and categories are right or wrong.

For other data, `rarft.evaluation` compares texts by sentence embeddings, learns to name categories, or asks a language
model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from typing import Any

from rarft.metrics import auroc, mean, rt_iou
from rarft.reading.completion import Response
from rarft.rewards.encoder import SentenceEncoder
from rarft.schema import Category, Sample
from rarft.world.language import parse
from rarft.world.refusals import category, claims
from rarft.world.scenes import Story
from rarft.world.truth import explanation_is_true, happens

Figures = dict[str, float]


def exact_figures(sample: Sample, response: Response, story: Story) -> Figures:
    """What is true in a response about a clip that shows this story; each figure is 0 or 1, or a share.

    For refusals of irrelevant queries: `explanation_true`, `explanation_complete` (see
    `rarft.world.truth.explanation_is_true`), `correction_true` (it happens in the video). For completions with a
    think: `timeline_slots`, the share of the timeline's slots that are right.
    """
    figures = {}
    if response.think:
        figures["timeline_slots"] = timeline_accuracy(response.think, sample.think)
    query = parse(sample.query)
    if sample.relevant or not response.refused or query is None:
        return figures
    true, complete = explanation_is_true(story, query, response.answer or "")
    return {
        **figures,
        "explanation_true": float(true),
        "explanation_complete": float(complete),
        "correction_true": float(happens(story, response.correction or "")),
    }


def exact_judge(stories: Mapping[str, Story]) -> Callable[[Sequence[Any]], list[Figures]]:
    """A judge for `rarft.evaluation.judged` that gives `exact_figures`. stories: by the path of the clip."""
    return lambda predictions: [exact_figures(p.sample, p.response, stories[p.sample.video]) for p in predictions]


def world_judge(predictions: Sequence[Any], stories: Sequence[Story]) -> list[Any]:
    """Predictions (`rarft.evaluation.Prediction`) with `exact_figures` added. stories: one for each prediction."""
    pairs = zip(predictions, stories, strict=True)
    return [replace(p, judged={**p.judged, **exact_figures(p.sample, p.response, story)}) for p, story in pairs]


def timeline_accuracy(said: str, true: str) -> float:
    """Share of the slots of the true timeline that the said one has: looks, and of each segment what, start and end.
    What follows the timeline in a think, behind `segment :` or `compare :`, does not count.

    Seconds in a row with the same entry are one segment. Segments are compared in order, so that one too many, or
    one too few, makes all that follow it wrong.
    """
    nothing: list[str] = []
    pairs = list(zip_longest(_slots(_AFTER_TIMELINE.split(said, maxsplit=1)[0]), _slots(true), fillvalue=nothing))
    hits = sum(a == b for left, right in pairs for a, b in zip(left, right, strict=False))
    return hits / sum(max(len(left), len(right)) for left, right in pairs)


_AFTER_TIMELINE = re.compile(r" (?:segment|compare) :")
_ENTRY = re.compile(r"(\d+) (\D+)")
_EMPTY = {"with", "the", "other", "of", "scene"}


def _slots(timeline: str) -> list[list[str]]:
    """For each sentence of a timeline: the words of the looks, then what, start and end of each segment."""
    sentences = []
    for sentence in timeline.strip(" .").split(" . "):
        looks, _, seconds = sentence.partition(" : ")
        slots = [word for word in looks.split() if word not in _EMPTY]
        for what, entries in groupby(_ENTRY.findall(seconds), key=lambda entry: entry[1].strip()):
            times = [time for time, _ in entries]
            slots += [what, times[0], times[-1]]
        sentences.append(slots)
    return sentences


def claimed_categories(response: Response) -> set[str]:
    """The mismatch categories that a refusal in the world's language names, for RT-IoU."""
    if not response.refused:
        return set()
    return {category(slot, said).value for slot, said, _ in claims(response.answer or "") if slot}


def agreement_by_category(
    predictions: Sequence[Any], offline: Callable[[Response], set[str]], encoder: SentenceEncoder
) -> dict[str, dict[str, float]]:
    """How far the offline judges agree with the exact one, over the refusals of irrelevant queries of each category.

    Args:
        predictions: judged by `world_judge` already.
        offline: names categories, such as `rarft.evaluation.judges.categories.CategoryClassifier`.

    Returns for each category, and for "all": `n` refusals; `categories`, the mean Jaccard index of the categories that
    the two judges read in a refusal; `explanations`, the chance (AUROC) that a true explanation is more similar to the
    reference than a false one, NaN where all are true or all are false.
    """
    refusals = [p for p in predictions if "explanation_true" in p.judged]
    similar = encoder.cosine([p.response.answer or "" for p in refusals], [p.sample.answer for p in refusals])
    # A refusal that claims nothing the grammar knows has no category: nothing to compare.
    same = [rt_iou(claimed_categories(p.response), offline(p.response)) for p in refusals]
    agreement = {}
    for name in ("all", *(c.short for c in Category)):
        members = [i for i, p in enumerate(refusals) if name == "all" or name in {c.short for c in p.sample.categories}]
        if members:
            true = [bool(refusals[i].judged["explanation_true"]) for i in members]
            agreement[name] = {
                "n": len(members),
                "categories": mean([same[i] for i in members]),
                "explanations": auroc(true, [float(similar[i]) for i in members]),
            }
    return agreement
