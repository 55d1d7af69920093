"""A video file becomes a `Clip`: frames, the second at which each is shown, and the duration.

Times come from the container's timestamps, never from frame number / average rate, so variable frame rates
are right. Frame choice follows the Qwen-VL convention: a constant number of frames a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import decord
import numpy as np
from PIL import Image

from rarft.errors import VideoError
from rarft.video.container import check_container

BYTES_AT_A_TIME = 2**26  # of frames at full size: two of 4K
FRAMES_AT_A_TIME = 16  # of any size: between two that are wanted, hundreds may have to be decoded
LARGEST_CLIP = 2**29  # bytes of all frames together; a file that lies about its length would take any number
LONGEST_SECONDS = 1e8  # three years: a timestamp beyond is none


@dataclass(frozen=True)
class Clip:
    """Decoded frames of a file, or of a crop of it.

    frames: (T, H, W, 3) uint8, RGB. seconds: (T,) float64, from the start of the crop.
    duration: seconds of the crop. fps: frames a second that were asked for.
    """

    frames: np.ndarray
    seconds: np.ndarray
    duration: float
    fps: float
    path: str


def read_video(
    path: str | Path,
    fps: float = 2.0,
    *,
    start: float | None = None,
    end: float | None = None,
    max_pixels: int | None = None,
    min_frame_pixels: int | None = None,
    max_frames: int | None = None,
    factor: int | None = None,
    max_seconds: float | None = None,
    on_frames: Callable[[int, int], None] | None = None,
) -> Clip:
    """Decode a video at `fps` frames a second.

    Args:
        start, end: crop, in seconds of the file; the whole file by default.
        max_pixels: budget for all frames together (T * H * W); frames are scaled down to meet it.
        min_frame_pixels: no frame is scaled below this (H * W), whatever the budget says.
        max_frames: at most so many frames, spread evenly; the effective fps falls accordingly.
        factor: sides of a token in pixels. Where it is given, frames come in pairs, two of which share a token, and the
            budget counts a pair as one frame, as the Qwen-VL models do: see `frame_size`.
        max_seconds: the last second that the model can name; a longer video, or part of one, is an error.
        on_frames: called from time to time with how many frames are decoded, and of how many.

    Raises VideoError if the file is missing, empty, truncated, not a video, or the crop is outside of it; for an fps of
    0 or less; and if its frames would take more than `LARGEST_CLIP`."""
    path = Path(path)
    if fps <= 0:
        raise VideoError(f"{path}: fps is {fps:g}; ask for more than 0 frames a second")
    reader = _open(path)
    timestamps = _timestamps(reader, path)
    length = float(timestamps[-1, 1])
    first, last = 0.0 if start is None else float(start), length if end is None else min(float(end), length)
    if not 0 <= first < last:
        raise VideoError(f"{path}: the crop {start} to {end} s is not inside the video, which lasts {length:.2f} s")
    duration = last - first
    if max_seconds is not None and math.floor(duration) > max_seconds:
        raise VideoError(
            f"{path}: lasts {duration:.0f} s, and this model can name seconds up to {max_seconds:g}; ask about a part "
            "of it (start and end), or cut it into windows"
        )
    count = max(1, int(np.floor(duration * fps + 1e-6)))
    if max_frames is not None and count > max_frames:
        count, fps = max_frames, max_frames / duration
    if factor is not None:
        count = max(2, count - count % 2)
    wanted = first + np.arange(count) / fps
    # The frame on the screen at a time is the last one that began by then.
    indices = np.clip(np.searchsorted(timestamps[:, 0], wanted + 1e-6, side="right") - 1, 0, len(timestamps) - 1)
    with _decoding(path):
        size = reader[0].shape[:2]
    if factor is not None:
        target = frame_size(*size, count, factor, max_pixels=max_pixels, min_frame_pixels=min_frame_pixels)
    else:
        least = count * (min_frame_pixels or 0)
        target = _fit(size, count, None if max_pixels is None else max(max_pixels, least))
    height, width = target or size
    if 3 * count * height * width > LARGEST_CLIP:
        raise VideoError(
            f"{path}: {count} frames of {width}×{height} ({duration:.0f} s) are more than {LARGEST_CLIP // 2**20} MB; "
            "ask about a part of it (start and end), at a lower fps, or with a budget (max_pixels)"
        )
    frames = _decode(reader, indices, path, None if target == size else target, on_frames)
    return Clip(frames, np.maximum(timestamps[indices, 0] - first, 0.0), duration, fps, str(path))


MAX_FRAME_TOKENS = 768


def frame_size(
    height: int,
    width: int,
    frames: int,
    factor: int,
    *,
    max_pixels: int | None = None,
    min_frame_pixels: int | None = None,
) -> tuple[int, int]:
    """Height and width that a frame is scaled to: multiples of `factor`, the nearest to its own within the budget.

    A frame may have `max_pixels / frames * 2` pixels, for two frames share a token; at most 768 tokens; and always 1.05
    times `min_frame_pixels`, whatever the budget says. Behaviour: `fetch_video` and `smart_resize` of qwen-vl-utils,
    with which Time-R1 and RA-RFT read videos."""
    least = min_frame_pixels or factor * factor
    most = MAX_FRAME_TOKENS * factor * factor
    if max_pixels is not None:
        most = max(min(most, max_pixels / frames * 2), int(least * 1.05))

    def multiple(value: float, rounding) -> int:
        return max(factor, rounding(value / factor) * factor)

    sides = (height, width)
    rounded = [multiple(side, round) for side in sides]
    if rounded[0] * rounded[1] > most:
        shrink = (height * width / most) ** 0.5
        rounded = [multiple(side / shrink, math.floor) for side in sides]
    elif rounded[0] * rounded[1] < least:
        grow = (least / (height * width)) ** 0.5
        rounded = [multiple(side * grow, math.ceil) for side in sides]
    return rounded[0], rounded[1]


def _open(path: Path) -> decord.VideoReader:
    check_container(path)
    try:
        # absolute: a name such as "concat:a" would be read as a protocol
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[-1]
        raise VideoError(f"{path}: not a video that FFmpeg can read, or truncated ({cause})") from error
    if len(reader) == 0:
        raise VideoError(f"{path}: the file holds no video frames")
    return reader


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """decord's errors, named after the file."""
    try:
        yield
    except (decord.DECORDError, RuntimeError, IndexError) as error:  # IndexError: it counts frames that have no times
        raise VideoError(f"{path}: decoding failed, the file seems damaged or truncated") from error


