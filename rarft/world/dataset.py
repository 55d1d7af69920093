"""Folders of world videos: `clips/*.mp4`, `stories.jsonl` (the truth) and `hi_vtg.json` (HI-VTG's own format).

Clip i of a folder depends only on (seed, split, i): a folder can be grown or resumed, and is the same everywhere.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rarft.hivtg.official import rows_of
from rarft.schema import Difficulty, Group, Sample
from rarft.system.errors import InputError
from rarft.system.files import Field, json_lines, json_text, read_json, write_text
from rarft.system.processes import worker_pool
from rarft.system.progress import progress
from rarft.world.edits import Edit, edit_query, sample_query
from rarft.world.language import Slots, parse
from rarft.world.render import render, write_video
from rarft.world.scenes import Actor, Event, Setting, Story, held_out, sample_story
from rarft.world.timelines import timeline
from rarft.world.truth import explain, spans_of
from rarft.world.weather import Weather, draw_weather
from rarft.world.wordings import draw_form

SPLITS = ("align", "train", "test")  # align: short clips, one event for each actor
ALIGN_SECONDS = (3, 4, 5, 6, 7, 8)
LIST = Field("a list", lambda value: isinstance(value, list))
DIFFICULTIES = (Difficulty.HARD, Difficulty.MEDIUM, Difficulty.EASY)  # one, two and three edits


@dataclass(frozen=True)
class WorldClip:
    """A video of the world, the story that it shows, and a group of samples about it."""

    path: Path
    story: Story
    _group: Group | None

    @property
    def group(self) -> Group:
        """One query that the clip shows, and its hard-irrelevant edits. Raises InputError for a clip of "align"."""
        if self._group is None:
            raise InputError(f'{self.path}: a clip of the split "align" has no query')
        return self._group


def story_to_json(story: Story) -> dict:
    """A story as plain JSON types."""
    return asdict(story)


def story_from_json(data: dict) -> Story:
    """The inverse of `story_to_json`. Raises KeyError or TypeError if a field is missing or unknown."""
    actors = tuple(Actor(**{**a, "events": tuple(Event(**e) for e in a["events"])}) for a in data["actors"])
    settings = tuple(Setting(**s) for s in data["settings"])
    return Story(**{**data, "actors": actors, "settings": settings})


def stories_of(samples: Sequence[Sample], folder: Path) -> list[Story]:
    """The stories of samples that were read from hi_vtg.json in `folder`. Line i of stories.jsonl belongs to row i.

    Raises MissingFileError, or InputError that names the line that is not a story, or says that stories are missing.
    """
    path, stories = folder / "stories.jsonl", []
    for place, row in json_lines(path, {"actors": LIST, "settings": LIST}):
        try:
            stories.append(story_from_json(row))
        except (KeyError, TypeError) as error:
            raise InputError(f"{place}: not a story of `rarft world` ({error!r}); make the folder again") from error
    rows = [sample.extra["row"] for sample in samples]
    if max(rows, default=-1) >= len(stories):
        raise InputError(
            f"{path}: {len(stories)} stories, but hi_vtg.json has {max(rows) + 1} rows; make the folder again"
        )
    return [stories[row] for row in rows]


def clip_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one clip: independent of all others."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index])


def draw_clip(seed: int, split: str, index: int) -> tuple[Story, Slots | None, dict[Difficulty, Edit]]:
    """The story of clip `index`, a query that it shows, and hard-irrelevant edits of that query by difficulty.

    "align": no query. "train": edits at all three difficulties, nothing held out is shown or named.
    "test": one edit at a random difficulty; the query or its edit names a held-out combination (see `held_out`), and
    every second clip's queries take the wordings that training never shows where their slots have one (see
    `rarft.world.wordings`).
    Whole clips are drawn again until they fit. Drawing only the edit again would make held-out words more
    frequent in irrelevant queries, and so reveal which is which.
    """
    rng = clip_rng(seed, split, index)
    if split == "align":
        return sample_story(rng, duration=int(rng.choice(ALIGN_SECONDS))), None, {}
    wording = clip_rng(seed, f"wording of {split}", index)
    form = draw_form(wording, unseen=split == "test" and bool(wording.random() < 0.5))
    while True:
        story = sample_story(rng, seen_only=split == "train")
        query = replace(sample_query(story, rng), form=form)
        edits = draw_edits(story, query, rng, DIFFICULTIES if split == "train" else (DIFFICULTIES[rng.integers(3)],))
        if edits and names_held_out(query, edits) == (split == "test"):
            return story, query, edits


def draw_edits(
    story: Story, query: Slots, rng: np.random.Generator, difficulties: Sequence[Difficulty] = DIFFICULTIES
) -> dict[Difficulty, Edit] | None:
    """An edit of a query at each of these difficulties. None if one of them has no edit, or if the query happens more
    than once."""
    drawn = {level: edit_query(story, query, DIFFICULTIES.index(level) + 1, rng) for level in difficulties}
    edits = {level: edit for level, edit in drawn.items() if edit is not None}
    return edits if len(edits) == len(drawn) and len(spans_of(story, query)) == 1 else None


def names_held_out(query: Slots, edits: Mapping[Difficulty, Edit]) -> bool:
    """Whether a query or one of its edits names a held-out combination."""
    return any(held_out(q.colour, q.shape, q.action) for q in (query, *(edit.query for edit in edits.values())))


def group_of(path: str, story: Story, query: Slots, edits: dict[Difficulty, Edit]) -> Group:
    """The group of a clip that `draw_clip` drew: an irrelevant sample for each edit."""
    relevant = Sample(
        path,
        query.sentence(),
        spans_of(story, query),
        duration=float(story.duration),
        think=timeline(story),
        extra={"unseen": query.unseen},
    )
    irrelevant = tuple(
        replace(
            relevant,
            query=edit.query.sentence(),
            spans=[],
            answer=edit.answer,
            correction=relevant.query,
            categories=list(edit.categories),
            difficulty=level,
            extra={"bound": edit.bound, "unseen": edit.query.unseen},
        )
        for level, edit in edits.items()
    )
    return Group(relevant, irrelevant)


def make_world(
    folder: str | Path,
    split: str,
    clips: int,
    *,
    seed: int = 0,
    weather: str = "rough",
    processes: int | None = None,
) -> list[WorldClip]:
    """Write `clips` videos of a split and their truth, then read them back. What exists already is kept: where all of
    it exists, nothing is written, so that several processes can read a folder.

    Args:
        weather: one of `rarft.world.weather.WEATHERS`. Stories and queries are the same in each.

    Raises InputError for an unknown split or weather, or if the folder holds clips with other settings.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    folder = Path(folder)
    _record_settings(folder, {"split": split, "seed": seed, "weather": weather})
    jobs = [(folder, split, seed, index, weather) for index in range(clips)]
    jobs = [job for job in jobs if not _clip_path(folder, job[3]).exists()]
    if jobs:
        with worker_pool(processes) as pool:
            for _ in progress(pool.map(_write_clip, jobs, chunksize=16), total=len(jobs), desc=f"{split} clips"):
                pass
    world = []
    for index in range(clips):
        path, (story, query, edits) = _clip_path(folder, index), draw_clip(seed, split, index)
        world.append(WorldClip(path, story, group_of(str(path), story, query, edits) if query else None))
    _write_changed(folder / "stories.jsonl", "".join(json.dumps(story_to_json(clip.story)) + "\n" for clip in world))
    if split != "align":
        rows = rows_of([clip.group for clip in world])
        rows = [{**row, "video": f"clips/{Path(row['video']).name}"} for row in rows]
        _write_changed(folder / "hi_vtg.json", json_text(rows))
    return world


