"""Training: GRPO on video with the refusal-aware rewards, supervised fine-tuning, recipes."""

from rarft.training.callbacks import Watch
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe import read_recipe, run_recipe
from rarft.training.run import COLD_START, COLD_START_CLIPS, build_trainer, cold_start, grpo_config, train_rarft
from rarft.training.sft import Example, ExampleDataset, VideoSFTTrainer, sft_arguments, train_sft

__all__ = [
    "COLD_START",
    "COLD_START_CLIPS",
    "Example",
    "ExampleDataset",
    "VideoGRPOTrainer",
    "VideoSFTTrainer",
    "Watch",
    "build_trainer",
    "cold_start",
    "grpo_config",
    "read_recipe",
    "refusal_dataset",
    "run_recipe",
    "sft_arguments",
    "train_rarft",
    "train_sft",
]
