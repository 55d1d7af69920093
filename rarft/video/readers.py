"""Which library decodes a video's pictures: PyAV, or decord or torchcodec for comparison with code that uses them.

The times are those of the container in any case, and a file in which another library finds other frames is an error.
The pictures are the same to the byte (tests/video/test_readers.py). Where they would differ, an error says so:

- mirrored pictures, which neither library mirrors;
- a display matrix that is not exactly a quarter turn: decord turns by 90, 180 and 270 degrees only;
- MPEG transport and program streams, whose frames decord mixes up, and in which torchcodec begins too late;
- files without timestamps, such as H.264 in AVI, of which each library makes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rarft.system.errors import InputError, VideoError
from rarft.video.container import container_of
from rarft.video.frames import VideoFile, orientation_of

PYAV = "pyav"
SAME_TIME = 1e-3  # seconds


class TimedPicture(NamedTuple):
    """A frame of another library: its second after the first frame, and its picture (H, W, 3)."""

    seconds: float
    picture: np.ndarray


class OtherFile(VideoFile):
    """A video file whose pictures another library decodes. Raises VideoError if it shows the video differently."""

    def __init__(self, path: Path, on_decoded: Callable[[], None] | None, library: str):
        """library: one of `OTHERS`. See `VideoFile`."""
        super().__init__(path, on_decoded)
        self.library = library

    def decode(self, numbers: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """See `VideoFile`."""
        mirrored, turns = orientation_of(next(self.frames([0])))
        self.refuse(mirrored, "its picture without the mirroring that the file asks for")
        if self.library == "decord":
            self.refuse(turns != round(turns), "it as it is stored, but its display matrix is not a quarter turn")
            self.refuse("MPEG" in container_of(self.path).name, "frames of MPEG streams in another order")
        try:
            numbers = [int(number) for number in numbers]
            for number, (seconds, picture) in zip(numbers, OTHERS[self.library](self, numbers), strict=True):
                late = seconds - self.times[number, 0]
                self.refuse(abs(late) >= SAME_TIME, f"frame {number} {late:+.3f} s late")
                self.on_decoded()
                yield picture
        except VideoError:
            raise
        except Exception as error:  # of classes that only the library has
            raise self._error(str(error).strip().splitlines()[0]) from error

    def refuse(self, differs: bool, shown: str) -> None:
        """Raises VideoError, which says what the library shows, if it differs from the file."""
        if differs:
            raise self._error(f"it shows {shown}")

    def refuse_count(self, frames: int) -> None:
        """Raises VideoError if the library finds another number of frames."""
        self.refuse(frames != len(self.times), f"{frames} frames instead of {len(self.times)}")

    def _error(self, reason: str) -> VideoError:
        return VideoError(
            f"{self.path}: {self.library} does not read this video correctly ({reason}); choose the reader pyav"
        )


def _by_decord(file: OtherFile, numbers: list[int]) -> Iterator[TimedPicture]:
    """Every frame up to the last wanted one is decoded. In HEVC, decord gives wrong frames if some are skipped."""
    import decord

    video = decord.VideoReader(str(file.path.absolute()), num_threads=1)
    file.refuse_count(len(video))
    begin, decoded = video.get_frame_timestamp(0)[0], 0
    for number in numbers:
        for _ in range(decoded, number):
            video.next()
            file.on_decoded()
        decoded = number + 1
        picture = video.next().asnumpy()
        file.refuse(picture.shape[2] != 3, "rows of another length than its pictures have")
        yield TimedPicture(video.get_frame_timestamp(number)[0] - begin, picture)


def _by_torchcodec(file: OtherFile, numbers: list[int]) -> Iterator[TimedPicture]:
    """torchcodec decodes with the FFmpeg that is installed on the machine."""
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(file.path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1)
    file.refuse_count(len(video))
    begin = float(video.metadata.begin_stream_seconds)
    for number in numbers:
        frame = video.get_frame_at(number)
        yield TimedPicture(frame.pts_seconds - begin, frame.data.numpy())


OTHERS = {"decord": _by_decord, "torchcodec": _by_torchcodec}
READERS = (PYAV, *OTHERS)


def check_reader(name: str) -> str:
    """The name of a reader that can be used here. Raises InputError if it is unknown or not installed."""
    if name not in READERS:
        raise InputError(f"the reader {name!r} is unknown; choose one of {', '.join(READERS)}")
    try:
        if name != PYAV:
            import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"the reader {name} needs the package {error.name}: pip install {error.name}") from error
    except (ImportError, OSError, RuntimeError) as error:  # of a library that it needs, FFmpeg's for example
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the reader {name} is installed but does not load: {reason}") from error
    return name


def open_video(path: Path, reader: str = PYAV, on_decoded: Callable[[], None] | None = None) -> VideoFile:
    """A video file whose pictures are decoded by a reader of `READERS`; see `VideoFile`."""
    check_reader(reader)
    return VideoFile(path, on_decoded) if reader == PYAV else OtherFile(path, on_decoded, reader)