def _write_changed(path: Path, text: str) -> None:
    """Write a text file, unless it has that text already."""
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)


def _clip_path(folder: Path, index: int) -> Path:
    return folder / "clips" / f"{index:05d}.mp4"


def _record_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write down how the clips of a folder are made. Raises InputError if it holds clips with other settings."""
    path = folder / "world.json"
    before = read_json(path) if path.exists() else settings
    changed = [f"{name} {before.get(name)!r}" for name in settings if before.get(name) != settings[name]]
    if changed:
        raise InputError(f"{folder}: holds clips made with {', '.join(changed)}; delete the folder or choose another")
    _write_changed(path, json_text(settings))


def clip_weather(name: str, seed: int, split: str, index: int) -> Weather:
    """The weather of clip `index`, from a generator that neither its story nor its queries are drawn from."""
    return draw_weather(name, clip_rng(seed, f"weather of {split}", index))


def _write_clip(job: tuple[Path, str, int, int, str]) -> None:
    folder, split, seed, index, name = job
    weather = clip_weather(name, seed, split, index)
    frames = render(draw_clip(seed, split, index)[0], weather)
    write_video(frames, _clip_path(folder, index), weather.fps, crf=weather.crf)


def kind_of(sample: Sample) -> str:
    """relevant, shuffled, or of a hard-irrelevant query: order (only the order of actions is wrong), bound (each new
    word is true of something else in the clip), or absent."""
    if sample.relevant:
        return "relevant"
    if "bound" not in sample.extra:
        return "shuffled"
    if [category.short for category in sample.categories] == ["ActionSequence"]:
        return "order"
    return "bound" if sample.extra["bound"] else "absent"


def shuffled_samples(world: Sequence[WorldClip], rng: np.random.Generator) -> list[Sample]:
    """Simply-shuffled queries (SS-VTG): for each clip, the relevant query of another one that does not happen here."""
    samples = []
    for clip in world:
        relevant = clip.group.relevant
        query, answer = _query_of_another_clip(clip, world, rng)
        irrelevant = replace(relevant, query=query, spans=[], answer=answer, correction=relevant.query, extra={})
        samples.append(replace(irrelevant, difficulty=Difficulty.SHUFFLED))
    return samples


def _query_of_another_clip(clip: WorldClip, world: Sequence[WorldClip], rng: np.random.Generator) -> tuple[str, str]:
    """A query of another clip that does not happen in this one, and its refusal here."""
    while True:
        other = world[int(rng.integers(len(world)))].group.relevant
        slots = parse(other.query)
        if other.video == str(clip.path) or slots is None or spans_of(clip.story, slots):
            continue
        answer = explain(clip.story, slots)
        if answer:
            return other.query, answer
