"""Long videos, made of world clips: one file of ten minutes and more, in which a query happens once or not at all.

Parts all have the same length, so that a window of that length is one part. Real videos need a shot detector there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rarft.schema import Crop, Difficulty, Sample, Span
from rarft.system.errors import InputError
from rarft.world.dataset import clip_rng, clip_weather
from rarft.world.edits import edit_query, sample_worded_query
from rarft.world.language import Slots
from rarft.world.render import render, write_video
from rarft.world.scenes import Story, sample_story
from rarft.world.truth import spans_of

PARTS, PART_SECONDS = 40, 16
TRIES = 2000  # to draw a query that happens once, or nowhere


@dataclass(frozen=True)
class LongVideo:
    """A file, and the stories that it shows one after the other, `PART_SECONDS` each."""

    path: Path
    stories: tuple[Story, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(PART_SECONDS * len(self.stories))

    def spans_of(self, query: Slots) -> list[Span]:
        """Where a query happens, in seconds of the file."""
        found = [(i * PART_SECONDS, span) for i, story in enumerate(self.stories) for span in spans_of(story, query)]
        return [Span(begin + span.start, begin + span.end) for begin, span in found]


def parts_of(sample: Sample) -> list[Crop]:
    """The parts of a sample's video, by its duration."""
    return [part_of(sample.video, i) for i in range(round((sample.duration or 0) / PART_SECONDS))]


def part_of(video: str, index: int) -> Crop:
    """Part `index` of a long video."""
    return Crop(video, float(index * PART_SECONDS), float((index + 1) * PART_SECONDS))


def make_long_video(
    folder: str | Path, index: int, *, parts: int = PARTS, seed: int = 0, weather: str = "rough"
) -> LongVideo:
    """Write long video `index` of a seed, or find it. One camera films all of it: its weather is drawn once.

    Raises InputError for no parts.
    """
    if parts < 1:
        raise InputError(f"a long video needs parts, got {parts}")
    rng = clip_rng(seed, "long", index)
    stories = tuple(sample_story(rng, duration=PART_SECONDS) for _ in range(parts))
    path = Path(folder) / f"{weather}_{seed}_{index}_{parts}.mp4"
    if not path.exists():
        camera = clip_weather(weather, seed, "long", index)
        frames = [render(story, replace(camera, seed=camera.seed + i)) for i, story in enumerate(stories)]
        write_video(np.concatenate(frames), path, camera.fps, crf=camera.crf)
    return LongVideo(path, stories)


def questions_about(video: LongVideo, others: Sequence[LongVideo], count: int, *, seed: int = 0) -> list[Sample]:
    """Queries about a long video, three for each of `count` draws: one that happens once in all of it, that one with a
    word changed so that it happens nowhere, and one of another video that happens nowhere here.

    Raises InputError where none of many draws gives such a query.
    """
    rng = np.random.default_rng([seed, 1])
    samples = []
    for _ in range(count):
        query, edited = _draw_pair(video, rng)
        other = _draw_foreign(video, others, rng)
        true = _sample(video, query, Difficulty.ORIGINAL)
        samples += [true, replace(_sample(video, edited, Difficulty.HARD), correction=true.query)]
        samples.append(_sample(video, other, Difficulty.SHUFFLED))
    return samples


def kind_of_question(sample: Sample) -> str:
    """relevant, edited or shuffled."""
    return {Difficulty.ORIGINAL: "relevant", Difficulty.HARD: "edited"}.get(sample.difficulty, "shuffled")


def _sample(video: LongVideo, query: Slots, difficulty: Difficulty) -> Sample:
    spans = video.spans_of(query)
    return Sample(str(video.path), query.sentence(), spans, duration=video.duration, difficulty=difficulty)


def _draw_pair(video: LongVideo, rng: np.random.Generator) -> tuple[Slots, Slots]:
    for _ in range(TRIES):
        story = video.stories[rng.integers(len(video.stories))]
        query = sample_worded_query(story, rng, clauses=2)
        edit = edit_query(story, query, 1, rng)
        if len(video.spans_of(query)) == 1 and edit is not None and not video.spans_of(edit.query):
            return query, edit.query
    raise InputError(f"{video.path}: no query was found that happens in it only once")


def _draw_foreign(video: LongVideo, others: Sequence[LongVideo], rng: np.random.Generator) -> Slots:
    for _ in range(TRIES):
        stories = others[int(rng.integers(len(others)))].stories
        query = sample_worded_query(stories[rng.integers(len(stories))], rng, clauses=2)
        if not video.spans_of(query):
            return query
    raise InputError(f"{video.path}: every query of the other videos happens in it")
