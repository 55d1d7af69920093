"""The paper's experiments, read from recipes/paper/experiments.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from rarft.system.files import RECIPES, read_text

BASES = ("time-r1-7b", "videochat-r1-7b", "videochat-r1-think-7b", "qwen2.5-vl-3b", "qwen2.5-vl-7b")


@dataclass(frozen=True)
class DataSet:
    """An annotation file and the folder of its videos, relative to the data folder. get: how to obtain them."""

    file: str
    videos: str
    get: str


@dataclass(frozen=True)
class Experiment:
    """A test set, the training set, and the paper's figures.

    published: base → figure → (before, after RA-RFT) in percent; bases have the short names of `BASES`.
    """

    name: str
    title: str
    test: DataSet
    training: DataSet
    published: Mapping[str, Mapping[str, tuple[float, float]]]


@cache
def experiments() -> dict[str, Experiment]:
    """Every experiment of recipes/paper/experiments.yaml by its name."""
    listed = yaml.safe_load(read_text(RECIPES / "paper" / "experiments.yaml"))
    training = DataSet(**listed["training"])
    return {
        name: Experiment(
            name,
            row["title"],
            DataSet(row["file"], row["videos"], row["get"]),
            training,
            {
                base: {figure: (before, after) for figure, (before, after) in figures.items()}
                for base, figures in row["published"].items()
            },
        )
        for name, row in listed["experiments"].items()
    }


def what_to_get(experiment: Experiment, data: Path) -> str:
    """Instructions: what to download, and where to put it."""
    lines = [f"{experiment.title}: what it needs under {data}"]
    for purpose, part in (("test", experiment.test), ("training", experiment.training)):
        lines += ["", f"{purpose}: {data / part.file} and the videos in {data / part.videos}", f"    {part.get}"]
    return "\n".join(lines)
