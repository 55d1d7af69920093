"""Check the videos of an annotation file: whether each is found and readable, and its length and size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from rarft.schema import Sample
from rarft.system.errors import VideoError
from rarft.system.progress import progress
from rarft.video import GuardedReader
from rarft.video.find import find_video
from rarft.video.readers import PYAV

TOLERANCE = 1.0  # seconds by which a file may differ from what its rows say


@dataclass(frozen=True)
class FoundVideo:
    """The length (of the file) and the frame size in pixels of a video."""

    seconds: float
    height: int
    width: int


@dataclass
class Inventory:
    """The state of the videos of some samples, by their names in the annotations.

    found: readable videos. missing: not in the folder. unreadable: with the reason. doubts: differences from the
    annotations that do not stop a run.
    """

    found: dict[str, FoundVideo] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def bad(self) -> set[str]:
        """The videos that cannot be used."""
        return {*self.missing, *self.unreadable}


def take_inventory(
    samples: Sequence[Sample], folder: Path, *, readers: int = 2, decode_seconds: float = 60, reader: str = PYAV
) -> Inventory:
    """Check every video of the samples by decoding two of its frames.

    Args:
        folder: where the videos should be.
        readers: the number of decoding processes.
        decode_seconds: seconds without a new frame after which the video counts as unreadable.
        reader: the library that decodes.
    """
    rows: dict[str, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(sample.video, []).append(sample)
    present = {video: path for video in rows if (path := find_video(folder, video))}
    inventory = Inventory(missing=[video for video in rows if video not in present])
    with ExitStack() as stack, ThreadPoolExecutor(readers) as pool:
        guarded = [stack.enter_context(GuardedReader(decode_seconds, reader)) for _ in range(readers)]
        looks = pool.map(_look, cycle(guarded), present.values())
        for video, found in zip(present, progress(looks, total=len(present), desc="check"), strict=True):
            if isinstance(found, FoundVideo):
                inventory.found[video] = found
                inventory.doubts += _doubts(rows[video], found.seconds)
            else:
                inventory.unreadable[video] = str(found)
    return inventory


def _look(reader: GuardedReader, path: Path) -> FoundVideo | VideoError:
    try:
        clip = reader(path, max_frames=2)
    except VideoError as error:
        return error
    return FoundVideo(clip.duration, *clip.frames.shape[1:3])


def _doubts(rows: Sequence[Sample], seconds: float) -> list[str]:
    """One sentence for each way in which a video differs from its annotations."""
    video, doubts = rows[0].video, []
    stated = next((row.duration for row in rows if row.duration and row.start is None and row.end is None), None)
    if stated is not None and abs(stated - seconds) > TOLERANCE:
        doubts.append(f"{video}: lasts {seconds:.1f} s, its rows say {stated:.1f} s")
    latest = max(((row.start or 0.0) + span.end for row in rows for span in row.spans), default=0.0)
    latest = max([latest, *(row.end for row in rows if row.end is not None)])
    if latest > seconds + TOLERANCE:
        doubts.append(f"{video}: lasts {seconds:.1f} s, and a segment or a part of it ends at {latest:.1f} s")
    return doubts
