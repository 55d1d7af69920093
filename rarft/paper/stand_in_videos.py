"""Stand-ins for the videos of an annotation file: files of the same name and length that show world scenes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.system.processes import worker_pool
from rarft.system.progress import progress
from rarft.video.find import VIDEO_SUFFIXES, base_name, find_video
from rarft.world.render import render, write_video
from rarft.world.scenes import sample_story
from rarft.world.weather import Weather

FPS = 4  # frames per second: lengths are accurate to a quarter of a second
SIZE = 112  # pixels, height and width
SCENE_SECONDS = 20  # length of a story


def lengths_of(samples: Iterable[Sample]) -> dict[str, float]:
    """The length of each video in seconds: its duration, or the end of its last crop or segment if that is later or
    the duration is not known.

    Raises InputError for a video whose length no row states.
    """
    lengths: dict[str, float] = {}
    for sample in samples:
        begin = sample.start or 0.0
        known = [sample.end or 0.0, *(begin + span.end for span in sample.spans)]
        if sample.end is None:
            known.append(begin + (sample.duration or 0.0))
        lengths[sample.video] = max([lengths.get(sample.video, 0.0), *known])
    unknown = next((video for video, length in lengths.items() if length <= 0), None)
    if unknown is not None:
        raise InputError(f"{unknown}: neither a duration nor a segment says how long it is")
    return lengths


def write_stand_ins(samples: Iterable[Sample], folder: str | Path, *, processes: int | None = None) -> int:
    """Write a file for each video of these samples that is not in `folder`. Returns the number of files written.

    The content is a sequence of world stories that depends only on the video's name. Existing files are not replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [(video, seconds) for video, seconds in lengths_of(samples).items() if not find_video(folder, video)]
    jobs = {stand_in_path(folder, video): seconds for video, seconds in missing}
    with nullcontext() if processes == 1 else worker_pool(processes) as pool:
        written = pool.map(_write, jobs.items()) if pool else map(_write, jobs.items())
        for _ in progress(written, total=len(jobs), desc="stand-ins"):
            pass
    return len(jobs)


def stand_in_path(folder: Path, video: str) -> Path:
    """The path of a video's stand-in. An id without a file extension gets .mp4."""
    name = base_name(video)
    return folder / (name if Path(name).suffix.lower() in VIDEO_SUFFIXES else f"{name}.mp4")


def _write(job: tuple[Path, float]) -> None:
    path, seconds = job
    write_video(stand_in_frames(path.stem, seconds), path, FPS)


def stand_in_frames(name: str, seconds: float) -> np.ndarray:
    """Frames (T, SIZE, SIZE, 3) of a stand-in at `FPS` frames per second."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    calm = Weather(fps=FPS, size=SIZE)
    scenes = [
        render(sample_story(rng, duration=SCENE_SECONDS), calm) for _ in range(math.ceil(seconds / SCENE_SECONDS))
    ]
    return np.concatenate(scenes)[: max(1, round(seconds * FPS))]
