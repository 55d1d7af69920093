"""Guarded decoding: in a separate process with a time limit, so that no file can hang or crash a run.

decord is known to hang on some damaged files (dmlc/decord#269, #373), and a crash inside FFmpeg would end the whole
training run.
"""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from rarft.errors import VideoError, WorkerError
from rarft.processes import end_with_parent
from rarft.video.reader import Clip, read_video


class GuardedReader:
    """Reads videos as `rarft.video.reader.read_video` does. Safe to call from several threads: they take turns."""

    def __init__(self, seconds: float = 60.0):
        """seconds: for one video; the process is killed after it, and a new one is started for the next."""
        self.seconds = seconds
        self._turn = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(self, path: str | Path, fps: float = 2.0, **options) -> Clip:
        """See `read_video`. Raises VideoError, also if decoding takes too long or the decoder crashes."""
        with self._turn:
            if self._process is None or not self._process.is_alive():
                self._start()
            try:
                self._pipe.send((str(path), fps, options))
                if not self._pipe.poll(self.seconds):
                    self._stop()
                    raise VideoError(
                        f"{path}: decoding took longer than {self.seconds:g} s; re-encode the file, or allow more time"
                    )
                result = self._pipe.recv()
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                self._stop()
                raise VideoError(f"{path}: the decoder crashed on this file; re-encode it") from error
        if isinstance(result, VideoError):
            raise result
        return result

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._stop()

    def _start(self) -> None:
        # spawn: a forked child of a process that runs torch or decord threads can hang
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(60):  # its start, imports included, is not the video's fault
            self._stop()
            raise WorkerError("the decoding process did not start within a minute")
        try:
            self._pipe.recv()
        except EOFError as error:
            self._stop()
            raise WorkerError(
                "the decoding process ended as it started; a script that reads videos needs the line "
                "`if __name__ == '__main__':` before what it does"
            ) from error

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    end_with_parent()  # a file may hang it for ever
    pipe.send("ready")
    while True:
        try:
            path, fps, options = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(read_video(path, fps, **options))
        except VideoError as error:
            pipe.send(error)
