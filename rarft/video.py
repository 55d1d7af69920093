"""A video file becomes a `Clip`: frames, the second at which each is shown, and the duration.

Times come from the container's timestamps, never from frame number / average rate, so variable frame rates
are right. Frame choice follows the Qwen-VL convention: a constant number of frames a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import decord
import numpy as np
from PIL import Image

FRAMES_AT_A_TIME = 64


class VideoError(ValueError):
    """A video that cannot be used; the message names the file, the cause and the fix."""


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
) -> Clip:
    """Decode a video at `fps` frames a second.

    Args:
        start, end: crop, in seconds of the file; the whole file by default.
        max_pixels: budget for all frames together (T * H * W); frames are scaled down to meet it.
        min_frame_pixels: no frame is scaled below this (H * W), whatever the budget says.
        max_frames: at most so many frames, spread evenly; the effective fps falls accordingly.

    Raises VideoError if the file is missing, empty, truncated, not a video, or the crop is outside of it; for an fps of 0 or less.
    """
    path = Path(path)
    if fps <= 0:
        raise VideoError(f"{path}: fps is {fps:g}; ask for more than 0 frames a second")
    reader = _open(path)
    shown = _timestamps(reader, path)
    length = float(shown[-1, 1])
    first, last = 0.0 if start is None else float(start), length if end is None else min(float(end), length)
    if not 0 <= first < last:
        raise VideoError(f"{path}: the crop {start} to {end} s is not inside the video, which lasts {length:.2f} s")
    duration = last - first
    count = max(1, int(np.floor(duration * fps + 1e-6)))
    if max_frames is not None and count > max_frames:
        count, fps = max_frames, max_frames / duration
    wanted = first + np.arange(count) / fps
    # The frame on the screen at a time is the last one that began by then.
    indices = np.clip(np.searchsorted(shown[:, 0], wanted + 1e-6, side="right") - 1, 0, len(shown) - 1)
    if max_pixels is not None and min_frame_pixels is not None:
        max_pixels = max(max_pixels, count * min_frame_pixels)
    frames = _decode(reader, indices, path, _fit(reader[0].shape[:2], count, max_pixels))
    return Clip(frames, np.maximum(shown[indices, 0] - first, 0.0), duration, fps, str(path))


def _open(path: Path) -> decord.VideoReader:
    if not path.exists():
        raise VideoError(f"{path}: no such file; check the path, or the video folder that was given")
    if path.is_dir():
        raise VideoError(f"{path}: a folder, not a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[-1]
        raise VideoError(f"{path}: not a video that FFmpeg can read, or truncated ({cause})") from error
    if len(reader) == 0:
        raise VideoError(f"{path}: the file holds no video frames")
    return reader


def _timestamps(reader: decord.VideoReader, path: Path) -> np.ndarray:
    """(frames, 2): begin and end of each frame in seconds, the first frame at 0."""
    shown = np.asarray(reader.get_frame_timestamp(np.arange(len(reader))), np.float64)
    shown = shown - shown[0, 0]
    if not np.all(np.isfinite(shown)) or np.any(np.diff(shown[:, 0]) < 0):
        raise VideoError(f"{path}: frame timestamps are broken; re-encode it, e.g. ffmpeg -i IN -c:v libx264 OUT.mp4")
    return shown


def _fit(size: tuple[int, int], count: int, max_pixels: int | None) -> tuple[int, int] | None:
    """Height and width (even) that keep count * height * width within the budget, or None if they do already."""
    height, width = size
    if max_pixels is None or count * height * width <= max_pixels:
        return None
    scale = (max_pixels / (count * height * width)) ** 0.5
    return max(2, int(height * scale) // 2 * 2), max(2, int(width * scale) // 2 * 2)


def _decode(reader: decord.VideoReader, indices: np.ndarray, path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """Frames, scaled to a (height, width); a part at a time, so that only few are held at full size."""
    parts = []
    try:
        for begin in range(0, len(indices), FRAMES_AT_A_TIME):
            frames = reader.get_batch(indices[begin : begin + FRAMES_AT_A_TIME]).asnumpy()
            # decord can scale by itself, and fails at some widths (48 and 72 of a square video)
            parts.append(frames if size is None else np.stack([_scaled(frame, size) for frame in frames]))
        reader.seek(0)  # decord keeps decoded packets alive otherwise (dmlc/decord#208)
    except (decord.DECORDError, RuntimeError) as error:
        raise VideoError(f"{path}: decoding failed, the file seems damaged or truncated") from error
    return np.concatenate(parts)


def _scaled(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
