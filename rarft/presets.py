"""Published checkpoints by short names, each with the revision that it is loaded at and the paper's video budget.

    model, processor = load_model("qwen2.5-vl-7b", dtype="bfloat16", device="cuda")

Source of the budget: RA-RFT and Time-R1, 2 frames a second, at most 3584·28·28 pixels in all, at least 16·28·28 a frame. Qwen3-VL
has 32-pixel tokens; its budget is the same number of tokens.
"""

from __future__ import annotations

import inspect
import logging
import sys
from dataclasses import dataclass

import rarft._torchvision  # noqa: F401

from transformers import ProcessorMixin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preset:
    """A checkpoint on the hub, and how its videos are sampled.

    revision: a commit; None where none is known to us: then pin your own, weights under a name can change.
    fps, max_pixels, min_frame_pixels: see `rarft.video.read_video`.
    """

    name: str
    repository: str
    revision: str | None
    fps: float = 2.0
    max_pixels: int = 3584 * 28 * 28
    min_frame_pixels: int = 16 * 28 * 28

    @property
    def video(self) -> dict[str, float | int]:
        """The sampling options, as `read_video` and `VisionCache` take them."""
        return {"fps": self.fps, "max_pixels": self.max_pixels, "min_frame_pixels": self.min_frame_pixels}


_QWEN3 = {"max_pixels": 3584 * 32 * 32, "min_frame_pixels": 16 * 32 * 32}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("time-r1-7b", "Boshenxx/Time-R1-7B", None),
        Preset("videochat-r1-7b", "OpenGVLab/VideoChat-R1_7B", None),
        Preset("videochat-r1-think-7b", "OpenGVLab/VideoChat-R1-thinking_7B", None),
        Preset("qwen2.5-vl-3b", "Qwen/Qwen2.5-VL-3B-Instruct", "66285546d2b821cf421d4f5eb2576359d3770cd3"),
        Preset("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct", "cc594898137f460bfe9f0759e9844b3ce807cfb5"),
        Preset("qwen3-vl-4b", "Qwen/Qwen3-VL-4B-Instruct", "ebb281ec70b05090aa6165b016eac8ec08e71b17", **_QWEN3),
        Preset("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct", "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b", **_QWEN3),
    )
}


def revision_of(preset: Preset, revision: str | None = None) -> str | None:
    """The commit to load a preset at: the one asked for, or its own. Logs a warning if there is neither."""
    if not revision and not preset.revision:
        log.warning(
            "%s: no commit of %s is known here, and weights under a name can change: note the one that is loaded, and pass it as the revision",
            preset.name,
            preset.repository,
        )
    return revision or preset.revision


def apply_budget(preset: Preset, processor: ProcessorMixin) -> None:
    """Have a processor take frames as `read_video` scaled them to the preset's budget, but for rounding to whole tokens.

    As shipped, Qwen2.5-VL's enlarges every frame to 128 tokens at least, eight times the paper's minimum.
    """
    tool = processor.video_processor
    if hasattr(tool, "cap_pixels_per_frame"):
        tool.cap_pixels_per_frame = False  # the budget has been met already
    whole_video = "num_frames" in inspect.signature(sys.modules[type(tool).__module__].smart_resize).parameters
    tool.size = {
        "shortest_edge": preset.min_frame_pixels,
        "longest_edge": preset.max_pixels if whole_video else 768 * preset.min_frame_pixels // 16,
    }


def video_options(name: str) -> dict[str, float | int]:
    """How videos are sampled for a model: a preset's budget; 2 frames a second and no budget for any other name."""
    return PRESETS[name].video if name in PRESETS else {"fps": 2.0}
