"""Published checkpoints by short name, each with the revision to load and the settings it was trained with.

    video_model = VideoModel.load("qwen2.5-vl-7b")

Source of the budget: RA-RFT and Time-R1 use 2 frames per second, at most 3584·28·28 pixels in all and at least 16·28·28
per frame, counted as in their code (`rarft.video.reader.frame_size`). Qwen3-VL has 32-pixel tokens; its budget is the
same number of tokens."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from transformers import ProcessorMixin

from rarft.models.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preset:
    """A checkpoint on the hub (`repository`) under a short `name`, and the settings to prompt it with.

    revision: a commit; None if we do not know one. Pin your own then: the weights under a name can change.
    """

    name: str
    repository: str
    revision: str | None
    settings: Settings


def _settings(factor: int, style: str) -> Settings:
    token = factor * factor
    return Settings(max_pixels=3584 * token, min_frame_pixels=16 * token, factor=factor, style=style)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("time-r1-7b", "Boshenxx/Time-R1-7B", None, _settings(28, "time-r1")),
        Preset("videochat-r1-7b", "OpenGVLab/VideoChat-R1_7B", None, _settings(28, "videochat-r1")),
        Preset("videochat-r1-think-7b", "OpenGVLab/VideoChat-R1-thinking_7B", None, _settings(28, "videochat-r1")),
        Preset(
            "qwen2.5-vl-3b",
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "66285546d2b821cf421d4f5eb2576359d3770cd3",
            _settings(28, "instruct"),
        ),
        Preset(
            "qwen2.5-vl-7b",
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "cc594898137f460bfe9f0759e9844b3ce807cfb5",
            _settings(28, "instruct"),
        ),
        Preset(
            "qwen3-vl-4b",
            "Qwen/Qwen3-VL-4B-Instruct",
            "ebb281ec70b05090aa6165b016eac8ec08e71b17",
            _settings(32, "instruct"),
        ),
        Preset(
            "qwen3-vl-8b",
            "Qwen/Qwen3-VL-8B-Instruct",
            "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b",
            _settings(32, "instruct"),
        ),
    )
}


def preset_of(name: str) -> Preset | None:
    """The preset of a short name or a hub repository; None for any other name."""
    return next((preset for preset in PRESETS.values() if name in (preset.name, preset.repository)), None)


def revision_of(preset: Preset, revision: str | None = None) -> str | None:
    """The commit of a preset to load: the given revision, or the preset's own. Logs a warning if there is neither."""
    if not revision and not preset.revision:
        log.warning(
            "%s: no commit of %s is known here, and weights under a name can change: note the commit that is loaded, "
            "and pass it as the revision",
            preset.name,
            preset.repository,
        )
    return revision or preset.revision


def keep_frame_sizes(processor: ProcessorMixin, factor: int) -> None:
    """Make a processor keep the frame sizes of `read_video`: whole tokens of `factor` pixels, within the budget.

    By default, Qwen2.5-VL's processor enlarges every frame to at least 128 tokens, eight times the paper's minimum.
    """
    tool = processor.video_processor
    if hasattr(tool, "cap_pixels_per_frame"):
        tool.cap_pixels_per_frame = False
    tool.size = {"shortest_edge": factor * factor, "longest_edge": 2**40}
