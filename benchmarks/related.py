"""What does each related system say to a query that the video does not show? Every system of `rarft.related` on the
same clips, by one protocol, next to the shipped base, trained models and baselines that never look.

    python benchmarks/related.py --seeds 0 1 2 --models data/base build/rarft/model     # 45 minutes a seed on one core

Writes data/results/related.json after each training, and goes on where it stopped. Heads train on 2,400 clips in rough
weather, four queries each. Thresholds come from 100 validation clips; tests are 200 clips, calm, rough and in a storm.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.metrics import auroc
from rarft.models import VideoModel
from rarft.related import Answer, FeatureBank, System, choose_threshold, measure
from rarft.related.long_video import CachedGrounder, Grounder, Index, Vgent
from rarft.related.moments import (
    VTGGPT,
    ConstantBaseline,
    Cycle,
    Evidential,
    PhraseAlignment,
    QueryOnlyBaseline,
    UniVTG,
    order_pairs,
    query_groups,
    timeline_captions,
)
from rarft.related.moments.training import STEPS
from rarft.related.signals import PRVG
from rarft.rewards.encoder import default_encoder
from rarft.schema import Crop, Sample
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.dataset import WorldClip, kind_of, make_world, shuffled_samples
from rarft.world.scenes import Story
from rarft.world.weather import WEATHERS

RESULTS = ROOT / "data" / "results" / "related.json"
TRAIN_CLIPS, QUERIES, VALIDATION_CLIPS, TEST_CLIPS = 2400, 4, 100, 200
TEST_SEED, VALIDATION_SEED = 11, 12


@dataclass(frozen=True)
class Training:
    """One network to train. make: called with `seed` and `steps`. readings: values of `refuse_by`, each measured as a
    row of its own."""

    name: str
    make: Callable[..., System]
    negatives: str
    regions: bool = True
    readings: tuple[str, ...] = ("",)


def trainings() -> Iterator[Training]:
    scores, widths = ("foreground", "saliency"), ("epistemic", "aleatoric")
    for negatives, regions in (("none", True), ("shuffled", True), ("all", True), ("all", False)):
        yield Training("phrase alignment", PhraseAlignment, negatives, regions)
        yield Training("cycle", Cycle, negatives, regions)
        yield Training("UniVTG", UniVTG, negatives, regions, scores)
    for regulariser, negatives in (("geom", "none"), ("original", "none"), ("geom", "all")):
        make = partial(Evidential, regulariser=regulariser)
        yield Training(f"evidential, {regulariser}", make, negatives, readings=widths)
    for negatives in ("none", "all"):
        yield Training("PRVG", PRVG, negatives)
    yield Training("query only", lambda seed, steps: QueryOnlyBaseline(), "all")


WITH_RA_RFT = Training("phrase alignment", PhraseAlignment, "all")  # what is combined with the trained model
TRAINED = "build/rarft/model"
Queries = list[tuple[Sample, Story]]
Answers = Callable[[list[Sample]], list[Answer]]


def queries_of(world: Sequence[WorldClip], *, edits: int | None = None) -> Queries:
    """Relevant, hard-irrelevant (all, or that many per clip) and shuffled queries, each with its clip's story."""
    pairs = [(sample, clip.story) for clip in world for sample in [clip.group.relevant, *clip.group.irrelevant[:edits]]]
    others = shuffled_samples(list(world), np.random.default_rng(0))
    return pairs + [(sample, clip.story) for sample, clip in zip(others, world, strict=True)]


class Protocol:
    """The clips, and how a way to answer becomes a row."""

    def __init__(self, folder: Path):
        validation = make_world(folder / "validation", "train", VALIDATION_CLIPS, seed=VALIDATION_SEED)
        self.validation = queries_of(validation, edits=1)
        self.asked = [sample for sample, _ in self.validation if kind_of(sample) != "shuffled"]
        worlds = {
            weather: make_world(folder / f"test_{weather}", "test", TEST_CLIPS, seed=TEST_SEED, weather=weather)
            for weather in WEATHERS
        }
        self.tests = {weather: queries_of(world) for weather, world in worlds.items()}
        self.turned = {
            weather: [sample for pair in order_pairs(world) for sample in pair] for weather, world in worlds.items()
        }

    def samples(self) -> list[Sample]:
        """Every query of validation and tests."""
        pairs = [*self.validation, *(pair for pairs in self.tests.values() for pair in pairs)]
        return [sample for sample, _ in pairs]

    def row(self, answer: Answers, threshold: float | None = None) -> dict:
        """The figures in each weather at a threshold, from validation where none is given, and the seconds a query
        takes. auroc_turned: of queries with an order against the same with the order reversed."""
        if threshold is None:
            refusals = [found.refusal for found in answer(self.asked)]
            threshold = choose_threshold([sample.relevant for sample in self.asked], refusals)
        figures, started, count = {}, time.perf_counter(), 0
        for weather, pairs in self.tests.items():
            samples = [sample for sample, _ in pairs]
            kinds = [kind_of(sample) for sample in samples]
            figures[weather] = measure(samples, answer(samples), kinds, threshold, [story for _, story in pairs])
            turned = self.turned[weather]
            refusals = [found.refusal for found in answer(turned)]
            figures[weather]["auroc_turned"] = auroc([not sample.relevant for sample in turned], refusals)
            count += len(samples) + len(turned)
        seconds = (time.perf_counter() - started) / count
        return {"threshold": threshold, "seconds_per_query": seconds, "figures": _rounded(figures)}


def _rounded(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        weather: {name: None if np.isnan(value) else round(float(value), 4) for name, value in row.items()}
        for weather, row in figures.items()
    }


