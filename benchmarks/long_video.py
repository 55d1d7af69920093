"""When does it happen in ten minutes, and does it at all? A grounder that sees the whole video, every window, or what
retrieval finds (`rarft.related.long_video`).

    python benchmarks/long_video.py            # 40 minutes on one core; goes on where it stopped

Writes data/results/long_video.json. Videos are 40 world clips of 16 seconds in one file. The base writes the captions;
the base (in rough weather) and the model of chapter 09 (in all) look. Thresholds and the router come from other videos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from resume import digest, resumed

from coursekit import BUILD, ROOT
from rarft.metrics import auroc, best_iou, mean
from rarft.models import VideoModel
from rarft.related import Answer, choose_threshold, measure
from rarft.related.long_video import (
    AdaVideoRAG,
    CachedGrounder,
    Grounder,
    Index,
    NearestWindows,
    NoRetrieval,
    Router,
    SqueezedGrounder,
    Vgent,
    WindowedGrounder,
    enriched_queries,
    every_window,
    squeezing_reader,
)
from rarft.related.long_video.ada_video_rag import add_time, split_time
from rarft.related.long_video.expansion import farthest_points, ranking
from rarft.related.long_video.videos import (
    PART_SECONDS,
    PARTS,
    LongVideo,
    kind_of_question,
    make_long_video,
    parts_of,
    questions_about,
)
from rarft.rewards.encoder import default_encoder
from rarft.schema import Sample
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.language import paraphrases, parse
from rarft.world.weather import WEATHERS

RESULTS = ROOT / "data" / "results" / "long_video.json"
TEST_VIDEOS, OTHER_VIDEOS, DRAWS = 3, 2, 12  # a draw gives three questions about a video
ROUTER_DRAWS = 60
TEST_SEED, VALIDATION_SEED, ROUTER_SEED = 31, 32, 33
SEEMS = 20.0  # seconds that a whole video is squeezed into: the longest clip that the base has seen
TRAINED = "build/rarft/model"
LOOKING = {TRAINED: WEATHERS, "data/base": ("rough",)}  # models, and where they look
OWN = 0.5  # threshold at which a model follows its own answer
Answers = Callable[[list[Sample]], list[Answer]]


class Set:
    """Videos of one weather and seed, questions about them, and what the base wrote of their parts."""

    def __init__(self, folder: Path, base: Grounder, weather: str, seed: int, videos: int, draws: int = DRAWS):
        self.videos = [make_long_video(folder, i, seed=seed, weather=weather) for i in range(videos)]
        self.questions: list[Sample] = []
        self.indexes: dict[str, Index] = {}
        self.plain: dict[str, Index] = {}  # of short captions
        self.read: list[bool] = []  # which parts the captions tell as they were
        for video in self.videos:
            others = [other for other in self.videos if other is not video]
            asked = questions_about(video, others, draws, seed=seed)
            parts = parts_of(asked[0])
            timelines = base.describe(parts)
            index = Index(parts, timelines, default_encoder())
            self.indexes[str(video.path)] = index
            self.plain[str(video.path)] = Index(parts, timelines, default_encoder(), plain=True)
            self.read += [seen == story for seen, story in zip(index.stories, video.stories, strict=True)]
            self.questions += asked

    @property
    def kinds(self) -> list[str]:
        return [kind_of_question(sample) for sample in self.questions]


def ways(data: Set, look: CachedGrounder, whole: Grounder) -> dict[str, Answers]:
    """How questions about these videos are answered, by name."""
    vgent = Vgent(data.indexes)
    return {
        "whole video": SqueezedGrounder(whole, SEEMS).answer,
        "every window": WindowedGrounder(look, every_window).answer,
        **{f"nearest {k}": WindowedGrounder(look, NearestWindows(data.indexes, k)).answer for k in (1, 3, 5)},
        "graph and sub-questions": WindowedGrounder(look, vgent.choose).answer,
        "sub-questions alone": vgent.answer,
    }


def figures_of(data: Set, answers: list[Answer], threshold: float) -> dict[str, float]:
    """The protocol's figures, and what the model's own answers are worth, without a threshold."""
    found = measure(data.questions, answers, data.kinds, threshold)
    own = measure(data.questions, answers, data.kinds, OWN)
    return rounded({**found, "f1_own": own["f1"], "over_refusal_own": own["over_refusal"]})


def rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else round(float(value), 4) for name, value in figures.items()}


def threshold_on(data: Set, answers: list[Answer]) -> float:
    chosen = [i for i, kind in enumerate(data.kinds) if kind != "shuffled"]
    return choose_threshold([data.questions[i].relevant for i in chosen], [answers[i].refusal for i in chosen])


def chances(data: Set, look: CachedGrounder) -> list[dict[str, float]]:
    """How often an irrelevant question is answered somewhere if n windows are looked at, and how often it would be if
    each window were as likely as any other, apart from the others."""
    rows = [i for i, sample in enumerate(data.questions) if not sample.relevant]
    accepted = np.array(
        [
            [look.known[crop, data.questions[i].query].refusal <= OWN for crop in parts_of(data.questions[i])]
            for i in rows
        ]
    )
    rng = np.random.default_rng(0)
    table = []
    for n in (1, 2, 3, 5, 10, 20, PARTS):
        drawn = [accepted[:, rng.permutation(PARTS)[:n]].any(1).mean() for _ in range(200)]
        table.append({"windows": n, "answered": mean(drawn), "independent": 1 - (1 - accepted.mean()) ** n})
    return [{name: round(float(value), 4) for name, value in row.items()} for row in table]


def expansions(data: Set) -> list[dict[str, Any]]:
    """Retrieval by the query alone and by several versions of it: is the right part found, and does the refusal score
    separate the kinds?"""
    encoder, rng = default_encoder(), np.random.default_rng(0)

    def farthest(versions: list[str], count: int) -> list[str]:
        return [versions[i] for i in farthest_points(encoder(versions), count)]

    def enriched(query: str, count: int) -> list[str]:
        return [query, *dict.fromkeys(enriched_queries(query, count, rng))]

    versions: dict[str, Callable[[str], list[str]]] = {
        "the query": lambda query: [query],
        "paraphrases": paraphrases,
        "drifted, first 4": lambda query: enriched(query, 12)[:4],
        "drifted, farthest 4": lambda query: farthest(enriched(query, 12), 4),
        "drifted, all": lambda query: enriched(query, 12),
    }
    rows = []
    for captions, indexes in (("all that is seen", data.indexes), ("colour, shape, action", data.plain)):
        for name, expand in versions.items():
            ranks, refusals = [], []
            for sample in data.questions:
                index, written = indexes[sample.video], expand(sample.query)
                refusals.append(-float(index.similarity(written).mean(0).max()))
                if sample.relevant:
                    part = int(sample.spans[0].start // PART_SECONDS)
                    ranks.append(int(np.flatnonzero(ranking(index, written) == part)[0]))
            kinds, irrelevant = np.array(data.kinds), np.array([not sample.relevant for sample in data.questions])
            separated = {
                f"auroc_{kind}": auroc(irrelevant[rows_], np.array(refusals)[rows_])
                for kind in ("edited", "shuffled")
                for rows_ in [np.isin(kinds, ["relevant", kind])]
            }
            found = {f"r{k}": mean(np.array(ranks) < k) for k in (1, 3, 5)}
            rows.append({"captions": captions, "versions": name, **rounded({**found, **separated})})
    return rows


def drift_figures(data: Set, look: CachedGrounder) -> dict[str, float]:
    """Versions of relevant queries, asked about the part that shows the query: how many still happen there, and does
    the model tell those that do not from paraphrases?"""
    rng, asked, happens = np.random.default_rng(1), [], []
    video_of = {str(video.path): video for video in data.videos}
    for sample in (sample for sample in data.questions if sample.relevant):
        part = int(sample.spans[0].start // PART_SECONDS)
        video: LongVideo = video_of[sample.video]
        for written in [*paraphrases(sample.query), *enriched_queries(sample.query, 3, rng)]:
            query = parse(written)
            assert query is not None
            crop = parts_of(sample)[part]
            asked.append(Sample(sample.video, written, duration=float(PART_SECONDS), start=crop.start, end=crop.end))
            spans = [span for span in video.spans_of(query) if (crop.start or 0) <= span.start < (crop.end or 0)]
            happens.append((bool(spans), query.plain == parse(sample.query).plain))  # type: ignore[union-attr]
    refusals = np.array([answer.refusal for answer in look.answer(asked)])
    true, same = np.array(happens).T
    chosen = same | ~true
    return rounded(
        {
            "drifted_that_happen": mean(true[~same]),
            "auroc": auroc(~true[chosen], refusals[chosen]),
            "refused_drifted": mean(refusals[~true] > OWN),
            "refused_paraphrases": mean(refusals[same] > OWN),
        }
    )  # type: ignore[return-value]


ROUTES = ("no retrieval", "nearest 3", "graph and sub-questions")  # the cheapest first


def with_times(data: Set) -> list[Sample]:
    """Every second draw of questions names a time: that of the part which shows the relevant one of the draw."""
    asked = []
    for i in range(0, len(data.questions), 3):
        draw = data.questions[i : i + 3]
        begin = draw[0].spans[0].start // PART_SECONDS * PART_SECONDS
        asked += draw if i // 3 % 2 else [replace(s, query=add_time(s.query, begin)) for s in draw]
    return asked


def routes(data: Set, look: CachedGrounder, whole: Grounder) -> dict[str, Answers]:
    direct = NoRetrieval(look, SqueezedGrounder(whole, SEEMS))
    return {"no retrieval": direct.answer, **{name: ways(data, look, whole)[name] for name in ROUTES[1:]}}


def is_right(sample: Sample, answer: Answer) -> bool:
    """Refused, or a segment with an IoU of at least 0.5, whichever is due."""
    refused = answer.refusal > OWN
    return refused if not sample.relevant else not refused and best_iou([answer.span], sample.spans) >= 0.5


def routed(train: Set, test: Set, look: CachedGrounder, whole: Grounder) -> list[dict[str, Any]]:
    """Each route for all questions, and the router's choice: right answers and looks a question."""
    # Relevant ones alone: an irrelevant question is refused, and so "right", by a way that has seen nothing.
    asked = [sample for sample in with_times(train) if sample.relevant]
    bare = [split_time(sample) for sample in asked]
    right = {
        name: [is_right(s, a) for s, a in zip(asked, answer(bare), strict=True)]
        for name, answer in routes(train, look, whole).items()
    }
    router = Router(ROUTES)
    router.fit([sample.query for sample in asked], right)
    questions, ways_ = with_times(test), routes(test, look, whole)
    adaptive = AdaVideoRAG(router, ways_)
    rows = []
    for name, answer in {**ways_, "router": adaptive.answer}.items():
        before = look.asked + whole.asked
        samples = questions if name == "router" else [split_time(sample) for sample in questions]
        answers = answer(samples)
        good = [is_right(s, a) for s, a in zip(questions, answers, strict=True)]
        looks = (look.asked + whole.asked - before) / len(questions)
        by_kind = {
            f"right_{kind}": mean([g for g, s in zip(good, questions, strict=True) if kind_of_question(s) == kind])
            for kind in ("relevant", "edited", "shuffled")
        }
        rows.append({"way": name, **rounded({"right": mean(good), **by_kind, "looks": looks})})
    shares = {f"to_{name}": adaptive.routes.count(name) / len(questions) for name in ROUTES}
    rows[-1] |= rounded(shares)
    return rows


