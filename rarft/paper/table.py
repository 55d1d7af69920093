"""The paper's experiments as a file of recipes/ lists them."""

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
    """An annotation file and the folder of its videos, relative to the folder of all data. get: where they come
    from."""

    file: str
    videos: str
    get: str


@dataclass(frozen=True)
class Experiment:
    """A test set, and what the paper measured on it.

    published: figure → (base, after RA-RFT) in percent, by the short name of the base.
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
    """What to download, and where to put it, in words."""
    lines = [f"{experiment.title}: what it needs under {data}"]
    for purpose, part in (("test", experiment.test), ("training", experiment.training)):
        lines += ["", f"{purpose}: {data / part.file} and the videos in {data / part.videos}", f"    {part.get}"]
    return "\n".join(lines)
