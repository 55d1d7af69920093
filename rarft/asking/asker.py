"""Askers of models on this machine (`LocalAsker`) or behind a server (`rarft.asking.server`).

An asker takes any number of queries at once, batches them itself, and yields the answers in order.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch

from rarft.asking.answer import Answer
from rarft.models import VideoModel
from rarft.models.load import settings_of
from rarft.models.settings import Settings
from rarft.models.workers import processes_of
from rarft.schema import Crop
from rarft.video import Clip, read_video
from rarft.video.readers import PYAV

Change = Callable[[Clip], Clip]


class Asker(Protocol):
    """Answers queries about videos.

    about: which model answers, and how: `model`, the fields of `rarft.models.settings.Settings`, and `reader`.
    """

    about: Mapping[str, Any]

    def ask(self, crops: Sequence[Crop], queries: Sequence[str]) -> Generator[Answer, None, None]:
        """Yield one answer for each query about its video, in order. A video that cannot be read gives an answer with
        an error."""
        ...

    def with_change(self, change: Change) -> Asker:
        """The same asker, but each video is changed after it is read."""
        ...


class ChangingReader:
    """A reader of videos that applies a change to each clip."""

    def __init__(self, reader: Callable[..., Clip], change: Change):
        self.reader, self.change = reader, change

    def __call__(self, path: str | Path, **options: Any) -> Clip:
        """See `rarft.video.read_video`."""
        return self.change(self.reader(path, **options))

    @property
    def can_share(self) -> bool:
        """Whether a helper process can read and change videos in the same way. It must be able to import the change."""
        function = getattr(self.change, "func", self.change)  # a partial wraps its function
        inner = self.reader is read_video or hasattr(self.reader, "library")
        return inner and getattr(function, "__module__", "__main__") != "__main__" and is_picklable(self.change)


class LocalAsker:
    """A model on this machine with greedy decoding, in one or several processes (`VideoModel.processes`).

    Args:
        video_model: the model. Its cache of features limits how many videos stay in memory.
        about: see `Asker`; by default, the name and the settings of the model.
        batch_size: the most queries that go through the model of one process together.
        scored: whether answers have a refusal score.
    """

    def __init__(
        self,
        video_model: VideoModel,
        *,
        about: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        scored: bool = True,
    ):
        self.video_model, self.batch_size, self.scored = video_model, batch_size, scored
        self.about = about or about_model(video_model.name, video_model.settings, video_model.cache.reader)

    def ask(self, crops: Sequence[Crop], queries: Sequence[str]) -> Generator[Answer, None, None]:
        """See `Asker`. Each video of a batch is read once."""
        # Two batches for each process: sorting them gives batches with videos of similar lengths.
        size, in_memory = 2 * self.batch_size * processes_of(self.video_model), self.video_model.cache.in_memory
        size = size if in_memory is None else max(self.batch_size, min(size, in_memory))
        for begin in range(0, len(crops), size):
            part = slice(begin, begin + size)
            yield from self._batch(crops[part], queries[part])

    def _batch(self, crops: Sequence[Crop], queries: Sequence[str]) -> Iterator[Answer]:
        video_model = self.video_model
        errors = video_model.cache.fill(crops)
        good = [i for i, crop in enumerate(crops) if crop not in errors]
        features, asked = video_model.features([crops[i] for i in good]), [queries[i] for i in good]
        texts, scores = [], np.empty(0)
        if good:
            texts, scores = video_model.answer(features, asked, batch_size=self.batch_size, scored=self.scored)
        answers = iter(zip(texts, scores, strict=True))
        for crop, query in zip(crops, queries, strict=True):
            if crop in errors:
                yield Answer(error=str(errors[crop]))
                continue
            text, score = next(answers)
            note = video_model.note_of_unknown_words(query)
            yield Answer(text, None if np.isnan(score) else float(score), note=note)

    def with_change(self, change: Change) -> Self:
        """See `Asker`. Features of changed videos are not kept on disk."""
        other, cache = copy.copy(self), self.video_model.cache
        other.video_model = self.video_model.with_cache(
            reader=ChangingReader(cache.reader, change), in_memory=cache.in_memory, batch_size=cache.batch_size
        )
        return other


def load_asker(
    name: str,
    reader: Callable[..., Clip],
    *,
    batch_size: int = 64,
    scored: bool = True,
    features: Path | None = None,
    in_memory: int = 256,
    processes: int | None = None,
    device: str = "auto",
    **options: Any,
) -> LocalAsker:
    """Load a model into an asker.

    Args:
        features: a folder for encoded videos, to be reused by evaluations or trainings with the same vision tower.
        in_memory: how many encoded videos are kept in memory; at least two batches for each process. Queries about one
            video are usually adjacent.
        processes: how many processes share the work. If the device is "auto", they are distributed over the GPUs. By
            default `rarft.system.cores.plan_for` chooses the number.
        options: see `VideoModel.load`.
    """
    video_model = VideoModel.load(name, device=device, **options)
    video_model.processes = processes
    if video_model.model.device.type != "cpu":
        video_model.load_copy = lambda number: partial(
            VideoModel.load, name, device=device_of(number, device), **options
        )
    video_model = video_model.with_cache(
        folder=features,
        in_memory=max(in_memory, 2 * batch_size * processes_of(video_model)),
        batch_size=min(32, batch_size),
        reader=reader,
    )
    about = about_model(name, settings_to_ask(name, options.get("changes")), reader)
    return LocalAsker(video_model, about=about, batch_size=batch_size, scored=scored)


def is_picklable(value: Any) -> bool:
    """Whether a value can be sent to another process."""
    try:
        pickle.dumps(value)
    except Exception:  # pickling raises errors of many kinds
        return False
    return True


def device_of(number: int, device: str = "auto") -> str:
    """The device of a process: "auto" distributes the processes over the GPUs."""
    gpus = torch.cuda.device_count()
    return f"cuda:{number % gpus}" if gpus and device == "auto" else device


def settings_to_ask(name: str, changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings saved with a model, or the defaults, with changes applied; the model is not loaded."""
    return (settings_of(name) or Settings()).changed(**(changes or {}))


def about_model(name: str, settings: Settings, reader: Callable[..., Clip] = read_video) -> Mapping[str, Any]:
    """The value of `Asker.about` for a model."""
    return {"model": name, **asdict(settings), "reader": getattr(reader, "library", PYAV)}
