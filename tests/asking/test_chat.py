"""Servers that misbehave: retries, time and memory are bounded, and the key goes to one address and into no message."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from rarft.asking import chat
from rarft.asking.chat import ChatServer
from rarft.system.errors import BadReplyError, ServerError

KEY = "sk-a-secret-of-mine"
OK = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
OK["choices"] = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "five"}}]


@pytest.fixture
def raw():
    """raw(replies) → (url, requests): a server that answers each request with the next of the raw replies, the last one
    for ever; a reply is bytes, or a function that gets the connection."""
    servers = []

    def start(*replies):
        listening, requests = socket.create_server(("127.0.0.1", 0)), []
        servers.append(listening)

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    requests.append(_request(connection))
                    reply = replies[min(len(requests), len(replies)) - 1]
                    with suppress(OSError):  # the client has hung up
                        reply(connection) if callable(reply) else connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1", requests

    yield start
    for listening in servers:
        listening.close()


def _request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(
        next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")).split(b":")[1]
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head.decode()


def http(status, body=b"", *headers, kind="application/json"):
    lines = [
        f"HTTP/1.1 {status} x",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def asked(url, **options):
    return ChatServer("m", url, api_key=KEY, **options).complete([{"role": "user", "content": "u"}])


GOOD = http(200, json.dumps(OK).encode())


def test_a_good_reply_and_its_first_choice(raw):
    assert asked(raw(GOOD)[0]) == ("five", {})
    second = {**OK["choices"][0], "index": 1, "message": {"role": "assistant", "content": "six"}}
    counted = {**OK, "choices": [*OK["choices"], second], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    assert asked(raw(http(200, json.dumps(counted).encode()))[0]) == (
        "five",
        {"prompt_tokens": 3, "completion_tokens": 1},
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff garbage",
        b'{"choices": [{"mess',
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": {"a": 1}}}]}',
        b'{"choices": "abc", "usage": 7}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_what_is_no_chat_completion_is_a_bad_reply(raw, body, kind):
    with pytest.raises(BadReplyError):
        asked(raw(http(200, body, kind=kind))[0])


@pytest.mark.parametrize("status, retried", [(429, True), (500, True), (503, True), (400, False)])
def test_attempts_are_bounded(raw, status, retried):
    url, requests = raw(http(status, b'{"error": {"message": "no, not now"}}', "retry-after: 0"))
    with pytest.raises(BadReplyError, match="not now"):
        asked(url)
    assert len(requests) == (1 + chat.RETRIES if retried else 1)


def test_a_server_that_recovers_answers(raw):
    assert asked(raw(http(429, b"{}", "retry-after: 0"), http(500), GOOD)[0])[0] == "five"


def test_a_redirect_is_not_followed(raw):
    elsewhere, stolen = raw(GOOD)
    for status in (301, 302, 307, 308):
        url, _ = raw(http(status, b"", f"location: {elsewhere}/chat/completions"))
        with pytest.raises(ServerError):
            asked(url)
    assert not stolen


def test_the_key_is_sent_and_said_nowhere(raw):
    for status in (400, 401, 403):
        url, requests = raw(http(status, json.dumps({"error": {"message": f"wrong: Bearer {KEY}"}}).encode()))
        with pytest.raises((BadReplyError, ServerError)) as error:
            asked(url)
        assert f"Bearer {KEY}" in requests[0] and KEY not in str(error.value) and "[key]" in str(error.value)
        assert error.value.__cause__ is None and error.value.__suppress_context__


def test_a_reply_without_end_is_ended(raw, monkeypatch):
    monkeypatch.setattr(chat, "LARGEST_REPLY", 2**20)
    monkeypatch.setattr(chat, "RETRIES", 0)
    sent = []

    def endless(connection):
        connection.sendall(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\r\n")
        while True:
            sent.append(connection.send(b" " * 65536))

    with pytest.raises(ServerError):
        asked(raw(endless)[0])
    time.sleep(0.2)
    assert sum(sent) < 2**25  # what fits into the sockets' buffers, too


@pytest.mark.parametrize("drip", [False, True])
def test_a_reply_that_never_comes_costs_the_time_that_was_given(raw, monkeypatch, drip):
    monkeypatch.setattr(chat, "RETRIES", 0)

    def slow(connection):
        connection.sendall(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\r\n")
        for _ in range(40):
            time.sleep(0.1)
            if drip:
                connection.sendall(b" ")

    begin = time.monotonic()
    with pytest.raises(BadReplyError):
        asked(raw(slow)[0], timeout=0.5)
    assert time.monotonic() - begin < 3


def test_a_long_error_is_cut(raw):
    with pytest.raises(BadReplyError) as error:
        asked(raw(http(400, json.dumps({"error": {"message": "x" * 100_000}}).encode()))[0])
    assert len(str(error.value)) < 1000


def test_no_server_at_all_concerns_every_question():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServerError, match=str(port)):
        asked(f"http://127.0.0.1:{port}/v1", timeout=1)
