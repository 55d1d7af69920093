"""The training of the shipped base, in small: each stage runs, a stopped run goes on, and the result answers."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import set_seed

from coursekit.base import make, vision
from coursekit.base.tiny import tiny_model, tiny_processor
from rarft.cli import main
from rarft.system.files import read_json
from rarft.training.sft import sft_arguments
from rarft.world import scenes
from rarft.world.dataset import make_world

STEPS = 2
CLIPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder for the world's videos, which all runs share."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    """A handful of clips is written sooner than a process has started."""
    monkeypatch.setattr("rarft.world.dataset.worker_pool", lambda _: ThreadPoolExecutor(1))


@pytest.fixture
def small(monkeypatch):
    """Five stages of two steps on a handful of clips."""
    monkeypatch.setattr(make, "CLIPS", dict.fromkeys(make.CLIPS, CLIPS))
    monkeypatch.setattr(make, "STAGES", {stage: (STEPS, 2, 1e-4) for stage in make.STAGES})
    monkeypatch.setattr(make, "SAVE_STEPS", 1)
    monkeypatch.setattr(make, "BF16_STAGES", ())
    monkeypatch.setattr(make, "SETTINGS", replace(make.SETTINGS, max_new_tokens=8))


class Stopped(Exception):
    """Somebody ends the process."""


def test_a_stopped_run_goes_on_with_the_next_stage_and_the_model_answers(small, data, tmp_path, monkeypatch, capsys):
    output = tmp_path / "base"
    ran, train = [], make.train_vision

    def until_weather(*given):
        ran.append("vision")
        if len(ran) == 2:
            raise Stopped
        return train(*given)

    monkeypatch.setattr(make, "train_vision", until_weather)
    with pytest.raises(Stopped):
        make.make_base(data, output)
    assert [path.parent.name for path in (output / "stages").glob("*/log.json")] == ["vision"]
    first = (output / "stages" / "vision" / "log.json").read_text()

    monkeypatch.setattr(make, "train_vision", lambda *given: ran.append("again") or train(*given))
    make.make_base(data, output)
    assert ran == ["vision", "vision", "again"], "the stage that was saved does not run again"
    assert (output / "stages" / "vision" / "log.json").read_text() == first
    log = read_json(output / "training_log.json")
    assert list(log["stages"]) == list(make.STAGES) and log["clips"] == make.CLIPS
    for stage in log["stages"].values():
        assert stage["steps"] == STEPS and np.isfinite([row["loss"] for row in stage["history"] if "loss" in row]).all()

    clip = next((data / "align-calm").rglob("*.mp4"))
    with pytest.raises(SystemExit, match="0"):
        main(["infer", "--model", str(output), "--video", str(clip), "--query", "the red ring grows", "--json"])
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["query"] == "the red ring grows" and answer["verdict"] in ("grounds", "refuses", "unreadable")


def test_weights_of_another_model_are_not_loaded(tmp_path):
    from safetensors.torch import save_file

    from rarft.system.errors import InputError

    save_file({"other.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"not weights of this model .*other\.weight"):
        make.load_model_weights(tiny_model(tiny_processor()), tmp_path / "model.safetensors")


@pytest.fixture
def world(data):
    return make_world(data / "align-calm", "align", CLIPS, weather="calm")


def test_each_token_is_labelled_with_the_actor_of_its_quarter(world):
    for story in (clip.story for clip in world):
        classes, motion = vision.labels_of(story)
        assert classes.shape == (4 * story.duration, len(vision.ATTRIBUTES))
        assert motion.shape == (4 * story.duration, vision.MOTION) and np.isfinite(motion).all()
        colours = [scenes.COLOURS[n] for n in classes[:4, list(vision.ATTRIBUTES).index("colour")]]
        lanes = [0, 1, 0, 1] if story.layout == "side" else [0, 0, 1, 1]
        assert colours == [story.actors[lane].colour for lane in lanes]
        actions = classes.reshape(story.duration, 4, -1)[:, 0, list(vision.ATTRIBUTES).index("action")]
        for event in story.actors[0].events:
            assert {scenes.ACTIONS[n] for n in actions[int(event.start) : int(event.end)]} == {event.action}


def test_the_tower_learns_to_tell_what_it_sees_and_its_tokens_get_their_scale(world, tmp_path):
    set_seed(0)
    processor = tiny_processor()
    model = tiny_model(processor)
    clips, stories = make.read_clips(world), [clip.story for clip in world]
    steps = 8
    arguments = sft_arguments(tmp_path, steps=steps, batch=2, rate=1e-3, seed=0, bf16=False, save_steps=4)
    arguments.logging_steps = 1
    before = [parameter.clone() for parameter in vision.vision_tower(model).parameters()]
    history = vision.train_vision(model, processor, clips, stories, arguments, repeat=3)
    losses = [row["loss"] for row in history if "loss" in row]
    assert len(losses) == steps and min(losses[-3:]) < losses[0]
    assert {f"accuracy/{name}" for name in vision.ATTRIBUTES} <= {key for row in history for key in row}
    assert any(not torch.equal(a, b) for a, b in zip(before, vision.vision_tower(model).parameters(), strict=True))

    batch = processor.video_processor(**vision.video_kwargs(clips), return_tensors="pt")
    with torch.no_grad():
        tokens = vision.vision_tower(model)(
            batch["pixel_values_videos"], grid_thw=batch["video_grid_thw"]
        ).pooler_output
    assert float(tokens.square().mean().sqrt()) == pytest.approx(vision.SCALE, rel=1e-3)
    assert len(list(tmp_path.glob("checkpoint-*"))) > 0
    again = vision.train_vision(tiny_model(processor), processor, clips, stories, arguments, repeat=3)
    assert [row["step"] for row in again if "loss" in row] == list(range(1, steps + 1)), "nothing is trained twice"
