"""A video file becomes a `Clip`: frames, the second at which each is shown, and the duration.

Times come from the container's timestamps, never from frame number / average rate, so variable frame rates
are right. Frame choice follows the Qwen-VL convention: a constant number of frames a second.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from rarft.system.errors import VideoError
from rarft.video.frames import VideoFile
from rarft.video.readers import PYAV, open_video

LARGEST_CLIP = 2**29  # bytes of all frames together; a file that lies about its length would take any number


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
    reader: str = PYAV,
    on_frames: Callable[[int, int], None] | None = None,
) -> Clip:
    """Decode a video at `fps` frames a second.

    Args:
        start, end: crop, in seconds of the file; the whole file by default.
        max_pixels: budget for all frames together (T * H * W); frames are scaled down to meet it.
        min_frame_pixels: no frame is scaled below this (H * W), whatever the budget says.
        max_frames: only this many frames, spread evenly; the effective fps falls accordingly.
        factor: sides of a token in pixels. If given, frames come in pairs, two of which share a token, and the budget
            counts a pair as one frame, as the Qwen-VL models do: see `frame_size`.
        max_seconds: the last second that the model can name; a longer video, or part of one, is an error.
        reader: the library that decodes, of `rarft.video.readers.READERS`.
        on_frames: called after each frame that is decoded, wanted or on the way to one, with the number of wanted
            frames that are read, and their number in all: 0 of 0 until that is known.

    Raises VideoError if the file is missing, empty, cut, not a video, or the crop is outside of it; for an fps of 0 or
    less; and if its frames would take more than `LARGEST_CLIP`. InputError for a reader that is not installed."""
    path = Path(path)
    if fps <= 0:
        raise VideoError(f"{path}: fps is {fps:g}; ask for more than 0 frames a second")
    done = count = 0
    report = on_frames or (lambda *_: None)
    file = open_video(path, reader, lambda: report(done, count))
    first, duration = _crop(file, start, end)
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
    shown = np.clip(np.searchsorted(file.times[:, 0], wanted + 1e-6, side="right") - 1, 0, len(file.times) - 1)
    pictures = file.pictures(shown)
    first_picture = next(pictures)
    height, width = size = first_picture.shape[:2]
    if factor is not None:
        height, width = frame_size(*size, count, factor, max_pixels=max_pixels, min_frame_pixels=min_frame_pixels)
    elif max_pixels is not None:
        height, width = _fit(size, count, max(max_pixels, count * (min_frame_pixels or 0)))
    if 3 * count * height * width > LARGEST_CLIP:
        raise VideoError(
            f"{path}: {count} frames of {width}×{height} ({duration:.0f} s) are more than {LARGEST_CLIP // 2**20} MB; "
            "ask about a part of it (start and end), at a lower fps, or with a budget (max_pixels)"
        )
    frames = np.empty((count, height, width, 3), np.uint8)
    for picture in chain([first_picture], pictures):
        frames[done] = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        done += 1
        report(done, count)
    return Clip(frames, np.maximum(file.times[shown, 0] - first, 0.0), duration, fps, str(path))


def _crop(file: VideoFile, start: float | None, end: float | None) -> tuple[float, float]:
    """The first second of a part of a file, and how many seconds it lasts. Raises VideoError if it is not inside."""
    length = float(file.times[-1, 1])
    first, last = 0.0 if start is None else float(start), length if end is None else min(float(end), length)
    if not 0 <= first < last:
        until = "the end" if end is None else f"{end:g} s"
        raise VideoError(
            f"{file.path}: the crop from {first:g} s to {until} is not inside the video, which lasts {length:.2f} s"
        )
    return first, last - first


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


def _fit(size: tuple[int, int], count: int, max_pixels: int) -> tuple[int, int]:
    """Height and width that keep count * height * width within the budget: their own, or smaller, even ones."""
    height, width = size
    scale = (max_pixels / (count * height * width)) ** 0.5
    return size if scale >= 1 else (max(2, int(height * scale) // 2 * 2), max(2, int(width * scale) // 2 * 2))


def frame_uri(frame: np.ndarray, size: tuple[int, int], kind: str = "png") -> str:
    """A frame (H, W, 3), scaled to a size (width, height), as the `src` of an <img>. kind: png or jpeg."""
    buffer = io.BytesIO()
    Image.fromarray(frame).resize(size).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
