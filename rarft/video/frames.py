"""The frames of a video file by the times at which they are shown, decoded with PyAV one after the other.

Only one frame at a time is held. decord, with which the released code reads videos, reads ahead of its decoder without
a limit: half an hour of 4K takes as much memory as the file has bytes, and more. The pictures and the times are
decord's (tests/video/test_against_decord.py), except for mirrored pictures and turns that are not exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from rarft.system.errors import VideoError
from rarft.video.container import GET_IT_AGAIN, check_container, container_of

SLACK = 1.0  # seconds by which a header may be wrong about the end
DEFAULT_LENGTH = 0.04  # seconds of a single frame whose length the file does not state
LONGEST_SECONDS = 1e8  # three years: a larger timestamp is broken
LARGEST_FRAME = 2**26  # pixels: two frames of 8K
ONLY_FILES = {"protocol_whitelist": "file"}
# Titles in a file may be in any encoding. PyAV 19 has no option for it, and reads them all the same.
ANY_TEXT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
SEEK_FROM = 60  # frames: fewer are decoded sooner than a file is opened again


class VideoFile:
    """The video stream of a file.

    times: (frames, 2) float64, the second at which each frame begins and ends, in the order of showing, the first at 0.
    """

    def __init__(self, path: Path, on_decoded: Callable[[], None] | None = None):
        """on_decoded: called after each frame that is decoded, wanted or on the way to one.

        Raises VideoError if the file does not exist, lacks a part, or holds no video with timestamps.
        """
        check_container(path)
        self.path, self.on_decoded = path, on_decoded or (lambda: None)
        self._can_seek = True
        found, end = [], 0.0  # found: when each frame begins, its length, and whether it is a keyframe
        with self._opened() as (container, stream):
            for packet in container.demux():
                end = max(end, _end_of(packet))
                if packet.size and packet.stream is stream and not packet.is_discard:
                    found.append((packet.pts, packet.duration or 0, packet.is_keyframe))
            unit, length = float(stream.time_base or 1), _length_in_header(container, stream)
        if any(begin is None for begin, _, _ in found):  # the container keeps no times, and the decoder works them out
            found = [(frame.pts, frame.duration or 0, False) for frame in self._decoded()]
        if not found:
            raise VideoError(f"{path}: the file holds no video frames, or none with a time")
        self._begins, lengths, is_keyframe = map(np.array, zip(*sorted(found, key=itemgetter(0)), strict=True))
        self._keyframes = np.flatnonzero(is_keyframe)
        steps = np.diff(self._begins)
        last = lengths[-1] or (steps[-1] if len(steps) else 0) or (length or DEFAULT_LENGTH) / unit
        ends = np.append(self._begins[1:], self._begins[-1] + last)
        self.times = (np.stack((self._begins, ends), axis=1) - self._begins[0]) * unit
        if np.any(np.abs(self.times) > LONGEST_SECONDS) or (len(found) > 1 and self.times[-1, 0] <= 0):
            raise VideoError(
                f"{path}: frame timestamps are broken; re-encode it, e.g. ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        # the last frame may be shown longer than its packet says
        if container_of(path).states_length and length - end > SLACK + unit * max(steps, default=0):
            promise = f"its container promises {length:.2f} s, and its data end at {end:.2f} s"
            raise VideoError(f"{path}: the file is cut: {promise}; {GET_IT_AGAIN}")

    def pictures(self, numbers: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of frames, (H, W, 3) uint8 RGB each, upright; all have the size of the first.

        numbers: of frames in `times`, ascending; a number may come several times.

        Raises VideoError if they cannot be decoded."""
        distinct, counts = np.unique(numbers, return_counts=True)
        for picture, count in zip(self.decode(distinct), counts, strict=True):
            yield from repeat(picture, count)

    def decode(self, numbers: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """The same for distinct numbers."""
        size, reformatter = None, VideoReformatter()  # one for all frames: it prepares its tables once
        for frame in self.frames(numbers):
            size = size or (frame.width, frame.height)
            with self._errors_named():
                rgb = reformatter.reformat(frame, *size, "rgb24", interpolation="BICUBIC").to_ndarray()
            yield orientation_of(frame).upright(rgb)

    def frames(self, numbers: Sequence[int] | np.ndarray) -> Iterator[av.VideoFrame]:
        """For each number the first frame that does not begin before it: that frame, unless it is damaged."""
        decoded, frame, reached = self._decoded(), None, 0
        for number in numbers:
            before = self._keyframes[self._keyframes <= number]
            if self._can_seek and len(before) and before[-1] - reached > SEEK_FROM:
                decoded, frame = self._decoded(before[-1]), None
            while frame is None or frame.pts < self._begins[number]:
                frame = next(decoded, None)
                if frame is None:
                    raise VideoError(f"{self.path}: decoding failed, the file seems damaged or truncated")
            reached = number
            yield frame

    def _decoded(self, keyframe: int = 0) -> Iterator[av.VideoFrame]:
        """Frames from a keyframe on; from the beginning where the file leads to a later place."""
        with self._opened() as (container, stream):
            if keyframe:
                container.seek(int(self._begins[keyframe]), stream=stream)
            for frame in container.decode(stream):
                self.on_decoded()
                if frame.pts is None:
                    continue
                if keyframe and frame.pts > self._begins[keyframe]:
                    break
                keyframe = 0
                yield frame
        if keyframe:
            self._can_seek = False
            yield from self._decoded()

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """The file and its video stream."""
        path = str(self.path.absolute())  # a name such as "concat:a" would be read as a protocol
        with self._errors_named(), av.open(path, container_options=ONLY_FILES, **ANY_TEXT) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(f"{self.path}: the file holds no video stream, or is truncated")
            if stream.codec_context is None:
                raise VideoError(f"{self.path}: of a codec that FFmpeg does not know; re-encode it")
            if stream.width * stream.height > LARGEST_FRAME:
                raise VideoError(f"{self.path}: frames of {stream.width}×{stream.height} are too large")
            stream.codec_context.thread_count = 1
            yield container, stream

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """FFmpeg's errors, named after the file."""
        try:
            yield
        except (av.FFmpegError, IndexError) as error:  # IndexError: PyAV's, of a stream that no header mentions
            cause = getattr(error, "strerror", None) or error
            raise VideoError(
                f"{self.path}: not a video that FFmpeg can read, damaged or truncated ({cause})"
            ) from error


def _end_of(packet: av.Packet) -> float:
    """The second at which the content of a packet ends; 0 for a packet without a time."""
    begin = packet.dts if packet.pts is None else packet.pts
    return 0.0 if begin is None else float((begin + (packet.duration or 0)) * (packet.time_base or 0))


def _length_in_header(container: InputContainer, stream: VideoStream) -> float:
    """Seconds; 0 where the header says nothing."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    return (container.duration or 0) / av.time_base


class Orientation(NamedTuple):
    """How a player shows a stored picture: upside down first if it is mirrored, then turned clockwise."""

    mirrored: bool
    quarter_turns: float

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A stored picture as a player shows it, to the nearest quarter turn."""
        return np.rot90(picture[::-1] if self.mirrored else picture, -round(self.quarter_turns))


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """What the display matrix (ISO/IEC 14496-12, 6.2.2) asks for. It leads from (x, y) in the file to (ax + cy,
    bx + dy) on the screen, with y pointing down."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation(False, 0.0)
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
    mirrored = a * d < b * c
    if mirrored:
        c, d = -c, -d
    return Orientation(mirrored, float(np.arctan2(b - c, a + d) / (np.pi / 2)))
