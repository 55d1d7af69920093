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

import numpy as np

from rarft.system.errors import InputError, VideoError
from rarft.video.container import container_of
from rarft.video.frames import VideoFile, orientation

PYAV = "pyav"
SAME_TIME = 1e-3  # seconds
Frame = tuple[float, np.ndarray]  # its second in the file, and its picture


class OtherFile(VideoFile):
    """A video file whose pictures another library decodes. Raises VideoError for one that it shows differently."""

    library = ""

    def pictures(self, numbers: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        self.check()
        try:
            count, begin, frame_at = self.open()
            self._agree(count == len(self.times), f"{count} frames instead of {len(self.times)}")
            last, picture = None, np.empty(0)
            for number in map(int, numbers):
                if number != last:
                    seconds, picture = frame_at(number)
                    late = seconds - begin - self.times[number, 0]
                    self._agree(abs(late) < SAME_TIME, f"frame {number} {late:+.3f} s late")
                    self._tell()
                    last = number
                yield picture
        except VideoError:
            raise
        except Exception as error:  # of classes that only the library has
            raise self._error(str(error).strip().splitlines()[0]) from error

    def open(self) -> tuple[int, float, Callable[[int], Frame]]:
        """The number of frames, the second at which the first begins, and the frames by ascending numbers."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises VideoError for a video that the library is known to show differently."""
        mirrored, _ = orientation(next(self._frames([0])))
        self._agree(not mirrored, "its picture without the mirroring that the file asks for")

    def _agree(self, agreed: bool, otherwise: str) -> None:
        if not agreed:
            raise self._error(f"it shows {otherwise}")

    def _error(self, reason: str) -> VideoError:
        return VideoError(
            f"{self.path}: {self.library} does not read this video correctly ({reason}); choose the reader pyav"
        )


class DecordFile(OtherFile):
    """Decoded by decord, every frame up to the last wanted one. In HEVC, it gives wrong frames if some are skipped."""

    library = "decord"

    def check(self) -> None:
        super().check()
        _, turns = orientation(next(self._frames([0])))
        self._agree(turns == round(turns), "it as it is stored, and its display matrix is no exact quarter turn")
        self._agree("MPEG" not in str(container_of(self.path)), "frames of MPEG streams in another order")

    def open(self) -> tuple[int, float, Callable[[int], Frame]]:
        import decord

        video = decord.VideoReader(str(self.path.absolute()), num_threads=1)
        reached = 0

        def frame_at(number: int) -> Frame:
            nonlocal reached
            for _ in range(reached, number):
                video.next()
                self._tell()
            reached = number + 1
            picture = video.next().asnumpy()
            self._agree(picture.shape[2] == 3, "rows of another length than its pictures have")
            return video.get_frame_timestamp(number)[0], picture

        return len(video), video.get_frame_timestamp(0)[0], frame_at


class TorchcodecFile(OtherFile):
    """Decoded by torchcodec, with the FFmpeg that is installed on the machine."""

    library = "torchcodec"

    def open(self) -> tuple[int, float, Callable[[int], Frame]]:
        from torchcodec.decoders import VideoDecoder

        video = VideoDecoder(str(self.path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1)

        def frame_at(number: int) -> Frame:
            frame = video.get_frame_at(number)
            return frame.pts_seconds, frame.data.numpy()

        return len(video), float(video.metadata.begin_stream_seconds), frame_at


READERS: dict[str, type[VideoFile]] = {PYAV: VideoFile, "decord": DecordFile, "torchcodec": TorchcodecFile}


def check_reader(name: str) -> str:
    """The name of a reader that can be used here. Raises InputError for another one, or one that is not installed."""
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
    return READERS[check_reader(reader)](path, on_decoded)
