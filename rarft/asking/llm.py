"""A client for language models behind any OpenAI-compatible server that reply with JSON of a given schema.

Each reply is appended to a file on disk, so a run that resumes after a kill does not ask a question twice.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletionMessageParam

from rarft.asking.chat import ChatServer
from rarft.schema import without_surrogates
from rarft.system.errors import BadReplyError, InputError
from rarft.system.files import TEXT, Field, json_lines, open_to_append, parse_json
from rarft.system.progress import progress

KEPT = {"key": TEXT, "reply": Field("an object", lambda value: isinstance(value, dict))}  # a row of the cache


class LLM(ChatServer):
    """A chat model that replies with JSON.

    Args:
        model, base_url: see `ChatServer`.
        cache: a JSON Lines file of the replies so far, see `rarft.system.files.json_lines`.
        attempts: how often a question is asked until a reply fits the schema. Each retry shows the model its error.
        max_tokens: the maximum length of a reply, which bounds the cost of a model that does not stop.
        server: `api_key` and `timeout` of `ChatServer`.

    `usage` counts questions asked and cached, failures and tokens.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        cache: str | Path | None = None,
        attempts: int = 3,
        max_tokens: int = 1024,
        **server: Any,
    ):
        super().__init__(model, base_url, **server)
        self.attempts, self.max_tokens = attempts, max_tokens
        self.usage: Counter[str] = Counter()
        self._cache_path = Path(cache) if cache else None
        kept = json_lines(cache, KEPT, resume=True) if cache else ()
        self._replies = {row["key"]: row["reply"] for _, row in kept}
        self._lock = threading.Lock()

    def ask(self, system: str, user: str, schema: dict) -> dict:
        """Ask until a reply fits the JSON schema. Raises BadReplyError, with the last error, if none does; ServerError
        if the server cannot answer any question: no server, an unknown model, a wrong key."""
        key = hashlib.sha256(json.dumps([self.model, system, user, schema]).encode()).hexdigest()
        if key in self._replies:
            self._count(cached=1)
            return self._replies[key]
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": system},
            {"role": "user", "content": without_surrogates(user)},
        ]
        error = ""
        for _ in range(self.attempts):
            text = self._complete(messages)
            try:
                reply = parse_reply(text, schema)
            except ValueError as problem:
                error = str(problem)
                messages = messages[:2] + [
                    {"role": "assistant", "content": text or "(nothing)"},
                    {"role": "user", "content": f"That cannot be used: {error}. Reply with the JSON object alone."},
                ]
                continue
            self._keep(key, reply)
            return reply
        self._count(failed=1)
        raise BadReplyError(f"{self.model}: no usable reply in {self.attempts} attempts; the last error: {error}")

    def ask_all(
        self, system: str, users: Sequence[str], schema: dict, *, concurrency: int = 8, desc: str = "ask"
    ) -> list[dict | BadReplyError]:
        """Ask several questions concurrently; equal questions are asked once. A question that fails returns its
        BadReplyError, and the others go on."""

        def one(user: str) -> dict | BadReplyError:
            try:
                return self.ask(system, user, schema)
            except BadReplyError as error:
                return error

        questions = list(dict.fromkeys(users))
        if not questions:
            return []
        with ThreadPoolExecutor(concurrency) as pool:
            replies = list(progress(pool.map(one, questions), total=len(questions), desc=desc))
        found = dict(zip(questions, replies, strict=True))
        return [found[user] for user in users]

    def _complete(self, messages: list[ChatCompletionMessageParam]) -> str:
        try:
            text, tokens = self.complete(messages, temperature=0.0, max_tokens=self.max_tokens)
        except BadReplyError:
            self._count(failed=1)
            raise
        self._count(asked=1, **tokens)
        return text

    def _keep(self, key: str, reply: dict) -> None:
        with self._lock:
            self._replies[key] = reply
            if self._cache_path:
                with open_to_append(self._cache_path) as file:
                    file.write(json.dumps({"key": key, "reply": reply}, ensure_ascii=False) + "\n")

    def _count(self, **counts: int) -> None:
        with self._lock:
            self.usage.update(counts)


def parse_reply(text: str, schema: dict) -> dict:
    """The JSON object in a reply, which may be surrounded by prose or a code fence. Raises InputError if there is none
    or it does not fit the schema."""
    begin, end = text.find("{"), text.rfind("}")
    if not 0 <= begin < end:
        raise InputError("there is no JSON object in the reply")
    reply = parse_json(text[begin : end + 1], "the reply")
    problem = next(iter(Draft202012Validator(schema).iter_errors(reply)), None)
    if problem is not None:
        raise InputError(f"{'.'.join(map(str, problem.absolute_path)) or 'the object'}: {problem.message}")
    return reply
