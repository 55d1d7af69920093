"""Askers of models in this process (`LocalAsker`), in several, or behind a server (`rarft.asking.server`).

An asker takes any number of queries at once, batches them itself, and yields the answers in order.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
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
from rarft.schema import Crop
from rarft.system.processes import worker_pool
from rarft.video import Clip, GuardedReader, read_video
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


class LocalAsker:
    """A model in this process, decoded greedily.

    Args:
        video_model: the model. Its cache of features limits how many videos stay in memory.
        about: see `Asker`; by default, the name and the settings of the model.
        batch_size: queries that go through the model together.
        scored: whether answers have a refusal score, which takes one more forward pass.
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
        for begin in range(0, len(crops), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            yield from self._batch(crops[part], queries[part])

    def _batch(self, crops: Sequence[Crop], queries: Sequence[str]) -> Iterator[Answer]:
        video_model = self.video_model
        errors = video_model.cache.fill(crops)
        good = [i for i, crop in enumerate(crops) if crop not in errors]
        features, asked = video_model.features([crops[i] for i in good]), [queries[i] for i in good]
        texts = video_model.generate(features, asked) if good else []
        scores = video_model.refusal_scores(features, asked, texts) if self.scored else np.full(len(texts), np.nan)
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


class WorkersAsker:
    """A copy of a model in each of several processes, distributed over the GPUs.

    Args:
        name: of the model, see `VideoModel.load`.
        processes: the number of processes.
        reader: the library that decodes; each process has its own `GuardedReader`.
        batch_size: queries that a process gets at a time.
        device: of all processes; "auto" distributes them over the GPUs.
        loading: the other arguments of `load_asker`.
    """

    def __init__(
        self,
        name: str,
        processes: int,
        reader: str = PYAV,
        *,
        batch_size: int = 64,
        device: str = "auto",
        **loading: Any,
    ):
        self.processes, self.batch_size, self.device = processes, batch_size, device
        self.about = {**about_model(name, settings_to_ask(name, loading.get("changes"))), "reader": reader}
        self._load = partial(_load_here, name, reader, batch_size=batch_size, **loading)

    def ask(self, crops: Sequence[Crop], queries: Sequence[str]) -> Generator[Answer, None, None]:
        """See `Asker`. The processes start with the first answer and end after the last."""
        size = max(1, min(self.batch_size, -(-len(crops) // self.processes)))
        parts = [slice(begin, begin + size) for begin in range(0, len(crops), size)]
        with ExitStack() as stack:
            pools = [stack.enter_context(worker_pool(1)) for _ in range(min(self.processes, len(parts)))]
            threads = max(1, (os.cpu_count() or 1) // self.processes)
            loaded = [p.submit(self._load, threads, device=self._device(n)) for n, p in enumerate(pools)]
            for ready in loaded:
                ready.result()
            waiting: deque[Future[list[Answer]]] = deque()  # few: what waits here is lost if this process is killed
            for number, part in enumerate(parts):
                waiting.append(pools[number % len(pools)].submit(_ask_here, crops[part], queries[part]))
                if len(waiting) == 2 * len(pools):
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def with_change(self, change: Change) -> Self:
        """See `Asker`. The change must be a module-level function, so that another process can import it."""
        other = copy.copy(self)
        other._load = partial(self._load, change=change)
        return other

    def _device(self, number: int) -> str:
        gpus = torch.cuda.device_count()
        return f"cuda:{number % gpus}" if gpus and self.device == "auto" else self.device


_here: LocalAsker  # set in the worker processes of WorkersAsker


def _load_here(name: str, reader: str, threads: int, change: Change | None = None, **loading: Any) -> None:
    global _here
    torch.set_num_threads(threads)
    asker = load_asker(name, GuardedReader(reader=reader), **loading)  # the reader ends with this process
    _here = asker.with_change(change) if change else asker


def _ask_here(crops: Sequence[Crop], queries: Sequence[str]) -> list[Answer]:
    return list(_here.ask(crops, queries))


def open_asker(name: str, reader: GuardedReader, *, processes: int = 1, **loading: Any) -> Asker:
    """An asker with a model in this process, or in each of several; `loading` are arguments of `load_asker`."""
    if processes > 1:
        return WorkersAsker(name, processes, reader.library, **loading)
    return load_asker(name, reader, **loading)


def load_asker(
    name: str,
    reader: Callable[..., Clip],
    *,
    batch_size: int = 64,
    scored: bool = True,
    features: Path | None = None,
    in_memory: int = 256,
    **options: Any,
) -> LocalAsker:
    """Load a model into an asker.

    Args:
        features: a folder for encoded videos, to be reused by evaluations or trainings with the same vision tower.
        in_memory: how many encoded videos are kept in memory; never fewer than a batch. Queries about one video are
            usually adjacent.
        options: see `VideoModel.load`.
    """
    video_model = VideoModel.load(name, **options).with_cache(
        folder=features, in_memory=max(in_memory, batch_size), batch_size=min(32, batch_size), reader=reader
    )
    about = about_model(name, settings_to_ask(name, options.get("changes")), reader)
    return LocalAsker(video_model, about=about, batch_size=batch_size, scored=scored)


def settings_to_ask(name: str, changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings saved with a model, or the defaults, with changes applied; the model is not loaded."""
    return (settings_of(name) or Settings()).changed(**(changes or {}))


def about_model(name: str, settings: Settings, reader: Callable[..., Clip] = read_video) -> Mapping[str, Any]:
    """The value of `Asker.about` for a model."""
    return {"model": name, **asdict(settings), "reader": getattr(reader, "library", PYAV)}
