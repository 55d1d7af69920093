"""The paper's experiments: `rarft reproduce NAME` checks, estimates, trains, measures and compares."""

from rarft.reproduction.check import Checked, FoundVideo, check_videos
from rarft.reproduction.estimate import estimate, video_tokens
from rarft.reproduction.run import Plan, Stage, prepare, result, run_stages, stages
from rarft.reproduction.table import BASES, DataSet, Experiment, experiments, what_to_get

__all__ = [
    "BASES", "Checked", "DataSet", "Experiment", "FoundVideo", "Plan", "Stage", "check_videos", "estimate",
    "experiments", "prepare", "result", "run_stages", "stages", "video_tokens", "what_to_get",
]  # fmt: skip