def grounder(path: str, folder: Path) -> CachedGrounder:
    """A video language model of the course."""
    return CachedGrounder(VideoModel.load(ROOT / path).with_cache(folder=folder))


def combined(first: Answers, second: Answers, known: list[Sample]) -> Answers:
    """What the first answers, with the refusal scores of both: each score becomes the share of `known` queries that
    score lower, and the mean of the two shares is the score."""
    scales = [np.sort([found.refusal for found in answer(known)]) for answer in (first, second)]

    def shares(answers: list[Answer], scale: np.ndarray) -> np.ndarray:
        return np.searchsorted(scale, [found.refusal for found in answers]) / len(scale)

    def answer(samples: list[Sample]) -> list[Answer]:
        answers = first(samples)
        refusals = (shares(answers, scales[0]) + shares(second(samples), scales[1])) / 2
        return [replace(found, refusal=float(refusal)) for found, refusal in zip(answers, refusals, strict=True)]

    return answer


def of_captions(base: Grounder, protocol: Protocol) -> Iterator[tuple[str, str, System]]:
    """The systems that read what the base writes of a clip, none of which is trained: name, reading and system."""
    clips = {sample.video: sample for sample in protocol.samples()}
    timelines = base.describe([sample.crop for sample in clips.values()])
    captions = {
        sample.crop: timeline_captions(text, round(sample.duration or 0))
        for sample, text in zip(clips.values(), timelines, strict=True)
    }
    yield "VTG-GPT", "scaled", VTGGPT(captions)
    yield "VTG-GPT", "before scaling", VTGGPT(captions, scaled=False)
    encoder = default_encoder()
    indexes = {
        video: Index([Crop(video, 0.0, sample.duration)], [text], encoder)
        for (video, sample), text in zip(clips.items(), timelines, strict=True)
    }
    yield "sub-questions", "", Vgent(indexes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: what needs no training")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    parser.add_argument("--models", nargs="*", default=["data/base", TRAINED])
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "related"
    setting = {
        "base": digest(),
        "steps": options.steps,
        "clips": TRAIN_CLIPS,
        "queries_per_clip": QUERIES,
        "tests": TEST_CLIPS,
    }
    stored = {**resumed(options.out, setting, {"rows": []}), "machine": machine()}
    protocol = Protocol(folder)
    stored["queries"] = {w: dict(Counter(kind_of(s) for s, _ in pairs)) for w, pairs in protocol.tests.items()}
    done = {(row["system"], row["negatives"], row["features"], row["seed"]) for row in stored["rows"]}

    def keep(*rows: dict) -> None:
        """All rows of a training at once: what is done is done whole."""
        stored["rows"] += rows
        write_json(options.out, stored)
        for row in rows:
            tell(row)

    def tell(row: dict) -> None:
        rough = row["figures"]["rough"]
        kinds = ("shuffled", "absent", "bound", "turned")
        print(
            row["system"], row["reading"], row["negatives"], row["features"], row["seed"], f"mIoU {rough['miou']:.2f}"
        )
        print("   ", {kind: rough[f"auroc_{kind}"] for kind in kinds}, "F1", rough["f1"], flush=True)

    trained = grounder(TRAINED, folder / "features")
    base = VideoModel.load().with_cache(folder=folder / "features")
    nothing = {"reading": "", "negatives": "none", "parameters": 0, "minutes": 0.0, "seed": 0}
    if ("never refuses", "none", "none", 0) not in done:
        for name, refusal in (("always refuses", 1.0), ("never refuses", 0.0)):
            row = protocol.row(lambda samples, r=refusal: ConstantBaseline(r).answer(samples, FeatureBank(base)), 0.5)
            keep({"system": name, "features": "none", **nothing, **row})
    for path in options.models:
        if (path, "none", "tokens", 0) not in done:
            asked = trained if path == TRAINED else grounder(path, folder / "features")
            model_row = protocol.row(asked.answer)
            keep({"system": path, "features": "tokens", **nothing, **model_row})
    if ("VTG-GPT", "none", "captions", 0) not in done:
        rows, bank = [], FeatureBank(base)
        for name, reading, system in of_captions(grounder("data/base", folder / "features"), protocol):
            row = protocol.row(lambda samples, s=system, b=bank: s.answer(samples, b))
            rows.append({"system": name, "features": "captions", **nothing, "reading": reading, **row})
        keep(*rows)
    world = make_world(folder / "train", "train", TRAIN_CLIPS)
    for seed in options.seeds:
        for training in trainings():
            features = "regions" if training.regions else "one vector"
            if (training.name, training.negatives, features, seed) in done:
                continue
            bank = FeatureBank(base, regions=training.regions)
            groups = query_groups(world, negatives=training.negatives, queries=QUERIES, seed=seed)
            bank.videos([group.relevant for group in groups])
            system, started = training.make(seed=seed, steps=options.steps), time.perf_counter()
            system.fit(groups, bank)
            minutes = (time.perf_counter() - started) / 60
            cost = {"parameters": system.parameters, "minutes": round(minutes, 2)}
            shared = {"negatives": training.negatives, "features": features, "seed": seed, **cost}
            rows = []
            for reading in training.readings:
                if reading:
                    system.refuse_by = reading  # type: ignore[attr-defined]
                row = protocol.row(lambda samples, s=system, b=bank: s.answer(samples, b))
                rows.append({"system": training.name, "reading": reading, **shared, **row})
            if training == WITH_RA_RFT:
                both = combined(trained.answer, lambda samples: system.answer(samples, bank), protocol.asked)  # noqa: B023
                rows.append({"system": "RA-RFT and phrases", "reading": "", **shared, **protocol.row(both)})
            keep(*rows)


if __name__ == "__main__":
    main()
