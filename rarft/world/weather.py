"""Weather: how videos differ whatever happens in them: light, lens, sensor, camera, codec, frame rate, size.

It is drawn for each clip from its own generator, independently of story and query, and both queries of a clip have the
same: it can tell nothing about what is relevant. A model that has only seen one weather learns pixels; a shift of a few
of them then reads as another story.

calm: none. rough: what training shows. storm: rough, with three nuisances beyond what training shows; for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from rarft.system.errors import InputError

# Multiples of 2 only: at 5 frames a second, a reader at 2 frames a second never meets the dark half of a blink.
FRAME_RATES = (4, 6, 8)
SIZES = (64, 80, 96)


@dataclass(frozen=True)
class Weather:
    """The nuisances of one clip; the defaults change nothing. Brightness, noise and texture count in 255ths."""

    brightness: float = 0.0  # added to every channel
    contrast: float = 1.0  # factor about the middle grey
    gamma: float = 1.0  # exponent
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factors of red, green and blue
    noise: float = 0.0  # standard deviation of each frame's sensor noise
    blur: float = 0.0  # standard deviation in pixels of a 64-pixel frame
    shift: tuple[float, float] = (0.0, 0.0)  # of the camera, pixels to the right and down
    pan: tuple[float, float] = (0.0, 0.0)  # pixels to the right and down from the first to the last frame
    zoom: float = 1.0  # factor that the last frame ends at, from 1
    texture: float = 0.0  # standard deviation of the background's texture
    crf: int = 18  # H.264 quality, 18 good, 40 poor
    fps: int = 4  # frames a second of the file
    size: int = 64  # pixels, height and width
    seed: int = 0  # of noise and texture


CALM = Weather()
# The most that a nuisance differs from CALM: in training, and in a storm. Factors differ by their logarithm.
_ROUGH: dict[str, float] = {
    "brightness": 40.0,
    "contrast": 0.3,
    "gamma": 0.25,
    "cast": 0.12,
    "noise": 18.0,
    "blur": 0.7,
    "shift": 4.0,
    "pan": 4.0,
    "zoom": 0.08,
    "texture": 14.0,
    "crf": 14.0,
}
NUISANCES = (*_ROUGH, "size", "fps")
_STORM = {**{name: 2.0 * most for name, most in _ROUGH.items()}, "crf": 22.0, "blur": 1.2}
_FACTORS = ("contrast", "gamma", "zoom", "cast")
_ONE_SIDED = ("noise", "blur", "texture", "crf")
_COUNT = {"cast": 3, "shift": 2, "pan": 2}  # numbers of a nuisance that has more than one
WEATHERS = ("calm", "rough", "storm")


def draw_weather(name: str, rng: np.random.Generator) -> Weather:
    """The weather of one clip. Raises InputError for an unknown name."""
    if name not in WEATHERS:
        raise InputError(f"unknown weather {name!r}; choose one of {', '.join(WEATHERS)}")
    if name == "calm":
        return CALM
    rough = Weather(
        **{nuisance: _draw(nuisance, 0.0, most, rng) for nuisance, most in _ROUGH.items()},
        fps=int(rng.choice(FRAME_RATES)),
        size=int(rng.choice(SIZES)),
        seed=int(rng.integers(2**31)),
    )
    if name == "rough":
        return rough
    worst = [str(nuisance) for nuisance in rng.choice(list(_ROUGH), 3, replace=False)]
    return replace(rough, **{nuisance: _draw(nuisance, _ROUGH[nuisance], _STORM[nuisance], rng) for nuisance in worst})


def edge_weather(nuisance: str, index: int) -> Weather:
    """Calm weather but for one nuisance, as far from calm as `rough` goes; to the other side for every second index."""
    if nuisance in ("size", "fps"):
        values: Sequence[Any] = SIZES[1:] if nuisance == "size" else FRAME_RATES[1:]
        return replace(CALM, **{nuisance: values[index % len(values)]}, seed=index)
    sign = 1.0 if index % 2 == 0 or nuisance in _ONE_SIDED else -1.0
    direction = [1.0, -1.0, 0.0] if nuisance == "cast" else [1.0] * _COUNT.get(nuisance, 1)
    return replace(CALM, **{nuisance: _value(nuisance, sign * _ROUGH[nuisance] * np.array(direction))}, seed=index)


def _draw(nuisance: str, least: float, most: float, rng: np.random.Generator) -> Any:
    """A value of a nuisance whose distance from CALM is uniform in [least, most]."""
    distance = rng.uniform(least, most, _COUNT.get(nuisance, 1))
    if nuisance not in _ONE_SIDED:
        distance = distance * rng.choice((-1.0, 1.0), len(distance))
    return _value(nuisance, distance)


def _value(nuisance: str, distance: np.ndarray) -> Any:
    """The value of a nuisance at some distance from CALM: (n,) numbers, of which most nuisances have one."""
    if nuisance == "crf":
        return CALM.crf + round(float(distance[0]))
    values = np.exp(distance) if nuisance in _FACTORS else distance
    return tuple(values.tolist()) if nuisance in _COUNT else float(values[0])


def add_texture(background: np.ndarray, weather: Weather) -> np.ndarray:
    """The same smooth random pattern on every frame of a background (T, H, W, 3) float32, below whatever is drawn on
    it."""
    if not weather.texture:
        return background
    rng = np.random.default_rng([weather.seed, 0])
    coarse = rng.normal(size=(10, 10)).astype(np.float32)
    pattern = np.asarray(Image.fromarray(coarse).resize(background.shape[2:0:-1], Image.Resampling.BICUBIC))
    return background + weather.texture * (pattern / pattern.std())[None, :, :, None]


def apply_weather(frames: np.ndarray, weather: Weather) -> np.ndarray:
    """What a camera in this weather makes of frames (T, H, W, 3) uint8: (T, size, size, 3) uint8."""
    if replace(weather, texture=0.0, crf=CALM.crf, fps=CALM.fps, seed=CALM.seed) == CALM:  # nothing for the camera
        return frames
    lit = _light(_camera(frames, weather), weather)
    rng = np.random.default_rng([weather.seed, 1])
    noisy = lit + weather.noise * rng.standard_normal(lit.shape, np.float32) if weather.noise else lit
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def _light(frames: np.ndarray, weather: Weather) -> np.ndarray:
    """Colour cast, gamma, contrast and brightness of frames (T, H, W, 3) uint8, by a table of 256 values: float32."""
    values = np.arange(256, dtype=np.float32)[:, None] / 255
    table = np.clip(values * np.array(weather.cast, np.float32), 0, 1) ** weather.gamma
    table = 255 * ((table - 0.5) * weather.contrast + 0.5) + weather.brightness
    return np.stack([table[frames[..., channel], channel] for channel in range(3)], axis=-1)


def _camera(frames: np.ndarray, weather: Weather) -> np.ndarray:
    """Shift, pan, zoom, blur and the sensor's size; beyond the edge, the edge goes on."""
    count, height, width = frames.shape[:3]
    margin = height // 2
    progress = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    out = []
    for frame, part in zip(frames, progress, strict=True):
        wide = Image.fromarray(np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), mode="edge"))
        scale = weather.zoom**part
        dx, dy = (s + part * p for s, p in zip(weather.shift, weather.pan, strict=True))
        left = margin + width / 2 - width / (2 * scale) - dx
        top = margin + height / 2 - height / (2 * scale) - dy
        box = (left, top, left + width / scale, top + height / scale)
        seen = wide.resize((weather.size, weather.size), Image.Resampling.BICUBIC, box=box)
        if weather.blur:
            seen = seen.filter(ImageFilter.GaussianBlur(weather.blur * weather.size / height))
        out.append(np.asarray(seen))
    return np.stack(out)
