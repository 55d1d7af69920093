"""How a model is asked: how its videos are sampled, how its prompts are written, how long its answers may be.

Training saves these settings beside the model, and every command reads them from there, so that training, inference and
evaluation ask alike. Published checkpoints have theirs in `rarft.models.presets`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json

FILE, CONFIG = "rarft_settings.json", "config.json"


ON_BAD_VIDEO = ("stop", "skip")  # what to do about a video that cannot be read


@dataclass(frozen=True)
class Settings:
    """fps, max_pixels, min_frame_pixels, factor, max_seconds: see `rarft.video.reader.read_video`.

    style: of the prompts, see `rarft.prompts`; None keeps what the checkpoint's config.json names, else "instruct".
    max_new_tokens: of an answer.
    """

    fps: float = 2.0
    max_pixels: int | None = None
    min_frame_pixels: int | None = None
    factor: int | None = None
    max_seconds: float | None = None
    style: str | None = None
    max_new_tokens: int = 512

    @property
    def video(self) -> dict[str, Any]:
        """The options of `read_video` and `VisionCache`."""
        names = ("fps", "max_pixels", "min_frame_pixels", "factor", "max_seconds")
        return {name: getattr(self, name) for name in names}

    def changed(self, **changes: Any) -> Settings:
        """A copy with those changes that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def save_settings(folder: str | Path, settings: Settings) -> Path:
    """Write settings beside a model."""
    return write_json(Path(folder) / FILE, asdict(settings))


def read_settings(folder: str | Path) -> Settings | None:
    """The settings beside a model, or beside the run that a folder `checkpoint-…` belongs to; else those in its
    config.json, where `VideoModel.save` leaves a copy; None if there are none.

    Raises InputError that names the file and the field if one is unknown.
    """
    folder = Path(folder)
    places = (folder, folder.parent) if folder.name.startswith("checkpoint-") else (folder,)
    paths = [place / name for name in (FILE, CONFIG) for place in places]
    for path in (path for path in paths if path.exists()):
        values = read_json(path)
        if not isinstance(values, dict):
            raise InputError(f"{path}: a JSON object was expected, got {type(values).__name__}")
        if path.name == CONFIG:
            values = values.get("rarft_settings")
        if values is None:
            continue
        unknown = set(values) - {field.name for field in fields(Settings)}
        if unknown:
            raise InputError(f"{path}: unknown setting {', '.join(sorted(unknown))}")
        return Settings(**values)
    return None


def check_on_bad_video(chosen: str) -> None:
    """Raises InputError for a choice that is not in `ON_BAD_VIDEO`."""
    if chosen not in ON_BAD_VIDEO:
        raise InputError(f"on_bad_video is {chosen!r}; choose {' or '.join(ON_BAD_VIDEO)}")