def _timestamps(reader: decord.VideoReader, path: Path) -> np.ndarray:
    """(frames, 2): begin and end of each frame in seconds, the first frame at 0."""
    with _decoding(path):
        timestamps = np.asarray(reader.get_frame_timestamp(np.arange(len(reader))), np.float64)
    missing = ~np.isfinite(timestamps) | (np.abs(timestamps) > LONGEST_SECONDS)  # decord's number for "none" is huge
    timestamps = timestamps - timestamps[0, 0]
    if np.any(missing) or np.any(np.diff(timestamps[:, 0]) < 0):
        raise VideoError(f"{path}: frame timestamps are broken; re-encode it, e.g. ffmpeg -i IN -c:v libx264 OUT.mp4")
    return timestamps


def _fit(size: tuple[int, int], count: int, max_pixels: int | None) -> tuple[int, int] | None:
    """Height and width (even) that keep count * height * width within the budget, or None if they do already."""
    height, width = size
    if max_pixels is None or count * height * width <= max_pixels:
        return None
    scale = (max_pixels / (count * height * width)) ** 0.5
    return max(2, int(height * scale) // 2 * 2), max(2, int(width * scale) // 2 * 2)


def _decode(
    reader: decord.VideoReader,
    indices: np.ndarray,
    path: Path,
    size: tuple[int, int] | None,
    on_frames: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Frames, scaled to a (height, width); a part at a time, so that only few are held at full size."""
    with _decoding(path):
        first = reader[0].asnumpy()
        height, width = size or first.shape[:2]
        clip = np.empty((len(indices), height, width, 3), np.uint8)
        at_a_time = min(FRAMES_AT_A_TIME, max(1, BYTES_AT_A_TIME // first.nbytes))
        for begin in range(0, len(indices), at_a_time):
            frames = reader.get_batch(indices[begin : begin + at_a_time]).asnumpy()
            # decord can scale by itself, and fails at some widths (48 and 72 of a square video)
            for number, frame in enumerate(frames, start=begin):
                clip[number] = frame if size is None else _scaled(frame, size)
            if on_frames is not None:
                on_frames(begin + len(frames), len(indices))
        reader.seek(0)  # decord keeps decoded packets alive otherwise (dmlc/decord#208)
    return clip


def _scaled(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
