"""Is everything there? Videos of an annotation file by name, whether each can be read, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
    """A video of a data set. seconds: of the file."""

    seconds: float
    height: int
    width: int


@dataclass
class Checked:
    """What was found of the videos of some samples, each by the name that the annotations have for it.

    missing: are not in the folder. unreadable: why. doubts: what differs between a file and its rows; the run can go
    on with those.
    """

    found: dict[str, FoundVideo] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def bad(self) -> set[str]:
        """The videos that cannot be used."""
        return {*self.missing, *self.unreadable}


def check_videos(
    samples: Sequence[Sample], folder: Path, *, readers: int = 2, decode_seconds: float = 60, reader: str = PYAV
) -> Checked:
    """Look at every video that samples name: two frames of each are decoded.

    Args:
        folder: where they should be.
        readers: processes that decode, side by side.
        decode_seconds: a decoder that gives no frame for so long is ended, and the video counts as unreadable.
        reader: the library that decodes.
    """
    checked = Checked()
    rows: dict[str, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(sample.video, []).append(sample)
    paths = {video: find_video(folder, video) for video in rows}
    checked.missing = [video for video, path in paths.items() if path is None]
    present = [(video, path) for video, path in paths.items() if path is not None]
    if not present:
        return checked
    guarded = [GuardedReader(decode_seconds, reader) for _ in range(min(readers, len(present)))]
    try:
        with ThreadPoolExecutor(len(guarded)) as pool:
            looks = pool.map(
                lambda job: _look(guarded[job[0] % len(guarded)], job[1][1]), enumerate(present), chunksize=1
            )
            for (video, _), found in zip(present, progress(looks, total=len(present), desc="check"), strict=True):
                if isinstance(found, FoundVideo):
                    checked.found[video] = found
                    checked.doubts += _doubts(rows[video], found.seconds)
                else:
                    checked.unreadable[video] = str(found)
    finally:
        for process in guarded:
            process.close()
    return checked


def _look(reader: GuardedReader, path: Path) -> FoundVideo | VideoError:
    try:
        clip = reader(path, max_frames=2)
    except VideoError as error:
        return error
    return FoundVideo(clip.duration, *clip.frames.shape[1:3])


def _doubts(rows: Sequence[Sample], seconds: float) -> list[str]:
    """One sentence for each way in which a video is not as its rows say."""
    video, doubts = rows[0].video, []
    stated = next((row.duration for row in rows if row.duration and row.start is None and row.end is None), None)
    if stated is not None and abs(stated - seconds) > TOLERANCE:
        doubts.append(f"{video}: lasts {seconds:.1f} s, its rows say {stated:.1f} s")
    latest = max(((row.start or 0.0) + span.end for row in rows for span in row.spans), default=0.0)
    latest = max([latest, *(row.end for row in rows if row.end is not None)])
    if latest > seconds + TOLERANCE:
        doubts.append(f"{video}: lasts {seconds:.1f} s, and a segment or a part of it ends at {latest:.1f} s")
    return doubts
