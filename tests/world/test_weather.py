"""Weather changes every pixel and no truth: it is drawn apart from stories and queries, and repeatable."""

import dataclasses

import numpy as np
import pytest

from coursekit import ROOT
from rarft.video import read_video
from rarft.world import render, write_video
from rarft.world.dataset import clip_weather, draw_clip, make_world
from rarft.world.weather import (
    CALM,
    NUISANCES,
    WEATHERS,
    Weather,
    add_texture,
    apply_weather,
    draw_weather,
    edge_weather,
)

ALONE = {
    "brightness": 30.0,
    "contrast": 1.3,
    "gamma": 1.2,
    "cast": (1.1, 1.0, 0.9),
    "noise": 12.0,
    "blur": 0.7,
    "shift": (4.0, -2.0),
    "pan": (3.0, 3.0),
    "zoom": 1.08,
    "texture": 10.0,
    "size": 96,
}


@pytest.fixture(scope="module")
def story():
    return draw_clip(0, "train", 3)[0]


def test_calm_is_the_plain_renderer_and_what_ships(story):
    frames = render(story)
    assert frames.shape == (4 * story.duration, 64, 64, 3)
    assert apply_weather(frames, CALM) is frames
    shipped = read_video(ROOT / "data" / "samples" / "clips" / "00000.mp4", fps=4).frames.astype(int)
    drawn = render(draw_clip(0, "test", 0)[0]).astype(int)
    assert np.abs(shipped - drawn).mean() < 4, "but for the codec"


@pytest.mark.parametrize("name", ALONE)
def test_each_nuisance_changes_the_frames_and_not_their_number(name, story):
    calm, changed = render(story), render(story, Weather(**{name: ALONE[name]}))
    assert changed.dtype == np.uint8 and len(changed) == len(calm)
    if name == "size":
        assert changed.shape[1:] == (96, 96, 3)
    else:
        assert np.abs(changed.astype(int) - calm).mean() > 0.5


def test_brightness_contrast_and_cast_do_what_they_say():
    grey = np.full((2, 64, 64, 3), 100, np.uint8)
    assert apply_weather(grey, Weather(brightness=40.0)).mean() == 140
    assert apply_weather(grey, Weather(contrast=2.0)).mean() == pytest.approx(127.5 - 55, abs=1)
    red, green, _ = apply_weather(grey, Weather(cast=(1.2, 1.0, 0.8)))[0, 0, 0]
    assert red == 120 and green == 100
    assert apply_weather(grey, Weather(noise=10.0)).std() == pytest.approx(10, abs=0.5)
    assert add_texture(grey.astype(np.float32), Weather(texture=12.0)).std() == pytest.approx(12, abs=0.5)


def test_the_camera_shifts_pans_and_zooms():
    dot = np.zeros((3, 64, 64, 3), np.uint8)
    dot[:, 31:33, 31:33] = 255

    def centres(weather):
        seen = apply_weather(dot, weather)[..., 0].astype(float)
        grid = np.arange(64) + 0.5
        return [(float((f.sum(0) * grid).sum() / f.sum()), float((f.sum(1) * grid).sum() / f.sum())) for f in seen]

    np.testing.assert_allclose(centres(Weather(shift=(4.0, -2.0))), [(36, 30)] * 3, atol=0.1)
    np.testing.assert_allclose(centres(Weather(pan=(6.0, 0.0))), [(32, 32), (35, 32), (38, 32)], atol=0.1)
    wide = apply_weather(dot, Weather(zoom=2.0))[..., 0].astype(float).sum((1, 2))
    assert wide[2] == pytest.approx(4 * wide[0], rel=0.1)


@pytest.mark.parametrize("level", WEATHERS)
def test_the_weather_of_a_clip_is_repeatable_and_apart_from_its_story(level, tmp_path):
    before = draw_clip(3, "test", 5)
    one, two = (clip_weather(level, 3, "test", 5) for _ in range(2))
    assert one == two and draw_clip(3, "test", 5) == before
    folders = [make_world(tmp_path / name, "test", 3, seed=3, weather=level, processes=1) for name in ("a", "b")]
    for a, b in zip(*folders, strict=True):
        assert a.path.read_bytes() == b.path.read_bytes()
        assert [s.query for s in a.group] == [s.query for s in b.group]
    calm = [draw_clip(3, "test", index)[1].sentence() for index in range(3)]
    assert [clip.group.relevant.query for clip in folders[0]] == calm
    for clip in folders[0]:
        decoded = read_video(clip.path)
        assert decoded.duration == pytest.approx(clip.story.duration, abs=0.3)
        assert len(decoded.frames) == 2 * clip.story.duration


def test_clips_of_a_level_differ_in_everything():
    drawn = [clip_weather("rough", 0, "train", index) for index in range(200)]
    assert all(clip_weather("calm", 0, "train", index) == CALM for index in range(5))
    for field in dataclasses.fields(Weather):
        assert len({getattr(weather, field.name) for weather in drawn}) >= 3, field.name


def test_a_storm_is_rougher_than_rough():
    rng = np.random.default_rng(0)
    rough, storm = ([draw_weather(level, rng) for _ in range(300)] for level in ("rough", "storm"))
    for name in ("brightness", "noise", "blur", "crf", "texture"):
        distance = [[abs(getattr(w, name) - getattr(CALM, name)) for w in drawn] for drawn in (rough, storm)]
        assert max(distance[1]) > max(distance[0]), name
        beyond = np.mean(np.array(distance[1]) > max(distance[0]))
        assert 0.1 < beyond < 0.5, "three of eleven nuisances are beyond what training shows"


def test_a_folder_is_of_one_weather(tmp_path):
    make_world(tmp_path, "test", 1, weather="rough", processes=1)
    with pytest.raises(ValueError, match="holds clips made with weather 'rough'"):
        make_world(tmp_path, "test", 1, weather="calm", processes=1)
    with pytest.raises(ValueError, match="calm, rough, storm"):
        make_world(tmp_path / "b", "test", 1, weather="fog", processes=1)


def test_a_file_shows_the_weather_after_coding(tmp_path, story):
    weather = Weather(brightness=40.0, crf=36, fps=6, size=80)
    clip = read_video(write_video(render(story, weather), tmp_path / "a.mp4", weather.fps, crf=weather.crf))
    assert clip.frames.shape[1:] == (80, 80, 3)
    assert clip.frames.mean() > render(story).mean() + 20


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_the_edge_of_a_nuisance_changes_it_alone_and_no_further_than_training(nuisance):
    drawn = [getattr(draw_weather("rough", np.random.default_rng(seed)), nuisance) for seed in range(400)]
    for index in range(4):
        weather = edge_weather(nuisance, index)
        assert weather != dataclasses.replace(CALM, seed=index)
        assert dataclasses.replace(weather, **{nuisance: getattr(CALM, nuisance)}) == dataclasses.replace(
            CALM, seed=index
        )
        edge = np.atleast_1d(getattr(weather, nuisance))
        most = np.max(np.abs(np.array(drawn) - np.array(getattr(CALM, nuisance))))
        assert np.all(np.abs(edge - np.atleast_1d(getattr(CALM, nuisance))) <= 1.03 * most)
