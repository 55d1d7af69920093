"""A cache for the features of a frozen vision tower, in memory and, if a folder is given, on disk.

The key of an entry on disk is the file's content, the crop, the sampling settings, the decoding library and the weights
of the tower, so a changed video, setting or model never gets stale features. Several processes may write the same
entry: each writes its own temporary file and renames it."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rarft.models.families import encode_clips, vision_modules
from rarft.models.features import VisionFeatures
from rarft.models.settings import check_on_bad_video
from rarft.models.workers import processes_of, run_parts, shares
from rarft.schema import Crop, Group
from rarft.system.errors import InputError, VideoError
from rarft.system.files import replacing
from rarft.system.progress import progress
from rarft.video import Clip, read_video
from rarft.video.readers import PYAV

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

log = logging.getLogger(__name__)


class VisionCache:
    """`get` returns the features of videos; only new videos are decoded and encoded. `encoded` counts these."""

    def __init__(
        self,
        video_model: VideoModel,
        *,
        folder: str | Path | None = None,
        in_memory: int | None = None,
        batch_size: int = 32,
        reader: Callable[..., Clip] = read_video,
    ):
        """Raises InputError if the vision tower is trainable: its features would go stale after a step.

        Args:
            folder: keeps features between runs; all processes may share it.
            in_memory: the number of clips kept in memory; the least recently used is dropped first. All by default.
                Without a folder, a dropped clip has to be encoded again.
            batch_size: clips that go through the tower at a time.
            reader: `read_video`, or a `rarft.video.GuardedReader` for files that may hang a decoder.
        """
        if any(p.requires_grad for module in vision_modules(video_model.model) for p in module.parameters()):
            raise InputError("the vision tower is trainable; freeze it first with rarft.models.freeze_vision(model)")
        self.video_model, self.reader = video_model, reader
        if folder and reader is not read_video and not hasattr(reader, "library"):
            raise InputError(
                "features on disk need read_video or a GuardedReader: another reader may change the frames"
            )
        self.video = video_model.settings.video
        self.folder = Path(folder) if folder else None
        self.in_memory, self.batch_size = in_memory, batch_size
        self.encoded = 0
        self._memory: OrderedDict[Crop, VisionFeatures] = OrderedDict()
        self._tower = "".join(map(weights_digest, vision_modules(video_model.model))) if folder else ""

    def get(self, crops: Sequence[Crop]) -> list[VisionFeatures]:
        """Features of videos, or of parts of them. Equal crops in one call share one object.

        Raises VideoError for a video that cannot be read.
        """
        ready: dict[Crop, VisionFeatures] = {}
        missing = []
        for crop in dict.fromkeys(crops):
            kept = self._kept(crop)
            if kept is None:
                missing.append(crop)
            else:
                ready[crop] = kept
        for crop, features in self._encoded(missing):
            if isinstance(features, VideoError):
                raise features
            ready[crop] = features
        return [ready[crop] for crop in crops]

    def fill(self, crops: Sequence[Crop]) -> dict[Crop, VideoError]:
        """Encode videos ahead of time. Returns the errors of those that cannot be read."""
        missing = [crop for crop in dict.fromkeys(crops) if crop not in self._memory and not self._is_stored(crop)]
        errors = {}
        encoded = self._encoded(missing)
        for crop, features in (
            progress(encoded, total=len(missing), desc="videos", leave=False) if len(missing) > 1 else encoded
        ):
            if isinstance(features, VideoError):
                errors[crop] = features
        return errors

    def forget(self) -> None:
        """Drop the features in memory; files in the folder stay."""
        self._memory.clear()

    def _encoded(self, crops: list[Crop]) -> Iterator[tuple[Crop, VisionFeatures | VideoError]]:
        """Decode and encode videos, and keep their features."""
        for crop, found in self._in_parts(crops) if self._can_share(crops) else self._ahead(crops):
            if not isinstance(found, VideoError):
                self.encoded += 1
                self._store(crop, found)
                self._remember(crop, found)
            yield crop, found

    def _can_share(self, crops: list[Crop]) -> bool:
        """Whether helpers read and encode a part of these videos."""
        reader = self.reader
        can_share = reader is read_video or hasattr(reader, "library") or getattr(reader, "can_share", False)
        return can_share and len(shares(self.video_model, [1] * len(crops))) > 1

    def _in_parts(self, crops: list[Crop]) -> Iterator[tuple[Crop, VisionFeatures | VideoError]]:
        size = 2 * self.batch_size * processes_of(self.video_model)
        for begin in range(0, len(crops), size):
            some = crops[begin : begin + size]
            parts = [[some[i] for i in part] for part in shares(self.video_model, [1] * len(some))]
            given = [(part, self.reader, self.video, self.batch_size) for part in parts]
            for part, found in zip(parts, run_parts(self.video_model, read_and_encode, given), strict=True):
                yield from zip(part, found, strict=True)

    def _ahead(self, crops: list[Crop]) -> Iterator[tuple[Crop, VisionFeatures | VideoError]]:
        yield from zip(crops, encoded(self.video_model, crops, self.reader, self.video, self.batch_size), strict=True)

    def _is_stored(self, crop: Crop) -> bool:
        stored = self._file(crop)
        return stored is not None and stored.exists()

    def _kept(self, crop: Crop) -> VisionFeatures | None:
        if crop in self._memory:
            self._memory.move_to_end(crop)
            return self._memory[crop]
        stored = self._file(crop)
        if stored is None or not stored.exists():
            return None
        features = VisionFeatures(**torch.load(stored, weights_only=True))
        self._remember(crop, features)
        return features

    def _remember(self, crop: Crop, features: VisionFeatures) -> None:
        self._memory[crop] = features
        while self.in_memory is not None and len(self._memory) > self.in_memory:
            self._memory.popitem(last=False)

    def _file(self, crop: Crop) -> Path | None:
        if self.folder is None:
            return None
        try:
            content = hashlib.sha256(Path(crop.video).read_bytes()).hexdigest()
        except (OSError, ValueError):  # the reader will raise the error
            content = "missing"
        library = getattr(self.reader, "library", PYAV)
        settings = repr((content, crop[1:], self.video, library, self._tower))
        return self.folder / f"{hashlib.sha256(settings.encode()).hexdigest()}.pt"

    def _store(self, crop: Crop, features: VisionFeatures) -> None:
        target = self._file(crop)
        if target is not None:
            with replacing(target) as temporary:
                torch.save(vars(features), temporary)


def encoded(
    video_model: VideoModel,
    crops: Sequence[Crop],
    reader: Callable[..., Clip],
    video: Mapping[str, Any],
    batch_size: int,
) -> Iterator[VisionFeatures | VideoError]:
    """The features of each video, or the error of one that cannot be read. The next batch is decoded while the tower
    encodes the current one. video: the settings of the reader."""

    def read(crop: Crop) -> Clip | VideoError:
        try:
            return reader(crop.video, start=crop.start, end=crop.end, **video)
        except VideoError as error:
            return error

    batches = [crops[begin : begin + batch_size] for begin in range(0, len(crops), batch_size)]
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(lambda some: list(map(read, some)), batch) for batch in batches[:1]]
        for number in range(len(batches)):
            clips = ahead.pop().result()
            following = batches[number + 1 : number + 2]
            ahead = [pool.submit(lambda some: list(map(read, some)), batch) for batch in following]
            good = [clip for clip in clips if isinstance(clip, Clip)]
            features = iter(encode_clips(video_model, good) if good else [])
            yield from (own_memory(next(features)) if isinstance(clip, Clip) else clip for clip in clips)


def read_and_encode(video_model: VideoModel, *arguments: Any) -> list[VisionFeatures | VideoError]:
    """`encoded`, as a list."""
    return list(encoded(video_model, *arguments))


def own_memory(features: VisionFeatures) -> VisionFeatures:
    """A copy that shares no memory with the other clips of its batch. A slice keeps its whole tensor in memory, and
    `torch.save` writes all of it."""
    deepstack = tuple(layer.clone() for layer in features.deepstack)
    extras = {name: value.clone() for name, value in features.extras.items()}
    return replace(features, embeds=features.embeds.clone(), deepstack=deepstack, extras=extras)


def readable_groups(
    groups: Sequence[Group],
    cache: VisionCache,
    *,
    on_bad_video: str = "stop",
    rank: int = 0,
    world_size: int = 1,
) -> list[Group]:
    """Encode every video before training begins, and keep the groups whose video can be read.

    A broken file is then found at the start and not hours into a run, and training decodes no videos.

    Args:
        on_bad_video: "stop" raises the VideoError; "skip" logs it with the file's name, leaves the group out, and
            logs how many were left out.
        rank, world_size: of this process; each process encodes its part of the videos into the shared folder. The
            parts must be joined afterwards, see `rarft.training.recipe.everywhere_readable`.

    Raises InputError for any other `on_bad_video`, or if no group of this rank is left.
    """
    check_on_bad_video(on_bad_video)
    mine = list(groups)[rank::world_size]
    errors = cache.fill([group.crop for group in mine])
    for error in errors.values():
        if on_bad_video == "stop":
            raise error
        log.warning("left out: %s", error)
    kept = [group for group in mine if group.crop not in errors]
    if errors:
        log.warning("%d of %d groups were left out: their videos cannot be read", len(mine) - len(kept), len(mine))
    if mine and not kept:
        raise InputError(f"none of {len(mine)} videos can be read, {mine[0].video} among them")
    return kept


def weights_digest(module: torch.nn.Module) -> str:
    """A short hash of all parameters of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
