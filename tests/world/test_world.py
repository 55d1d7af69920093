"""The world says what it shows: pixels are read independently of the renderer, text gives nothing away."""

import numpy as np
import pytest

from rarft.hivtg.statistics import leak_score
from rarft.schema import Category
from rarft.video import read_video
from rarft.world import failing_slots, parse, render, spans_of, write_video
from rarft.world.dataset import draw_clip, make_world, shuffled_samples, story_from_json, story_to_json
from rarft.world.refusals import claims
from rarft.world.scenes import held_out, shows_held_out
from rarft.world.timelines import timeline
from rarft.world.truth import explanation_is_true, happens

HUES = {"red": 0, "yellow": 60, "green": 120, "cyan": 180, "blue": 230, "purple": 290}


def hue_mask(frame: np.ndarray, colour: str) -> np.ndarray:
    """Saturated pixels whose hue is nearest to a colour's: no use is made of the renderer's own values."""
    rgb = frame.astype(float)
    high, low = rgb.max(-1), rgb.min(-1)
    spread = np.where(high > low, high - low, 1)
    r, g, b = (rgb[..., k] for k in range(3))
    hue = (
        np.where(high == r, (g - b) / spread % 6, np.where(high == g, (b - r) / spread + 2, (r - g) / spread + 4)) * 60
    )
    names = list(HUES)
    distance = np.stack([np.minimum(abs(hue - HUES[n]), 360 - abs(hue - HUES[n])) for n in names])
    return (distance.argmin(0) == names.index(colour)) & (high - low > 90)


def centre(mask: np.ndarray) -> tuple[float, float]:
    y, x = np.nonzero(mask)
    return float(x.mean()), float(y.mean())


def test_pixels_of_decoded_files_show_what_the_story_says(tmp_path):
    checked = {"colour": 0, "move": 0, "size": 0, "blink": 0, "place": 0}
    for index in range(120):
        story, _, _ = draw_clip(5, "align" if index % 3 else "train", index)
        path = write_video(render(story), tmp_path / f"{index}.mp4")
        clip = read_video(path)
        for actor in story.actors:
            masks = [hue_mask(frame, actor.colour) for frame in clip.frames]
            areas = np.array([m.sum() for m in masks])
            assert areas.max() > 15, (index, actor.colour)
            checked["colour"] += 1
            for event in actor.events:
                part = slice(2 * event.start, 2 * event.end)
                if event.action.startswith("moves"):
                    first, last = centre(masks[part.start]), centre(masks[part.stop - 1])
                    dx, dy = last[0] - first[0], last[1] - first[1]
                    want = {"left": dx < -8, "right": dx > 8, "up": dy < -8, "down": dy > 8}
                    assert want[event.action.split()[1]], (index, event, dx, dy)
                    checked["move"] += 1
                elif event.action in ("grows", "shrinks"):
                    change = areas[part.stop - 1] - areas[part.start]
                    assert (change > 0) == (event.action == "grows"), (index, event)
                    checked["size"] += 1
                elif event.action == "blinks":
                    assert areas[part][::2].min() > 3 * areas[part][1::2].max(), (index, event)
                    checked["blink"] += 1
        a, b = (centre(hue_mask(clip.frames[0], actor.colour)) for actor in story.actors)
        assert (a[0] < b[0] - 10) if story.layout == "side" else (a[1] < b[1] - 10)
        checked["place"] += 1
    assert min(checked.values()) >= 50, checked


def test_one_seed_gives_the_same_bytes_and_the_same_story(tmp_path):
    story = draw_clip(0, "train", 7)[0]
    one = write_video(render(story), tmp_path / "a.mp4").read_bytes()
    two = write_video(render(draw_clip(0, "train", 7)[0]), tmp_path / "b.mp4").read_bytes()
    assert one == two
    assert story_from_json(story_to_json(story)) == story
    assert draw_clip(0, "train", 8)[0] != story


