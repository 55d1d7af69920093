"""A client for chat models behind an OpenAI-compatible server, which may be slow, broken or hostile.

Retries, time and memory are bounded. Redirects are not followed, so the key and the frames only go to the address that
the user gave. Error messages do not contain the key.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    NotFoundError,
    OpenAI,
    OpenAIError,
    PermissionDeniedError,
)
from openai.types.chat import ChatCompletionMessageParam

from rarft.system.errors import BadReplyError, ServerError
from rarft.system.upstream.of_openai import httpx

LARGEST_REPLY = 2**25  # bytes
LONGEST_MESSAGE = 500  # characters kept of a server's error
RETRIES = 2  # after lost connections, 429 and 5xx, with growing pauses or those that the server asks for


class ChatServer:
    """A chat model at `base_url`.

    Args:
        model: the name of the model on the server.
        base_url: e.g. `http://localhost:8000/v1`.
        api_key: the server's key; local servers accept any.
        timeout: seconds for one reply, from its first byte to its last.
    """

    def __init__(self, model: str, base_url: str, *, api_key: str = "none", timeout: float = 60.0):
        self.model, self.base_url, self._key = model, base_url, api_key
        http = httpx.Client(timeout=timeout, follow_redirects=False, transport=_Bounded(timeout))
        self._client = OpenAI(base_url=base_url, api_key=api_key, max_retries=RETRIES, http_client=http)

    def complete(self, messages: Sequence[ChatCompletionMessageParam], **options: Any) -> tuple[str, dict[str, int]]:
        """The text of the reply, and the server's counts of `prompt_tokens` and `completion_tokens`.

        Control tokens of chat models in the texts get a space after their first character, so that the server does not
        read them as control tokens of its chat template.

        Raises ServerError if all other requests would fail, too: no server, an unknown model, a wrong key, a redirect;
        BadReplyError for any other failure, such as a timeout or a reply that is not a chat completion.
        """
        try:
            reply = self._client.chat.completions.create(
                model=self.model, messages=[without_control_tokens(message) for message in messages], **options
            )
            text = reply.choices[0].message.content or ""
            counts = reply.usage.model_dump() if reply.usage else {}
        except OpenAIError as error:
            message = f"{self.base_url}, model {self.model!r}: {self._without_key(error)}"
            raise (ServerError if _concerns_all(error) else BadReplyError)(message) from None
        except (
            ValueError,
            TypeError,
            AttributeError,
            IndexError,
            RecursionError,
        ) as error:  # 200 OK, but not a chat completion
            raise BadReplyError(f"{self.base_url}: reply is not a chat completion ({type(error).__name__})") from None
        if not isinstance(text, str):
            raise BadReplyError(f"{self.base_url}: reply is not a chat completion (its content is not text)")
        names = ("prompt_tokens", "completion_tokens")
        return text, {name: counts[name] for name in names if isinstance(counts.get(name), int)}

    def _without_key(self, error: OpenAIError) -> str:
        return str(error).replace(self._key, "[key]")[:LONGEST_MESSAGE]


_CONTROL = re.compile(
    r"([<\[])(?=[|｜][^<>|｜]+[|｜]>|/?s>|(?:pad|unk|bos|eos|image|video|start_of_turn|end_of_turn)>|/?INST\])"
)


def without_control_tokens(message: Any) -> Any:
    """The message with the control tokens in its texts broken up: `<|im_end|>` becomes `< |im_end|>`."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": _CONTROL.sub(r"\1 ", content)}
    parts = [{**p, "text": _CONTROL.sub(r"\1 ", p["text"])} if p["type"] == "text" else p for p in content]
    return {**message, "content": parts}


def _concerns_all(error: OpenAIError) -> bool:
    no_server = isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError)
    moved = isinstance(error, APIStatusError) and 300 <= error.status_code < 400
    return no_server or moved or isinstance(error, AuthenticationError | NotFoundError | PermissionDeniedError)


class _Bounded(httpx.HTTPTransport):
    """Ends a reply that is larger than `LARGEST_REPLY` or takes longer than `seconds`."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        body = _BoundedBody(response.stream, self.seconds)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )


class _BoundedBody(httpx.SyncByteStream):
    def __init__(self, stream: Any, seconds: float):
        self.stream, self.seconds = stream, seconds

    def __iter__(self) -> Iterator[bytes]:
        size, end = 0, time.monotonic() + self.seconds
        for part in self.stream:
            size += len(part)
            if size > LARGEST_REPLY:
                raise httpx.ReadError(f"the reply is larger than {LARGEST_REPLY // 2**20} MB")
            if time.monotonic() > end:
                raise httpx.ReadTimeout(f"the reply took longer than {self.seconds:g} s")
            yield part

    def close(self) -> None:
        self.stream.close()
