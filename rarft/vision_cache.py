"""Features of a frozen vision tower, each clip encoded once: kept in memory, and on disk where a folder is given.

A cache entry is keyed by the file's content, the crop, the sampling rate and the weights of the tower, so a changed video, setting or
model never meets stale features. Writers on several processes may meet: each writes beside, then renames.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import rarft._torchvision  # noqa: F401

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from rarft.inputs import VisionFeatures, encode_clips
from rarft.models import vision_modules
from rarft.schema import Sample
from rarft.video import Clip, VideoError, read_video

log = logging.getLogger(__name__)
Key = tuple[str, float | None, float | None]  # path, start, end


class VisionCache:
    """`get` returns the features of videos, decoding and encoding only those that are new."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        fps: float = 2.0,
        max_pixels: int | None = None,
        min_frame_pixels: int | None = None,
        factor: int | None = None,
        folder: str | Path | None = None,
        in_memory: int | None = None,
        batch_size: int = 32,
        reader: Callable[..., Clip] = read_video,
    ):
        """Raises ValueError if the vision tower is trainable: its features would go stale after a step.

        Args:
            fps, max_pixels, min_frame_pixels, factor: see `rarft.video.read_video`.
            folder: where features are kept between runs; shared by all processes.
            in_memory: clips kept in memory, the least recently used go first; all by default. Needs a folder.
            reader: `read_video`, or `rarft.watchdog.GuardedReader()` for files that may hang a decoder.
        """
        if any(p.requires_grad for module in vision_modules(model) for p in module.parameters()):
            raise ValueError("the vision tower is trainable; freeze it first with rarft.models.freeze_vision(model)")
        if in_memory is not None and folder is None:
            raise ValueError("in_memory needs a folder: features that leave the memory would be lost")
        self.model, self.processor, self.reader = model, processor, reader
        self.options = {"fps": fps, "max_pixels": max_pixels, "min_frame_pixels": min_frame_pixels, "factor": factor}
        self.folder = Path(folder) if folder else None
        self.in_memory, self.batch_size = in_memory, batch_size
        self.encoded = 0  # clips that went through the tower, for benchmarks
        self._memory: OrderedDict[Key, VisionFeatures] = OrderedDict()
        self._tower = "".join(map(weights_digest, vision_modules(model))) if folder else ""

    def get(self, videos: list[dict]) -> list[VisionFeatures]:
        """Features of videos given as {"video": path, "start": seconds or None, "end": seconds or None}.

        The same video gives the same object. Raises rarft.video.VideoError for one that cannot be read.
        """
        keys = [(str(v["video"]), v.get("start"), v.get("end")) for v in videos]
        found: dict[Key, VisionFeatures] = {}
        missing = []
        for key in dict.fromkeys(keys):
            kept = self._kept(key)
            if kept is None:
                missing.append(key)
            else:
                found[key] = kept
        for key, features in self._encoded(missing):
            if isinstance(features, VideoError):
                raise features
            found[key] = features
        return [found[key] for key in keys]

    def fill(self, videos: list[dict]) -> dict[Key, VideoError]:
        """Encode videos, given as to `get`, ahead of their use. Returns the errors of those that cannot be read."""
        keys = dict.fromkeys((str(v["video"]), v.get("start"), v.get("end")) for v in videos)
        missing = [key for key in keys if key not in self._memory and not self._is_stored(key)]
        errors = {}
        for key, features in tqdm(self._encoded(missing), total=len(missing), desc="videos", disable=len(missing) < 2):
            if isinstance(features, VideoError):
                errors[key] = features
        return errors

    def forget(self) -> None:
        """Let go of what is kept in memory; a folder keeps its files."""
        self._memory.clear()

    def _encoded(self, keys: list[Key]) -> Iterator[tuple[Key, VisionFeatures | VideoError]]:
        """Decode, encode and keep; while the tower works on one batch, the next is being decoded."""
        parts = [keys[i : i + self.batch_size] for i in range(0, len(keys), self.batch_size)]
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._decode, part) for part in parts[:1]]
            for number, part in enumerate(parts):
                clips = ahead.pop().result()
                ahead = [pool.submit(self._decode, later) for later in parts[number + 1 : number + 2]]
                good = [(key, clip) for key, clip in zip(part, clips, strict=True) if isinstance(clip, Clip)]
                yield from ((key, clip) for key, clip in zip(part, clips, strict=True) if not isinstance(clip, Clip))
                features = encode_clips(self.model, self.processor, [clip for _, clip in good]) if good else []
                for (key, _), feature in zip(good, features, strict=True):
                    self.encoded += 1
                    self._store(key, feature)
                    self._remember(key, feature)
                    yield key, feature

    def _decode(self, keys: list[Key]) -> list[Clip | VideoError]:
        def one(path: str, start: float | None, end: float | None) -> Clip | VideoError:
            try:
                return self.reader(path, start=start, end=end, **self.options)
            except VideoError as error:
                return error

        return [one(*key) for key in keys]

    def _is_stored(self, key: Key) -> bool:
        stored = self._file(key)
        return stored is not None and stored.exists()

    def _kept(self, key: Key) -> VisionFeatures | None:
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        stored = self._file(key)
        if stored is None or not stored.exists():
            return None
        features = VisionFeatures(**torch.load(stored, weights_only=True))
        self._remember(key, features)
        return features

    def _remember(self, key: Key, features: VisionFeatures) -> None:
        self._memory[key] = features
        while self.in_memory is not None and len(self._memory) > self.in_memory:
            self._memory.popitem(last=False)

    def _file(self, key: Key) -> Path | None:
        if self.folder is None:
            return None
        content = hashlib.sha256(Path(key[0]).read_bytes()).hexdigest() if Path(key[0]).exists() else "missing"
        settings = repr((content, key[1:], self.options, self._tower))
        return self.folder / f"{hashlib.sha256(settings.encode()).hexdigest()}.pt"

    def _store(self, key: Key, features: VisionFeatures) -> None:
        target = self._file(key)
        if target is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.{os.getpid()}.part")
        torch.save(vars(features), beside)
        beside.replace(target)


