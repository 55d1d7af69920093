"""The related systems on any HI-VTG file, with the features of any model's vision tower.

    python benchmarks/related_file.py hi_vtg_charades.json --videos /data/charades --model Qwen/Qwen2.5-VL-3B-Instruct \
        --out build/charades_related

Videos are shared out by their name: of ten, six train, one chooses thresholds, three test. Features are kept in OUT;
every training is added to OUT/related.json as soon as it is measured, and OUT/related.md has the table.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from resume import resumed

from rarft.models import VideoModel
from rarft.models.vision_cache import readable_groups
from rarft.related import FeatureBank, System, choose_threshold, measure
from rarft.related.moments import Cycle, Evidential, PhraseAlignment, QueryOnlyBaseline, UniVTG
from rarft.related.moments.training import STEPS
from rarft.related.signals import PRVG
from rarft.schema import Group, Sample
from rarft.system.errors import InputError
from rarft.system.files import write_json, write_text
from rarft.system.machine import machine
from rarft.training.recipe import RunArguments, recipe_groups

SYSTEMS: dict[str, Callable[..., System]] = {
    "UniVTG, foreground": UniVTG,
    "UniVTG, saliency": lambda **options: UniVTG(refuse_by="saliency", **options),
    "cycle": Cycle,
    "evidential": Evidential,
    "phrase alignment": PhraseAlignment,
    "PRVG": PRVG,
    "query only": lambda seed, steps: QueryOnlyBaseline(),
}
NEGATIVES = ("none", "shuffled", "all")
PARTS = {"train": range(6), "validation": range(6, 7), "test": range(7, 10)}
COLUMNS = ("miou", "auroc_hard", "auroc_medium", "auroc_easy", "auroc_shuffled", "f1", "ra_iou", "over_refusal")
Groups = list[Group]


def part_of(video: str) -> str:
    """The part that a video belongs to, by its name alone."""
    number = zlib.crc32(Path(video).stem.encode()) % 10
    return next(part for part, numbers in PARTS.items() if number in numbers)


def with_shuffled(groups: Groups, rng: np.random.Generator) -> Groups:
    """Each group with the relevant query of another video as one more irrelevant sample."""
    found: Groups = []
    for group in groups:
        others = [other.relevant for other in groups if other.video != group.video]
        if others:
            query = others[int(rng.integers(len(others)))].query
            other = replace(group.relevant, query=query, spans=[], answer="", extra={"shuffled": True})
            group = Group(group.relevant, (*group.irrelevant, other))
        found.append(group)
    return found


def kind_of(sample: Sample) -> str:
    """relevant, shuffled, or the difficulty of a hard-irrelevant query: hard, medium, easy."""
    if sample.relevant:
        return "relevant"
    return "shuffled" if sample.extra.get("shuffled") else sample.difficulty.name.lower()


def chosen(groups: Groups, negatives: str) -> Groups:
    """What a setting lets a system see: see `rarft.related.moments.data.query_groups`."""
    if negatives == "none":
        return [Group(group.relevant) for group in groups]
    if negatives == "shuffled":
        return [Group(group.relevant, group.irrelevant[-1:]) for group in groups]
    return groups


def table(rows: list[dict]) -> str:
    lines = [f"| system | negatives | seed | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for row in rows:
        values = [f"{row['figures'][name]:.3f}" if name in row["figures"] else "–" for name in COLUMNS]
        lines.append(f"| {row['system']} | {row['negatives']} | {row['seed']} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an HI-VTG file, or one of a benchmark in the same format")
    parser.add_argument("--videos", type=Path, required=True, help="folder of its videos")
    parser.add_argument("--model", default="data/base", help="whose vision tower reads them")
    parser.add_argument("--fps", type=float, help="frames a second; the model's own by default")
    parser.add_argument("--max-pixels", type=int, help="budget for all frames of a video; the model's own by default")
    parser.add_argument("--one-vector", action="store_true", help="one vector a step, as published features have")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    changes = {"fps": options.fps, "max_pixels": options.max_pixels}
    video_model = VideoModel.load(options.model, changes=changes)
    video_model = video_model.with_cache(folder=options.out / "features", in_memory=1024)
    run = RunArguments(train_data=str(options.file), videos=str(options.videos))
    groups = readable_groups(recipe_groups(run), video_model.cache, on_bad_video="skip")
    unknown = sum(not group.relevant.duration for group in groups)
    if unknown:
        print(f"{unknown} groups are left out: their rows have no duration, and steps are counted in seconds of it")
    groups = [group for group in groups if group.relevant.duration]
    print(f"{len(groups)} groups about {len({group.video for group in groups})} videos", flush=True)
    rng = np.random.default_rng(0)
    parts = {part: with_shuffled([group for group in groups if part_of(group.video) == part], rng) for part in PARTS}
    empty = [part for part, found in parts.items() if not found]
    if empty:
        raise InputError(f"{options.file}: no video for {', '.join(empty)}; more videos are needed")
    setting = {
        "file": options.file.name,
        "model": options.model,
        "steps": options.steps,
        "regions": not options.one_vector,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stored = {**resumed(options.out / "related.json", setting, {"rows": []}), "machine": machine()}
    stored["groups"] = {part: len(found) for part, found in parts.items()}
    done = {(row["system"], row["negatives"], row["seed"]) for row in stored["rows"]}
    bank = FeatureBank(video_model, regions=not options.one_vector)
    asked = {part: [sample for group in parts[part] for sample in group] for part in ("validation", "test")}
    kinds = [kind_of(sample) for sample in asked["test"]]
    for seed in options.seeds:
        for negatives in NEGATIVES:
            for name, make in SYSTEMS.items():
                if (name, negatives, seed) in done or (name == "query only" and negatives != "all"):
                    continue
                system = make(seed=seed, steps=options.steps)
                system.fit(chosen(parts["train"], negatives), bank)
                known = [sample for sample in asked["validation"] if kind_of(sample) != "shuffled"]
                refusals = [answer.refusal for answer in system.answer(known, bank)]
                threshold = choose_threshold([sample.relevant for sample in known], refusals)
                figures = measure(asked["test"], system.answer(asked["test"], bank), kinds, threshold)
                figures = {key: round(float(value), 4) for key, value in figures.items() if value == value}
                row = {"system": name, "negatives": negatives, "seed": seed, "threshold": threshold}
                stored["rows"].append({**row, "parameters": system.parameters, "figures": figures})
                write_json(options.out / "related.json", stored)
                write_text(options.out / "related.md", table(stored["rows"]))
                print(name, negatives, seed, figures, flush=True)


if __name__ == "__main__":
    main()
