"""A path → the samples for evaluation or training, their videos, and the judges of the answers.

The path is a folder of `rarft world`, a released file, or grounding annotations (`rarft.hivtg.annotations`), whose
queries are all relevant except in RaTSG's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from rarft.asking.answer import Prediction
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.official import group_samples, iter_rows, read_released
from rarft.reading.completion import Response
from rarft.schema import Group, Sample
from rarft.system.errors import InputError, MissingFileError
from rarft.video.find import base_name, find_video
from rarft.world.dataset import stories_of
from rarft.world.judge import claimed_categories, exact_judge

log = logging.getLogger(__name__)

Figures = dict[str, float]
Judge = Callable[[Sequence[Prediction]], Sequence[Figures]]  # figures by name for each prediction
CategoryJudge = Callable[[Response], set[str]]  # the mismatch categories that a refusal names


@dataclass(frozen=True)
class Judges:
    """The judges of refusals on a data set, none of which is a language model.

    categories: judges of mismatch categories by name; each has its own columns in a report.
    about: a description of the judges for the report.
    figures: judges of anything else.
    """

    categories: Mapping[str, CategoryJudge] = field(default_factory=dict)
    about: str = ""
    figures: Sequence[Judge] = ()


@dataclass(frozen=True)
class SampleSet:
    """The samples of a data set.

    path: the folder or file.
    references: all samples, with video names as in the data; a judge of categories can learn from them.
    samples: the samples to evaluate or train on, with the paths of their videos.
    """

    path: Path
    references: list[Sample]
    samples: list[Sample]

    @property
    def judges(self) -> Judges | None:
        """The judges of this data set; None if it has no truth beyond its references."""
        return None

    def groups(self) -> list[Group]:
        """The relevant and the irrelevant samples of each row of a released file that has both.

        Raises InputError if there is no such row, as in grounding annotations."""
        rows = group_samples([sample for sample in self.samples if isinstance(sample.extra.get("row"), int)])
        if not rows:
            raise InputError(f"{self.path}: no row has both a relevant and an irrelevant query")
        return rows


class WorldSet(SampleSet):
    """The samples of a world folder, whose truth is known."""

    @cached_property
    def judges(self) -> Judges:
        """The exact judges. Raises InputError or MissingFileError if the folder's stories cannot be read."""
        stories = stories_of(self.samples, self.path)
        by_video = {sample.video: story for sample, story in zip(self.samples, stories, strict=True)}
        return Judges({"exact": claimed_categories}, "exact: the world's truth", [exact_judge(by_video)])


def open_dataset(
    path: str | Path, videos: str | Path | None = None, limit: int | None = None, *, on_bad_video: str | None = None
) -> SampleSet:
    """Open a data set and find its videos.

    Args:
        videos: the folder of a file's videos, which are found by base name. A world folder has its own.
        limit: only the first N samples.
        on_bad_video: "skip" keeps samples whose video is missing, with the path where it was expected. Otherwise a
            missing video is an error; with "stop" its message suggests --on-bad-video skip.

    Raises InputError if there is no usable query, or no folder of videos; MissingFileError if a video is missing."""
    path = Path(path)
    folder = path if path.is_dir() else videos
    if folder is None:
        raise InputError(
            f"{path}: a file needs the folder of its videos (--videos FOLDER; in a recipe, videos: FOLDER)"
        )
    if path.is_dir() and videos:
        log.warning("videos: %s is not used; the folder %s has its own", videos, path)
    references = read_samples(path)
    paths: dict[str, str] = {}
    for sample in references[:limit]:
        if sample.video not in paths:
            paths[sample.video] = _path_of(sample, Path(folder), on_bad_video)
    samples = [replace(sample, video=paths[sample.video]) for sample in references[:limit]]
    return (WorldSet if path.is_dir() else SampleSet)(path, references, samples)


def read_samples(path: Path) -> list[Sample]:
    """The samples in a file or folder, with video names as in the data. Unusable entries are logged as warnings.

    Raises InputError if no query can be used."""
    if path.is_dir() or _is_released(path):
        released = read_released(path / "hi_vtg.json" if path.is_dir() else path)
        samples, problems = released.samples, released.problems
    else:
        problems = []
        samples = list(read_annotations(path, problems.append))
    for problem in problems:
        log.warning("left out: %s", problem)
    if not samples:
        raise InputError(f"{path}: no query that can be used")
    return samples


def first_videos(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """The samples about the first `limit` videos; all if None."""
    kept = set(list(dict.fromkeys(sample.video for sample in samples))[:limit])
    return [sample for sample in samples if sample.video in kept]


def _is_released(path: Path) -> bool:
    try:
        return any(isinstance(row, dict) and "GRPO" in row for row in islice(iter_rows(path), 100))
    except InputError:
        return False  # text, or an object of videos: annotations


def _path_of(sample: Sample, folder: Path, on_bad_video: str | None) -> str:
    path, missing = find_video(folder, sample.video), folder / base_name(sample.video)
    if path is None and on_bad_video != "skip":
        hint = "; --on-bad-video skip leaves it out" if on_bad_video == "stop" else ""
        raise MissingFileError(f"{missing}: the video of the query {sample.query!r} is not there{hint}")
    return str(path or missing)
