"""Questions to a model behind an OpenAI-compatible server, such as `vllm serve build/myrun`: our frames go out, its
answers come back.

The frames are those that every other part of the library sees: sampled, cropped and scaled by `read_video`, then sent
as JPEGs in one data URL with the frame rate beside them, the form that vLLM documents for Qwen2.5-VL."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from rarft.asking.batch import answer_of
from rarft.asking.chat import ChatServer
from rarft.models.settings import Settings
from rarft.prompts import build_prompt
from rarft.schema import Crop
from rarft.system.errors import BadReplyError, VideoError
from rarft.video import Clip, read_video

JPEG_QUALITY = 95


class RemoteModel:
    """A video model at `base_url`, asked greedily, several questions at a time.

    Args:
        model: the name that the server knows it by.
        style: of its prompts, see `rarft.prompts`.
        timeout: seconds for one answer; the client repeats lost connections twice, with pauses that grow.
        reader: `read_video`, or `rarft.video.guarded.GuardedReader()`; `sampling` are its options.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str = "none",
        style: str = "instruct",
        timeout: float = 300.0,
        max_new_tokens: int = Settings.max_new_tokens,
        reader: Callable[..., Clip] = read_video,
        **sampling,
    ):
        self.style, self.max_new_tokens = style, max_new_tokens
        self.reader, self.sampling = reader, sampling
        self._server = ChatServer(model, base_url, api_key=api_key, timeout=timeout)

    def __call__(self, questions: list[dict]) -> Iterator[dict]:
        """Answer a batch, as `rarft.asking.batch.infer_all` asks for it. Raises ServerError if no question can be
        answered: no server, no such model, a wrong key."""
        clips = [self._read(question) for question in questions]  # a guarded reader is one process: not from threads
        with ThreadPoolExecutor(max(1, len(questions))) as pool:
            yield from pool.map(self._answer, questions, clips)

    def _read(self, question: dict) -> Clip | VideoError:
        video, start, end = Crop.of(question)
        try:
            return self.reader(video, start=start, end=end, **self.sampling)
        except VideoError as error:
            return error

    def _answer(self, question: dict, clip: Clip | VideoError) -> dict:
        if isinstance(clip, VideoError):
            return {**question, "error": str(clip)}
        messages = build_prompt(question["query"], self.style)
        video = {"type": "video_url", "video_url": {"url": frames_url(clip)}}
        messages[-1]["content"] = [video if part["type"] == "video" else part for part in messages[-1]["content"]]
        rate = {"mm_processor_kwargs": {"fps": clip.fps}}
        try:
            text, _ = self._server.complete(messages, temperature=0.0, max_tokens=self.max_new_tokens, extra_body=rate)
        except BadReplyError as error:
            return {**question, "error": str(error)}
        return {**question, **answer_of(text.strip())}


def frames_url(clip: Clip) -> str:
    """The frames of a clip as a data URL of JPEGs with commas between them."""

    def jpeg(frame) -> str:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
        return base64.b64encode(file.getvalue()).decode()

    return "data:video/jpeg;base64," + ",".join(map(jpeg, clip.frames))
