"""What the shipped base must be in rough weather: it sees, grounds, knows the format, and falls for hard-irrelevant
queries."""

import dataclasses

import numpy as np
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from coursekit import BUILD, ROOT
from rarft.evaluation import predict, scores, summary
from rarft.metrics import best_iou
from rarft.models import VideoModel
from rarft.reading.completion import parse_response
from rarft.system.files import BASE
from rarft.video import read_video
from rarft.world.dataset import make_world, shuffled_samples
from rarft.world.judge import world_judge


@pytest.fixture(scope="module")
def measured():
    """Figures of the base on 100 held-out clips, some of their queries in wordings that training never showed."""
    base = VideoModel.load(device="cpu")
    world = make_world(BUILD / "world" / "test", "test", 100)
    samples = [s for clip in world for s in clip.group]
    predictions = predict(base, samples)
    predictions = world_judge(predictions, [clip.story for clip in world for _ in clip.group])
    found = summary(scores(predictions))
    easy = predict(base, shuffled_samples(world, np.random.default_rng(0)))
    found["shuffled_refused"] = float(np.mean([p.response.refused for p in easy]))
    grey = []
    for clip in world[:50]:
        video = read_video(clip.path, **base.settings.video)
        grey.append(dataclasses.replace(video, frames=np.full_like(video.frames, 128)))
    texts = base.generate(grey, [c.group.relevant.query for c in world[:50]])
    blank = [best_iou(parse_response(t).spans, c.group.relevant.spans) for t, c in zip(texts, world, strict=False)]
    found["blank_miou"] = float(np.mean(blank))
    return found


def test_it_sees(measured):
    assert measured["timeline_slots"] >= 0.95


def test_it_grounds(measured):
    assert measured["miou"] >= 0.80


def test_blank_videos_are_grounded_no_better_than_by_guessing(measured):
    assert measured["blank_miou"] <= 0.35


def test_it_knows_the_format(measured):
    assert measured["format"] >= 0.99


def test_it_falls_for_hard_irrelevant_queries(measured):
    assert measured["refused"] < 0.25


def test_it_refuses_some_shuffled_queries(measured):
    assert 0.2 <= measured["shuffled_refused"] <= 0.8


def test_it_is_an_ordinary_checkpoint():
    assert (BASE / "model.safetensors").stat().st_size <= 16e6
    assert type(AutoModelForImageTextToText.from_pretrained(BASE)).__name__ == "Qwen3VLForConditionalGeneration"
    assert type(AutoProcessor.from_pretrained(BASE)).__name__ == "Qwen3VLProcessor"
    log = (ROOT / "data" / "base" / "training_log.json").read_text()
    assert all(
        stage in log
        for stage in ('"vision"', '"weather"', '"captioning"', '"tasks"', '"describing"', '"machine"', '"seed"')
    )