def grounder(path: str, **reading: Any) -> CachedGrounder:
    return CachedGrounder(VideoModel.load(ROOT / path).with_cache(**reading))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    use_cores(options.threads)
    folder = BUILD / "long_video"
    setting = {"base": digest(), "videos": TEST_VIDEOS, "draws": DRAWS, "parts": PARTS, "part_seconds": PART_SECONDS}
    stored = {
        **resumed(options.out, setting, {"rows": [], "retrieval": [], "looks": [], "routes": []}),
        "machine": machine(),
    }
    base = grounder("data/base")
    validation = Set(folder, base, "rough", VALIDATION_SEED, OTHER_VIDEOS)
    router_set = Set(folder, base, "rough", ROUTER_SEED, OTHER_VIDEOS, ROUTER_DRAWS)
    tests = {weather: Set(folder, base, weather, TEST_SEED, TEST_VIDEOS) for weather in WEATHERS}
    for weather, data in tests.items():
        if weather not in [row["weather"] for row in stored["retrieval"]]:
            read = round(mean(data.read), 4)
            stored["retrieval"] += [{"weather": weather, "parts_read": read, **row} for row in expansions(data)]
            write_json(options.out, stored)
    for path, weathers in LOOKING.items():
        look, whole = grounder(path), grounder(path, reader=squeezing_reader(SEEMS))
        for weather in weathers:
            if (path, weather) in {(row["model"], row["weather"]) for row in stored["looks"]}:
                continue
            rows, extra = looked(tests[weather], validation, look, whole)
            about = {"model": path, "weather": weather}
            stored["rows"] += [{**about, **row} for row in rows]
            stored["looks"].append({**about, **extra})
            write_json(options.out, stored)
            print(json.dumps([about, rows, extra], indent=1), flush=True)
    look, whole = grounder(TRAINED), grounder(TRAINED, reader=squeezing_reader(SEEMS))
    for weather in WEATHERS:
        if weather not in {row["weather"] for row in stored["routes"]}:
            stored["routes"] += [{"weather": weather, **row} for row in routed(router_set, tests[weather], look, whole)]
            write_json(options.out, stored)
            print(json.dumps(stored["routes"][-4:], indent=1), flush=True)


def looked(
    data: Set, validation: Set, look: CachedGrounder, whole: CachedGrounder
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each way, and what else the looks at these videos tell."""
    rows = []
    for name, answer in ways(data, look, whole).items():
        threshold = threshold_on(validation, ways(validation, look, whole)[name](validation.questions))
        before = look.asked + whole.asked
        answers = answer(data.questions)
        looks = (look.asked + whole.asked - before) / len(data.questions)
        row = {"way": name, "threshold": threshold, "looks": round(looks, 2)}
        rows.append({**row, "figures": figures_of(data, answers, threshold)})
    return rows, {"chances": chances(data, look), "drift": drift_figures(data, look)}


if __name__ == "__main__":
    main()