def readable_groups(
    groups: Sequence[Sequence[Sample]], cache: VisionCache, *, on_bad_video: str = "stop", share: tuple[int, int] = (0, 1)
) -> list[Sequence[Sample]]:
    """Encode every video before training begins, and keep the groups whose video can be read.

    A broken file is so met at once, never in the middle of a night; afterwards no video is decoded any more.

    Args:
        groups: samples that share a video.
        on_bad_video: "stop" raises the VideoError; "skip" logs it with the file's name, leaves the group out, and
            logs how many were left out.
        share: (this process, processes): each encodes its part of the videos, into the folder that all share.
            Every process has to be told the same groups afterwards: see `rarft.recipe`.

    Raises ValueError for another `on_bad_video`, or if no group of the share is left.
    """
    if on_bad_video not in ("stop", "skip"):
        raise ValueError(f"on_bad_video is {on_bad_video!r}; choose stop or skip")
    mine = list(groups)[share[0] :: share[1]]
    videos = [{"video": group[0].video, "start": group[0].start, "end": group[0].end} for group in mine]
    errors = cache.fill(videos)
    for error in errors.values():
        if on_bad_video == "stop":
            raise error
        log.warning("left out: %s", error)
    kept = [g for g, v in zip(mine, videos, strict=True) if (v["video"], v["start"], v["end"]) not in errors]
    if errors:
        log.warning("%d of %d groups were left out: their videos cannot be read", len(mine) - len(kept), len(mine))
    if mine and not kept:
        raise ValueError(f"none of {len(mine)} videos can be read, {mine[0][0].video} among them")
    return kept


def weights_digest(module: torch.nn.Module) -> str:
    """A short hash of all parameters of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
