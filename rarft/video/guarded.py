"""Guarded decoding: in a separate process, so that no file can hang or crash a run.

A damaged file may hang FFmpeg, and a crash inside of it would end the whole training run. The limit is on the time
without a new frame, not on the whole: half an hour of 4K takes many minutes, and a decoder that hangs gives nothing.
"""

from __future__ import annotations

import multiprocessing
import threading
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, Self

from rarft.system.errors import VideoError, WorkerError
from rarft.system.processes import CONTEXT, end_with_parent
from rarft.system.progress import progress
from rarft.video.reader import Clip, read_video
from rarft.video.readers import PYAV, check_reader

BAR_AFTER = 10.0  # seconds


class Decoded(NamedTuple):
    """How far the process is with a video."""

    frames: int
    of: int


class GuardedReader:
    """Reads videos as `rarft.video.reader.read_video` does. Safe to call from several threads: they take turns.

    A context manager: its process ends with the `with` block."""

    def __init__(self, seconds: float = 60.0, reader: str = PYAV):
        """seconds: without a new frame, after which the process is killed; a new one is started for the next video.
        reader: the library that decodes, of `rarft.video.readers.READERS`.

        Raises InputError for a reader that is not installed."""
        self.seconds, self.library = seconds, check_reader(reader)
        self.process: multiprocessing.process.BaseProcess | None = None
        self._turn = threading.Lock()
        self._pipe: Connection | None = None

    def __call__(self, path: str | Path, fps: float = 2.0, **options) -> Clip:
        """See `read_video`. Raises VideoError, also if the decoder hangs or crashes.

        A bar is shown for a video that takes longer than `BAR_AFTER`."""
        with self._turn:
            if self.process is None or not self.process.is_alive():
                self._start()
            try:
                self._pipe.send((str(path), fps, {"reader": self.library, **options}))
                with progress(desc=Path(path).name, unit="frame", delay=BAR_AFTER, leave=False) as bar:
                    while isinstance(message := self._receive(path), Decoded):
                        bar.total = message.of
                        bar.update(message.frames - bar.n)
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                self._stop()
                raise VideoError(f"{path}: the decoder crashed on this file; re-encode it") from error
        if isinstance(message, VideoError):
            raise message
        return message

    def _receive(self, path: str | Path) -> Decoded | Clip | VideoError:
        if not self._pipe.poll(self.seconds):
            self._stop()
            raise VideoError(f"{path}: the decoder gave no frame for {self.seconds:g} s and was ended; re-encode it")
        return self._pipe.recv()

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._stop()

    def __reduce__(self) -> tuple:
        """In another process: a reader with a decoding process there, which ends with that process."""
        return _reader_here, (self.seconds, self.library)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._pipe, other = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_serve, args=(other,), daemon=True)
        process.start()
        self.process = process
        other.close()
        try:
            if self._pipe.poll(60):  # its start, imports included, is not the video's fault
                self._pipe.recv()
                return
            problem = "did not start within a minute"
        except EOFError:
            problem = "ended as it started; is memory left?"
        self._stop()
        raise WorkerError(f"the decoding process {problem}")

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self._pipe.close()
            self.process = self._pipe = None


@lru_cache(1)
def _reader_here(seconds: float, reader: str) -> GuardedReader:
    return GuardedReader(seconds, reader)


def _serve(pipe: Connection) -> None:
    end_with_parent()  # a file may hang it forever
    pipe.send("ready")
    while True:
        try:
            path, fps, options = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(read_video(path, fps, on_frames=lambda frames, of: pipe.send(Decoded(frames, of)), **options))
        except VideoError as error:
            pipe.send(error)
