"""The paper's experiments: `rarft reproduce NAME` checks the files, estimates the cost, trains, evaluates and compares.

`stand_in_model` and `stand_in_videos` write small replacements for the weights and videos, with the same names, lengths
and geometry, so that every command can be tried before downloading data or renting GPUs.
"""

from rarft.paper.estimate import estimate, video_tokens
from rarft.paper.inventory import FoundVideo, Inventory, take_inventory
from rarft.paper.run import Phase, Plan, phases, prepare, result, run_phases
from rarft.paper.stand_in_model import small_model, write_small_model
from rarft.paper.stand_in_videos import lengths_of, write_stand_ins
from rarft.paper.table import BASES, DataSet, Experiment, experiments, what_to_get

__all__ = [
    "BASES", "DataSet", "Experiment", "FoundVideo", "Inventory", "Phase", "Plan", "estimate", "experiments",
    "lengths_of", "phases", "prepare", "result", "run_phases", "small_model", "take_inventory",
    "video_tokens", "what_to_get", "write_small_model", "write_stand_ins",
]  # fmt: skip