@pytest.mark.parametrize("split", ["train", "test"])
def test_queries_do_not_tell_whether_they_are_relevant(split):
    queries, labels, groups = [], [], []
    for index in range(2500):
        _, relevant, edits = draw_clip(11, split, index)
        edit = list(edits.values())[index % len(edits)]
        queries += [relevant.sentence(), edit.query.sentence()]
        labels += [0, 1]
        groups += [index, index]
    assert abs(leak_score(queries, labels, groups) - 0.5) < 0.03


def test_held_out_combinations_are_held_out():
    for index in range(300):
        story, query, edits = draw_clip(0, "train", index)
        asked = [query, *(e.query for e in edits.values())]
        assert not shows_held_out(story)
        assert not any(held_out(q.colour, q.shape, q.action) for q in asked)
        _, query, edits = draw_clip(0, "test", index)
        asked = [query, *(e.query for e in edits.values())]
        assert any(held_out(q.colour, q.shape, q.action) for q in asked)
    assert not any(shows_held_out(draw_clip(0, "align", index)[0]) for index in range(300))


def test_edits_are_irrelevant_nearest_and_truly_explained():
    seen, bound = set(), []
    for index in range(300):
        story, query, edits = draw_clip(2, "train", index)
        assert len(spans_of(story, query)) == 1
        assert failing_slots(story, query) == [frozenset()]
        for number, edit in enumerate(edits.values(), start=1):
            assert not spans_of(story, edit.query)
            assert all(len(slots) == number for slots in failing_slots(story, edit.query))
            assert explanation_is_true(story, edit.query, edit.answer) == (True, True)
            assert parse(edit.query.sentence()) == edit.query
            seen.update(edit.categories)
            bound.append(edit.bound)
    assert seen == set(Category)
    assert 0.3 < np.mean(bound) < 0.7


def test_wrong_explanations_and_corrections_are_judged_wrong():
    story, query, edits = draw_clip(2, "train", 0)
    edit = next(iter(edits.values()))
    assert happens(story, query.sentence())
    assert not happens(story, edit.query.sentence())
    assert not happens(story, "a film about cats")
    for answer in (
        "no such segment : I do not know",
        "",
        edit.answer.replace(" not ", " or "),
        "no such segment : red not ring",
    ):
        assert explanation_is_true(story, edit.query, answer) == (False, False)
    assert claims("no such segment : red not ring")[0][0] == ""


def test_where_all_clips_exist_nothing_is_written(tmp_path):
    """Several processes may read a folder at the same time."""
    made = make_world(tmp_path, "test", 2, processes=1)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    assert make_world(tmp_path, "test", 2) == made
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")} == before


def test_a_folder_can_be_grown_and_is_hi_vtg(tmp_path):
    few = make_world(tmp_path, "test", 2, processes=1)
    stamp = few[0].path.stat().st_mtime_ns
    more = make_world(tmp_path, "test", 3, processes=1)
    assert more[0].path.stat().st_mtime_ns == stamp
    assert [c.story for c in more[:2]] == [c.story for c in few]
    assert len((tmp_path / "stories.jsonl").read_text().splitlines()) == 3
    for clip in more:
        assert clip.group.relevant.relevant and not clip.group.irrelevant[0].relevant
        assert clip.group.irrelevant[0].correction == clip.group.relevant.query
        assert clip.group.relevant.think == timeline(clip.story)
    with pytest.raises(ValueError, match="unknown split"):
        make_world(tmp_path, "validation", 1)


def test_shuffled_queries_come_from_elsewhere_and_do_not_happen(world):
    found = shuffled_samples(world, np.random.default_rng(0))
    again = shuffled_samples(world, np.random.default_rng(0))
    assert [s.query for s in found] == [s.query for s in again]
    for clip, sample in zip(world, found, strict=True):
        assert not happens(clip.story, sample.query)
        assert sample.query in {c.group.relevant.query for c in world if c.path != clip.path}
