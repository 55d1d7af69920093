"""A story becomes frames, and frames become an H.264 file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rarft.system.errors import InputError
from rarft.system.files import replacing
from rarft.world.scenes import COUNTS, Story
from rarft.world.weather import CALM, Weather, add_texture, apply_weather

SIZE = 64  # pixels, height and width
RGB = {
    "red": (230, 35, 35), "green": (30, 200, 50), "blue": (40, 70, 235),
    "yellow": (250, 230, 40), "purple": (165, 35, 200), "cyan": (30, 225, 235),
    "sand": (205, 180, 140), "snow": (240, 240, 245), "rock": (125, 125, 130), "moss": (105, 135, 95),
}  # fmt: skip
PART_RGB = (0, 0, 0)
RADIUS = {"bigger": 11.0, "smaller": 7.5}  # pixels
REACH = 15.0  # pixels from the middle of the lane to either end of a move
JITTER = 4.0  # pixels of a shake
DIRECTIONS = {"moves up": (0, -1), "moves down": (0, 1), "moves left": (-1, 0), "moves right": (1, 0)}  # x, y

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


def render(story: Story, weather: Weather = CALM) -> np.ndarray:
    """Draw a story as a camera sees it in some weather.

    Returns frames (T, H, W, 3) uint8, H = W = weather.size, frame i at second i / weather.fps, T = duration *
    weather.fps."""
    times = np.arange(story.duration * weather.fps) / weather.fps
    frames = np.zeros((len(times), SIZE, SIZE, 3), np.float32)
    for setting in story.settings:
        frames[(times >= setting.start) & (times < setting.end)] = RGB[setting.scene]
    frames = add_texture(frames, weather)
    for lane in range(len(story.actors)):
        _draw_actor(frames, times, story, lane)
    return apply_weather(np.rint(np.clip(frames, 0, 255)).astype(np.uint8), weather)


@dataclass(frozen=True)
class Trajectory:
    """Where one actor is at each of T times: centre x, y and radius in pixels, visible 0 or 1; each (T,)."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    visible: np.ndarray


def trajectory(story: Story, lane: int, times: np.ndarray) -> Trajectory:
    """The motion of actor `lane` at `times` (T,) in seconds."""
    actor = story.actors[lane]
    across = (16.0, 48.0)[lane]
    home = (across, 35.0) if story.layout == "side" else (32.0, across + 3.0)  # x, y: room for the parts above
    x, y = np.full(len(times), home[0]), np.full(len(times), home[1])
    radius = np.full(len(times), RADIUS[actor.size])
    visible = np.ones(len(times))
    for event in actor.events:
        now = (times >= event.start) & (times < event.end)
        t = times[now]
        progress = (t - event.start) / (event.end - event.start)
        first_half = (t * 2).astype(int) % 2 == 0  # of each second: what the 2 fps reader sees alternate
        slide = REACH * (2 * progress - 1)
        match event.action:
            case "grows":
                radius[now] *= 0.4 + 0.6 * progress
            case "shrinks":
                radius[now] *= 1.0 - 0.6 * progress
            case "blinks":
                visible[now] = first_half
            case "shakes":
                x[now] += np.where(first_half, JITTER, -JITTER)
            case action if action in DIRECTIONS:
                dx, dy = DIRECTIONS[action]
                x[now] += dx * slide
                y[now] += dy * slide
            case _:
                raise InputError(f"the renderer cannot draw the action {event.action!r}")
    return Trajectory(x, y, radius, visible)


def _draw_actor(frames: np.ndarray, times: np.ndarray, story: Story, lane: int) -> None:
    actor, path = story.actors[lane], trajectory(story, lane, times)
    half, full = slice(0, SIZE // 2) if lane == 0 else slice(SIZE // 2, SIZE), slice(0, SIZE)
    box = (full, half) if story.layout == "side" else (half, full)  # rows and columns of the lane
    frames = frames[:, box[0], box[1]]  # an actor never leaves its lane: half the pixels, half the time
    body = _body(actor.shape, path, box)
    _paint(frames, body * path.visible[:, None, None], RGB[actor.colour])
    number = COUNTS.index(actor.count) + 1
    for k in range(number):
        part_x = path.x + 7.0 * (k - (number - 1) / 2)
        _paint(frames, _part(actor.part, part_x, path.y - RADIUS[actor.size] - 4.0, box), PART_RGB)


def _paint(frames: np.ndarray, alpha: np.ndarray, rgb: tuple[int, int, int]) -> None:
    frames += alpha[..., None] * (np.array(rgb, np.float32) - frames)


def _coverage(distance: np.ndarray) -> np.ndarray:
    """Signed distance to an outline in pixels (negative inside) → share of the pixel covered, about."""
    return np.clip(0.5 - distance, 0.0, 1.0).astype(np.float32)


def _offsets(x: np.ndarray, y: np.ndarray, box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel of `box` from (x, y), per frame: two arrays (T, rows, columns)."""
    dx = _X[box][None] - x[:, None, None].astype(np.float32)
    return dx, _Y[box][None] - y[:, None, None].astype(np.float32)


def _box(dx: np.ndarray, dy: np.ndarray, half_width: np.ndarray | float, half_height: np.ndarray | float) -> np.ndarray:
    return np.maximum(np.abs(dx) - half_width, np.abs(dy) - half_height)


def _body(shape: str, path: Trajectory, box: tuple[slice, slice]) -> np.ndarray:
    """Coverage (T, rows, columns) of an actor's shape."""
    dx, dy = _offsets(path.x, path.y, box)
    r = path.radius[:, None, None].astype(np.float32)
    match shape:
        case "ring":
            distance = np.abs(np.hypot(dx, dy) - 0.74 * r) - 0.26 * r
        case "square":
            distance = _box(dx, dy, 0.88 * r, 0.88 * r)
        case "triangle":  # base at +0.8 r, tip at -r
            slope = np.float32(np.hypot(1.0, 1.8))
            distance = np.maximum((1.8 * np.abs(dx) - dy - r) / slope, dy - 0.8 * r)
        case "cross":
            distance = np.minimum(_box(dx, dy, r, 0.33 * r), _box(dx, dy, 0.33 * r, r))
        case _:
            raise InputError(f"the renderer cannot draw the shape {shape!r}")
    return _coverage(distance)


def _part(part: str, x: np.ndarray, y: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    dx, dy = _offsets(x, y, box)
    return _coverage(np.hypot(dx, dy) - 2.4 if part == "dot" else _box(dx, dy, 1.0, 3.5))


def write_video(frames: np.ndarray, path: str | Path, fps: int = CALM.fps, *, crf: int = CALM.crf) -> Path:
    """Encode frames (T, H, W, 3) uint8 as H.264 in mp4. Writes to a temporary file next to the target, then renames it.

    The same frames give the same bytes: one encoder thread, no dates in the header, and no code of x264 that depends on
    the processor (with AVX-512, noisy frames came out differently each time).
    """
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "crf": str(crf),
            "preset": "veryfast",
            "threads": "1",
            "g": str(2 * fps),
            "x264-params": "cpu-independent=1",
        }
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return Path(path)
