"""Runs that go on where they were stopped."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import Trainer


def resume_training(trainer: Trainer) -> None:
    """Train from the last whole checkpoint in the trainer's output_dir; from the beginning where there is none."""
    checkpoint = last_whole_checkpoint(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def last_whole_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint that was written to its end; a kill may leave a later one that was not.

    `transformers` writes trainer_state.json last.
    """

    def step(path: Path) -> int:
        return int(path.name.removeprefix("checkpoint-"))

    def whole(path: Path) -> bool:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return True

    return max(filter(whole, Path(folder).glob("checkpoint-*")), key=step, default=None)
