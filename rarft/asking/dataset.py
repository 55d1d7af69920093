"""What an evaluation asks: the samples of a world folder, a released file or grounding annotations, with their
videos."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rarft.hivtg.official import iter_rows, read_released
from rarft.hivtg.ratsg import read_ratsg_or_annotations
from rarft.schema import Sample
from rarft.system.errors import InputError, MissingFileError
from rarft.video.find import base_name, find_video
from rarft.world.dataset import stories_of
from rarft.world.scenes import Story


@dataclass(frozen=True)
class TestSet:
    """references: all samples of the data, from which the offline judge of categories learns; samples: those that are
    asked.

    stories: of the samples, where the data is a world folder.
    """

    __test__ = False  # not a test, whatever pytest thinks of its name

    references: list[Sample]
    samples: list[Sample]
    stories: list[Story] | None = None


def read_test_set(
    data: Path, videos: Path | None = None, limit: int | None = None, *, on_bad_video: str | None = None
) -> TestSet:
    """What `data` asks.

    Args:
        data: a folder written by `rarft world`, whose truth is then used for exact judgements; a released file; RaTSG's
            Charades-STA (`rarft.hivtg.ratsg`); or ordinary grounding annotations (`rarft.hivtg.annotations`), whose
            queries are all relevant.
        videos: where the videos of a file are; they are found by base name.
        limit: the first so many samples.
        on_bad_video: "skip" keeps samples whose video is missing, with the path at which it was looked for; "stop"
            has the error name that choice.

    Raises InputError if there is no query that can be used, or no folder of videos; MissingFileError if a video is
    missing."""
    world = data.is_dir()
    folder = data if world else videos
    if folder is None:
        raise InputError(f"{data}: a file needs the folder of its videos (--videos)")
    references = read_samples(data)
    samples = [locate(sample, folder, on_bad_video) for sample in references[:limit]]
    return TestSet(references, samples, stories_of(samples, data) if world else None)


def read_samples(data: Path) -> list[Sample]:
    """The samples of a world folder, a released file, RaTSG's file, or grounding annotations. What cannot be used is
    printed."""
    if data.is_dir() or _is_released(data):
        released = read_released(data / "hi_vtg.json" if data.is_dir() else data)
        samples, problems = released.samples, released.problems
    else:
        problems = []
        samples = list(read_ratsg_or_annotations(data, problems.append))
    for problem in problems:
        print(f"left out: {problem}")
    if not samples:
        raise InputError(f"{data}: no query that can be used")
    return samples


def _is_released(path: Path) -> bool:
    try:
        return any(isinstance(row, dict) and "GRPO" in row for row in islice(iter_rows(path), 100))
    except InputError:
        return False  # text, or an object of videos: annotations


def locate(sample: Sample, folder: Path, on_bad_video: str | None = None) -> Sample:
    """The sample with its video's path in `folder`. Raises MissingFileError if it is missing, unless `missing_ok`."""
    path, missing = find_video(folder, sample.video), folder / base_name(sample.video)
    if path is None and on_bad_video != "skip":
        hint = "; --on-bad-video skip leaves it out" if on_bad_video == "stop" else ""
        raise MissingFileError(f"{missing}: the video of the query {sample.query!r} is not there{hint}")
    return dataclasses.replace(sample, video=str(path or missing))
