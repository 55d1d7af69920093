"""What does each related system say to a query that the video does not show? Every system of `rarft.related` on the
same clips, by one protocol, beside the shipped base, trained models and policies that do not look.

    python benchmarks/related.py --seeds 0 1 2 --models data/base build/rarft/model     # 45 minutes a seed on one core

Writes data/results/related.json after each training, and goes on where it stopped. Heads train on 2,400 clips in rough
weather, four queries each. Thresholds come from 100 validation clips; tests are 200 clips, calm, rough and in a storm.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from resume import digest, resumed

from rarft.course import BUILD, ROOT
from rarft.evaluation import predict
from rarft.files import write_json
from rarft.machine import machine
from rarft.models import VisionCache, freeze_vision, load_model, open_model
from rarft.related import VTGGPT, Answer, Bank, Cycle, Evidential, PhraseAlignment, System, UniVTG
from rarft.related.blocks import STEPS
from rarft.related.data import training_groups
from rarft.related.policies import Constant, QueryOnly
from rarft.related.protocol import choose_threshold, measure
from rarft.related.vtg_gpt import timeline_captions
from rarft.schema import Sample, Span
from rarft.world.dataset import WorldClip, kind_of, make_world, shuffled
from rarft.world.scenes import Story

RESULTS = ROOT / "data" / "results" / "related.json"
TRAIN_CLIPS, QUERIES, VALIDATION_CLIPS, TEST_CLIPS = 2400, 4, 100, 200
TEST_SEED, VALIDATION_SEED = 11, 12
WEATHERS = ("calm", "rough", "storm")


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
    yield Training("query only", lambda seed, steps: QueryOnly(), "all")


Queries = list[tuple[Sample, Story]]


def queries_of(world: Sequence[WorldClip], *, edits: int | None = None) -> Queries:
    """Relevant, hard-irrelevant (all, or so many a clip) and shuffled queries, each with its clip's story."""
    pairs = [(sample, clip.story) for clip in world for sample in clip.samples[: None if edits is None else 1 + edits]]
    others = shuffled(list(world), np.random.default_rng(0))
    return pairs + [(sample, clip.story) for sample, clip in zip(others, world, strict=True)]


class Protocol:
    """The clips, and how a way to answer becomes a row."""

    def __init__(self, folder: Path):
        validation = make_world(folder / "validation", "train", VALIDATION_CLIPS, seed=VALIDATION_SEED)
        self.validation = queries_of(validation, edits=1)
        self.tests = {
            weather: queries_of(
                make_world(folder / f"test_{weather}", "test", TEST_CLIPS, seed=TEST_SEED, weather=weather)
            )
            for weather in WEATHERS
        }

    def row(self, answer: Callable[[list[Sample]], list[Answer]], threshold: float | None = None) -> dict:
        """The figures in each weather at a threshold, from validation where none is given, and the seconds a query
        takes."""
        if threshold is None:
            asked = [sample for sample, _ in self.validation if kind_of(sample) != "shuffled"]
            threshold = choose_threshold([s.relevant for s in asked], [a.refusal for a in answer(asked)])
        figures, started, count = {}, time.perf_counter(), 0
        for weather, pairs in self.tests.items():
            samples = [sample for sample, _ in pairs]
            kinds = [kind_of(sample) for sample in samples]
            figures[weather] = measure(samples, answer(samples), kinds, threshold, [story for _, story in pairs])
            count += len(samples)
        seconds = (time.perf_counter() - started) / count
        return {"threshold": threshold, "seconds_per_query": seconds, "figures": _rounded(figures)}


def _rounded(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        weather: {name: None if np.isnan(value) else round(float(value), 4) for name, value in row.items()}
        for weather, row in figures.items()
    }


def language_model(path: str, folder: Path) -> tuple[Callable[[list[Sample]], list[Answer]], dict]:
    """How a video language model answers, and the timelines that it wrote: crop → think.

    Where it refuses, its segment is empty, so that mIoU counts refused relevant queries as 0. Its refusal score is its
    own probability of refusing."""
    model, processor, _ = open_model(ROOT / path)
    freeze_vision(model)
    cache, said = VisionCache(model, processor, folder=folder), {}

    def answer(samples: list[Sample]) -> list[Answer]:
        answers = []
        for prediction in predict(model, processor, samples, vision_cache=cache, desc=path):
            response = prediction.response
            said.setdefault(prediction.sample.crop, response.think or "")
            span = response.spans[0] if response.spans else Span(0.0, 0.0)
            doubt = prediction.refusal_probability
            texts = (response.answer, response.correction) if response.refused else (None, None)
            answers.append(Answer(span, 0.5 if doubt is None else doubt, *texts))
        return answers

    return answer, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: what needs no training")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    parser.add_argument("--models", nargs="*", default=["data/base", "build/rarft/model"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
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
        kinds = ("shuffled", "absent", "bound", "order")
        print(
            row["system"], row["reading"], row["negatives"], row["features"], row["seed"], f"mIoU {rough['miou']:.2f}"
        )
        print("   ", {kind: rough[f"auroc_{kind}"] for kind in kinds}, "F1", rough["f1"], flush=True)

    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    cache = VisionCache(model, processor, folder=folder / "features")
    nothing = {"reading": "", "negatives": "none", "parameters": 0, "minutes": 0.0, "seed": 0}
    if ("never refuses", "none", "none", 0) not in done:
        for name, refusal in (("always refuses", 1.0), ("never refuses", 0.0)):
            row = protocol.row(lambda samples, r=refusal: Constant(r).answer(samples, Bank(cache)), 0.5)
            keep({"system": name, "features": "none", **nothing, **row})
    for path in options.models:
        if (path, "none", "tokens", 0) in done:
            continue
        answer, said = language_model(path, folder / "features")
        rows = [{"system": path, "features": "tokens", **nothing, **protocol.row(answer)}]
        if path == "data/base":
            captions = {crop: timeline_captions(think, _seconds(protocol, crop)) for crop, think in said.items()}
            for scaled, reading in ((True, "scaled"), (False, "before scaling")):
                system, bank = VTGGPT(captions, scaled=scaled), Bank(cache)
                row = protocol.row(lambda samples, s=system, b=bank: s.answer(samples, b))
                rows.append({"system": "VTG-GPT", "features": "captions", **nothing, "reading": reading, **row})
        keep(*rows)
    world = make_world(folder / "train", "train", TRAIN_CLIPS)
    for seed in options.seeds:
        for training in trainings():
            features = "regions" if training.regions else "one vector"
            if (training.name, training.negatives, features, seed) in done:
                continue
            bank = Bank(cache, regions=training.regions)
            groups = training_groups(world, negatives=training.negatives, queries=QUERIES, seed=seed)
            bank.videos([group[0] for group in groups])
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
            keep(*rows)


def _seconds(protocol: Protocol, crop: object) -> int:
    pairs = [*protocol.validation, *(pair for pairs in protocol.tests.values() for pair in pairs)]
    return next(round(sample.duration or 0) for sample, _ in pairs if sample.crop == crop)


if __name__ == "__main__":
    main()
