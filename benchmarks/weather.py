"""What weather does to a model that answers, and to one that refuses: the same clips in each, one nuisance at a time.

    python benchmarks/weather.py --models data/base build/rarft/model      # writes data/results/weather.json

Stories and queries are the same in every row; only the pixels differ. A nuisance is set to the edge of what `rough`
draws, in both directions alternately where it has two. Resumable: rows that the file holds already are kept.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from resume import digest, resumed

from coursekit import ROOT
from rarft.evaluation import predict, scores, summary
from rarft.models import VideoModel
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.world.dataset import clip_weather, draw_clip, group_of
from rarft.world.render import render, write_video
from rarft.world.weather import NUISANCES, WEATHERS, Weather, edge_weather

SEED = 7  # of clips that neither training nor chapter 09 has seen
FIGURES = ("f1", "auroc", "miou", "over_refusal", "refused")


def weather_of(condition: str, index: int) -> Weather:
    """The weather of clip `index`: of a level, or with one nuisance at its edge."""
    if condition in WEATHERS:
        return clip_weather(condition, SEED, "test", index)
    return edge_weather(condition, index)


def clips_in(condition: str, count: int, folder: Path) -> list:
    """The samples of `count` clips, whose videos are written into a folder."""
    samples = []
    for index in range(count):
        drawn = draw_clip(SEED, "test", index)
        weather = weather_of(condition, index)
        path = write_video(render(drawn[0], weather), folder / f"{index}.mp4", weather.fps, crf=weather.crf)
        samples += group_of(str(path), *drawn)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["data/base", "build/rarft/model"])
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "weather.json")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    options = parser.parse_args()
    use_cores(options.threads)
    models = digest(*(ROOT / name for name in options.models))
    setting = {"models": models, "seed": SEED, "clips": options.clips}
    measured = {**resumed(options.out, setting, {"rows": {}}), "machine": machine()}
    opened = {name: VideoModel.load(ROOT / name) for name in options.models}
    for condition in (*WEATHERS, *NUISANCES):
        missing = [name for name in options.models if name not in measured["rows"].get(condition, {})]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            samples = clips_in(condition, options.clips, Path(folder))
            for name in missing:
                predictions = predict(opened[name], samples, desc=f"{condition}, {name}")
                row = summary(scores(predictions))
                measured["rows"].setdefault(condition, {})[name] = {figure: row[figure] for figure in FIGURES}
        write_json(options.out, measured)
        print(condition, {n: {k: round(v, 3) for k, v in r.items()} for n, r in measured["rows"][condition].items()})


if __name__ == "__main__":
    main()
