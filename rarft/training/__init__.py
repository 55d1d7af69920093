"""Training: GRPO on video with the refusal-aware rewards, supervised fine-tuning, recipes, and the course's story."""

from rarft.training.callbacks import Watch
from rarft.training.dataset import refusal_dataset
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe import grpo_config, read_recipe, run_recipe
from rarft.training.run import build_trainer, train_rarft
from rarft.training.sft import Example, ExampleDataset, VideoSFTTrainer, sft_arguments, train_sft
from rarft.training.story import COLD_START, COLD_START_CLIPS, cold_start

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
