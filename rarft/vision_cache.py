"""Features of a frozen vision tower, each clip encoded once: kept in memory, and on disk where a folder is given.

A cache entry is keyed by the file's content, the crop, the sampling rate and the weights of the tower, so a changed video, setting or
model never meets stale features. Writers on several processes may meet: each writes beside, then renames.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import rarft._torchvision  # noqa: F401

import torch
from transformers import PreTrainedModel, ProcessorMixin

from rarft.inputs import VisionFeatures, encode_clips
from rarft.models import vision_modules
from rarft.video import read_video


class VisionCache:
    """`get` returns the features of videos, decoding and encoding only those that are new."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        fps: float = 2.0,
        max_pixels: int | None = None,
        folder: str | Path | None = None,
        batch_size: int = 32,
    ):
        """Raises ValueError if the vision tower is trainable: its features would go stale after a step."""
        if any(p.requires_grad for module in vision_modules(model) for p in module.parameters()):
            raise ValueError("the vision tower is trainable; freeze it first with rarft.models.freeze_vision(model)")
        self.model, self.processor, self.fps, self.max_pixels = model, processor, fps, max_pixels
        self.folder = Path(folder) if folder else None
        self.batch_size = batch_size
        self.encoded = 0  # clips that went through the tower, for benchmarks
        self._memory: dict[tuple, VisionFeatures] = {}
        self._tower = "".join(map(weights_digest, vision_modules(model))) if folder else ""

    def get(self, videos: list[dict]) -> list[VisionFeatures]:
        """Features of videos given as {"video": path, "start": seconds or None, "end": seconds or None}.

        The same video gives the same object. Raises rarft.video.VideoError for one that cannot be read.
        """
        keys = [(str(v["video"]), v.get("start"), v.get("end")) for v in videos]
        missing = [key for key in dict.fromkeys(keys) if key not in self._memory]
        for key in list(missing):
            stored = self._file(key)
            if stored and stored.exists():
                self._memory[key] = VisionFeatures(**torch.load(stored, weights_only=True))
                missing.remove(key)
        for begin in range(0, len(missing), self.batch_size):
            part = missing[begin : begin + self.batch_size]
            clips = [
                read_video(path, self.fps, start=start, end=end, max_pixels=self.max_pixels) for path, start, end in part
            ]
            for key, features in zip(part, encode_clips(self.model, self.processor, clips), strict=True):
                self._memory[key] = features
                self.encoded += 1
                self._store(key, features)
        return [self._memory[key] for key in keys]

    def _file(self, key: tuple) -> Path | None:
        if self.folder is None:
            return None
        content = hashlib.sha256(Path(key[0]).read_bytes()).hexdigest() if Path(key[0]).exists() else "missing"
        settings = repr((content, key[1:], self.fps, self.max_pixels, self._tower))
        return self.folder / f"{hashlib.sha256(settings.encode()).hexdigest()}.pt"

    def _store(self, key: tuple, features: VisionFeatures) -> None:
        target = self._file(key)
        if target is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.{os.getpid()}.part")
        torch.save(vars(features), beside)
        beside.replace(target)


def weights_digest(module: torch.nn.Module) -> str:
    """A short hash of all parameters of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
