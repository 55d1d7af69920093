"""Ask a video model behind an OpenAI-compatible server, such as `vllm serve build/myrun`.

Frames are sampled, cropped and scaled by `read_video`, as in the rest of the library. They are sent as JPEGs in one
data URL together with the frame rate, the form that vLLM documents for Qwen2.5-VL."""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
from PIL import Image

from rarft.asking.answer import Answer
from rarft.asking.asker import Change, ChangingReader, about_model
from rarft.asking.chat import ChatServer
from rarft.models.settings import Settings
from rarft.prompts import build_prompt
from rarft.schema import Crop
from rarft.system.errors import BadReplyError, VideoError
from rarft.video import Clip, read_video

JPEG_QUALITY = 95


class ServerAsker:
    """A video model at `base_url`, decoded greedily. Its answers have no refusal score.

    Args:
        model, base_url, api_key: see `rarft.asking.chat.ChatServer`.
        settings: how videos are sampled and prompts are written.
        batch_size: queries that are sent at a time.
        timeout: seconds for one answer; lost connections are retried twice, with growing pauses.
        reader: `read_video`, or a `rarft.video.GuardedReader`.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        settings: Settings | None = None,
        *,
        api_key: str = "none",
        batch_size: int = 16,
        timeout: float = 300.0,
        reader: Callable[..., Clip] = read_video,
    ):
        self.settings, self.batch_size, self.reader = settings or Settings(), batch_size, reader
        self.about = {**about_model(model, self.settings, reader), "server": base_url}
        self._server = ChatServer(model, base_url, api_key=api_key, timeout=timeout)

    def ask(self, crops: Sequence[Crop], queries: Sequence[str]) -> Generator[Answer, None, None]:
        """See `rarft.asking.asker.Asker`. A query that the server fails to answer also gives an answer with an error.

        Raises ServerError if no query can be answered: no server, an unknown model, a wrong key."""
        with ThreadPoolExecutor(self.batch_size) as pool:
            for begin in range(0, len(crops), self.batch_size):
                part = slice(begin, begin + self.batch_size)
                clips = [self._read(crop) for crop in crops[part]]  # a guarded reader is one process: not from threads
                yield from pool.map(self._answer, queries[part], clips)

    def with_change(self, change: Change) -> Self:
        """See `rarft.asking.asker.Asker`."""
        other = copy.copy(self)
        other.reader = ChangingReader(self.reader, change)
        return other

    def _read(self, crop: Crop) -> Clip | VideoError:
        try:
            return self.reader(crop.video, start=crop.start, end=crop.end, **self.settings.video)
        except VideoError as error:
            return error

    def _answer(self, query: str, clip: Clip | VideoError) -> Answer:
        if isinstance(clip, VideoError):
            return Answer(error=str(clip))
        messages = build_prompt(query, self.settings.style or "instruct")
        video = {"type": "video_url", "video_url": {"url": frames_url(clip)}}
        messages[-1]["content"] = [video if part["type"] == "video" else part for part in messages[-1]["content"]]
        options = {"max_tokens": self.settings.max_new_tokens, "temperature": 0.0}
        rate = {"mm_processor_kwargs": {"fps": clip.fps}}
        try:
            text, _ = self._server.complete(messages, extra_body=rate, **options)
        except BadReplyError as error:
            return Answer(error=str(error))
        return Answer(text.strip())


def frames_url(clip: Clip) -> str:
    """The frames of a clip as a data URL of comma-separated JPEGs."""
    return "data:video/jpeg;base64," + ",".join(map(_jpeg, clip.frames))


def _jpeg(frame: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
