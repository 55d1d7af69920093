import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from jaxtyping import install_import_hook

from coursekit import sample_world
from rarft.models import VideoModel
from rarft.rewards.encoder import default_encoder
from rarft.system.processes import close_helpers

# The shapes in annotations of these modules are checked at each call: see tests/related/test_annotations.py.
install_import_hook(["rarft.related.features", "rarft.related.moments", "rarft.related.signals"], "beartype.beartype")

# The processes of pytest-xdist share out the cores, as do the commands that tests start.
THREADS = max(1, min(2, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))


@pytest.fixture(scope="session", autouse=True)
def threads():
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="module", autouse=True)
def end_of_helpers():
    """Helper processes serve the tests of one file; other tests count processes."""
    yield
    close_helpers()


@pytest.fixture(scope="session")
def world():
    return sample_world()


@pytest.fixture(scope="session")
def encoder():
    return default_encoder()


@pytest.fixture
def base():
    """A fresh copy of the shipped base."""
    return VideoModel.load(device="cpu")


class Server:
    """An OpenAI-compatible chat server; `reply(messages)` gives the text, or an HTTP status."""

    def __init__(self, reply):
        server = self
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body["messages"])
                found = reply(body["messages"])
                status, text = (found, "") if isinstance(found, int) else (200, found)
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
                answer = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                    "usage": usage,
                }
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve():
    servers = []

    def start(reply):
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()
