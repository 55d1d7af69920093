"""Settings of a model: how its videos are sampled, how its prompts are written, how long its answers may be.

Training saves these settings next to the weights, and every command reads them from there, so training, inference and
evaluation prompt the model in the same way. Settings of published checkpoints are in `rarft.models.presets`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rarft.system.errors import InputError
from rarft.system.files import read_json, write_json

FILE, CONFIG = "rarft_settings.json", "config.json"


ON_BAD_VIDEO = ("stop", "skip")  # what to do with a video that cannot be read


@dataclass(frozen=True)
class Settings:
    """fps, max_pixels, min_frame_pixels, factor, max_seconds: see `rarft.video.reader.read_video`.

    style: prompt style, see `rarft.prompts`; None means the one in the checkpoint's config.json, else "instruct".
    max_new_tokens: the maximum length of an answer.
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
        """A copy with the given changes; a change of None is ignored."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def save_settings(folder: str | Path, settings: Settings) -> Path:
    """Write settings into a model's folder. Returns the path of the file."""
    return write_json(Path(folder) / FILE, asdict(settings))


def read_settings(folder: str | Path) -> Settings | None:
    """The settings in a model's folder, or in the parent folder of a `checkpoint-…`. Otherwise the copy in config.json,
    which `VideoModel.save` writes; None if there is none.

    Raises InputError, which names the file and the field, for an unknown field.
    """
    folder = Path(folder)
    places = (folder, folder.parent) if folder.name.startswith("checkpoint-") else (folder,)
    paths = [place / name for name in (FILE, CONFIG) for place in places]
    for path in (path for path in paths if path.exists()):
        values = read_json(path)
        if not isinstance(values, dict):
            raise InputError(f"{path}: expected a JSON object, got {type(values).__name__}")
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
    """Raises InputError unless the choice is in `ON_BAD_VIDEO`."""
    if chosen not in ON_BAD_VIDEO:
        raise InputError(f"on_bad_video is {chosen!r}; choose {' or '.join(ON_BAD_VIDEO)}")
