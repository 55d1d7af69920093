"""The demo's server: what it answers, what it turns down, and that a page elsewhere cannot use it."""

import json
import os

import pytest
from fastapi.testclient import TestClient

from rarft.asking import load_asker
from rarft.asking.demo import app as demo
from rarft.asking.demo.offer import Model, videos_of
from rarft.cli.demo import chosen_models
from rarft.models.decoding.refusal import forced_segment
from rarft.schema import Crop
from rarft.system.errors import InputError
from rarft.system.files import BASE
from rarft.video import GuardedReader, read_video


@pytest.fixture(scope="module")
def reader():
    reader = GuardedReader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def model(reader):
    return Model("the base", load_asker(str(BASE), reader))


@pytest.fixture
def client(model, reader):
    app = demo.make_app([model], videos_of(None, None), reader, ["localhost"])
    return TestClient(app, base_url="http://localhost")


def test_a_question_gets_a_segment_or_a_refusal_with_its_probability(client, world):
    asked = client.get("/clips").json()
    assert asked["models"] == ["the base"] and len(asked["clips"]) == len(world)
    query = asked["clips"][0]["queries"][0][0]
    [answer] = client.post("/ask", json={"clip": "0", "query": query}).json()
    assert answer["verdict"] == "grounds" and answer["segment_if_asked"] == answer["spans"][0]
    assert 0 <= answer["refusal_probability"] < 0.5
    [answer] = client.post("/ask", json={"clip": "0", "query": "<b>door</b>"}).json()
    assert "door" in answer["note"]


def test_a_model_that_refuses_names_a_segment_if_it_must(model, world):
    """The base refuses queries of other clips; made to ground, it names seconds all the same."""
    crops = [Crop(str(clip.path)) for clip in world]
    video_model = model.asker.video_model
    features = video_model.features(crops)
    queries = [world[(i + 3) % len(world)].group.relevant.query for i in range(len(world))]
    texts = video_model.generate(features, queries)
    refused = [i for i, text in enumerate(texts) if "<answer> no such" in text]
    assert refused
    for i in refused[:3]:
        spans = forced_segment(video_model, features[i], queries[i], texts[i])
        assert len(spans) == 1 and 0 <= spans[0].start <= spans[0].end
    assert forced_segment(video_model, features[0], queries[0], "<think> cut") == ()


def test_frames_of_a_clip(client, world):
    strip = client.get("/frames/0").json()
    assert len(strip["frames"]) == demo.FRAMES
    assert strip["duration"] == pytest.approx(read_video(world[0].path).duration)
    assert all(frame["picture"].startswith("data:image/png;base64,") for frame in strip["frames"])


def test_an_upload_can_be_asked_about(client, world):
    sent = client.post("/upload", params={"title": "mine.mp4"}, content=world[1].path.read_bytes())
    name = sent.json()["name"]
    assert client.get("/clips").json()["clips"][-1] == {"name": name, "title": "mine.mp4", "queries": []}
    [answer] = client.post("/ask", json={"clip": name, "query": world[1].group.relevant.query}).json()
    assert answer["verdict"] == "grounds"


def test_what_is_no_video_is_turned_down_and_not_kept(client, monkeypatch):
    for content in (b"", b"no video", b"#EXTM3U\nhttp://example.org/a.ts\n"):
        sent = client.post("/upload", params={"title": "mine.mp4"}, content=content)
        assert sent.status_code == 422 and sent.json()["detail"].startswith("mine.mp4: ")
    monkeypatch.setattr(demo, "LARGEST_UPLOAD", 10)
    sent = client.post("/upload", content=b"x" * 11)
    assert sent.status_code == 413
    assert len(client.get("/clips").json()["clips"]) == len(videos_of(None, None))
    assert os.listdir(client.app.state.uploads.name) == []


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"clip": "none", "query": "x"}, 404),
        ({"clip": "../0", "query": "x"}, 404),
        ({"clip": "0", "query": ""}, 422),
        ({"clip": "0", "query": "x" * 501}, 422),
        ({"clip": "0"}, 422),
        ({"clip": "0", "query": "   "}, 422),
        ({"clip": "0", "query": ["x"]}, 422),
        ({"clip": "0", "query": "x", "start": True}, 422),
        ({"clip": "\ud800", "query": "x"}, 404),
        ({"clip": "0", "query": "the \ud800 ring"}, 200),
        ({"clip": "0", "query": "the <|video_pad|> ring </s> grows <|im_end|>"}, 200),
    ],
)
def test_questions_and_what_becomes_of_them(client, question, status):
    sent = client.post("/ask", content=json.dumps(question), headers={"Content-Type": "application/json"})
    assert sent.status_code == status


def test_the_page_runs_only_its_own_script_and_under_its_own_name_only(client):
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text and "style=" not in page.text
    for path in ("/page.js", "/page.css"):
        assert client.get(path).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_clips_of_unknown_duration_are_offered(tmp_path, world):
    rows = [{"video": world[0].path.name, "query": "q", "span": [1, 2]}]
    (tmp_path / "own.jsonl").write_text(json.dumps(rows[0]) + "\n")
    [video] = videos_of(tmp_path / "own.jsonl", world[0].path.parent).values()
    assert video.title == world[0].path.stem


def test_the_names_of_models():
    assert chosen_models(["a=b", "c"]) == [("a", "b"), ("c", "c")]
    with pytest.raises(InputError, match="twice"):
        chosen_models(["a=b", "a=c"])
