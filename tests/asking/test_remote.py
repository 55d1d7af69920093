"""A model behind an OpenAI-compatible server: the shipped base answers over HTTP from the frames that it is sent."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from rarft.asking import infer_all
from rarft.asking.server import ServerAsker
from rarft.cli import main
from rarft.models.settings import Settings
from rarft.video import Clip, read_video

PLAIN = Settings(style="plain")


@pytest.fixture
def server(base):
    """Speaks vLLM's side of the protocol: JPEG frames and their rate in, a chat completion out."""
    turn = threading.Lock()
    seen: list[Clip] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if request["model"] != "base":
                return self.send({"error": {"message": f"the model {request['model']!r} does not exist"}}, 404)
            video, text = request["messages"][0]["content"]
            kind, data = video["video_url"]["url"].split(";base64,")
            assert (self.path, kind, request["temperature"]) == ("/v1/chat/completions", "data:video/jpeg", 0.0)
            frames = np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(part)))) for part in data.split(",")])
            fps = request["mm_processor_kwargs"]["fps"]
            clip = Clip(frames, np.arange(len(frames)) / fps, len(frames) / fps, fps, "sent")
            with turn:
                seen.append(clip)
                answer = base.generate([clip], [text["text"]], max_new_tokens=request["max_tokens"])[0]
            message = {"role": "assistant", "content": answer}
            self.send({"id": "0", "object": "chat.completion", "created": 0, "model": "base",
                       "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}, 200)  # fmt: skip

        def send(self, body, status):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1", seen
    http.shutdown()
    http.server_close()


def test_answers_over_http_are_those_of_the_model_itself(base, world, server, tmp_path):
    url, seen = server
    questions = [{"video": str(c.path), "query": list(c.group)[i % 2].query} for i, c in enumerate(world[:3])]
    questions.append({"video": str(world[0].path), "query": world[0].group.relevant.query, "start": 2.0, "end": 9.0})
    questions.append({"video": str(tmp_path / "gone.mp4"), "query": "the red ring grows"})
    counts = infer_all(ServerAsker("base", url, PLAIN, batch_size=3), questions, tmp_path / "a.jsonl")
    assert counts == {"answered": 4, "errors": 1, "kept": 0}
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert "gone.mp4" in rows[4]["error"]
    clips = [read_video(q["video"], start=q.get("start"), end=q.get("end")) for q in questions[:4]]
    local = base.generate(clips[:3], [q["query"] for q in questions[:3]])
    assert [row["completion"] for row in rows[:3]] == local
    crop = next(clip for clip in seen if len(clip.frames) == len(clips[3].frames))
    assert np.abs(crop.frames.astype(int) - clips[3].frames).mean() < 4, "the frames of the crop, but for JPEG"


def test_no_server_and_no_such_model_stop_the_run(world, server, tmp_path, capsys):
    url, _ = server
    question = [{"video": str(world[0].path), "query": "the red ring grows"}]
    for model, address in (("other", url), ("base", "http://127.0.0.1:9/v1")):
        with pytest.raises(ConnectionError, match=model):
            infer_all(ServerAsker(model, address), question, tmp_path / "a.jsonl")
        assert (tmp_path / "a.jsonl").read_text() == "", "nothing is taken for answered"


def test_from_the_command_line(world, server, capsys):
    url, _ = server
    sample = world[0].group.relevant
    arguments = [
        "infer",
        "--server",
        url,
        "--model",
        "base",
        "--style",
        "plain",
        "--video",
        str(world[0].path),
        "--query",
        sample.query,
    ]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert "found:" in capsys.readouterr().out
