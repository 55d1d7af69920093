"""Resume a run from its last whole checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import Trainer, TrainerState

from rarft.system.upstream.of_transformers import load_without_training

STATE = "trainer_state.json"


def resume_training(trainer: Trainer) -> None:
    """Train from the last whole checkpoint in the trainer's output_dir; from the beginning if there is none.

    A checkpoint of the last step is only loaded, since transformers would train one step beyond the end.
    """
    checkpoint = last_whole_checkpoint(trainer.args.output_dir)
    if checkpoint is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(checkpoint / STATE))
    last = trainer.args.max_steps if trainer.args.max_steps > 0 else state.max_steps
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled  # only `train` can load their weights
    if state.global_step >= last and not sharded:
        load_without_training(trainer, checkpoint)
        trainer.state = state
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint))


def last_whole_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint that was written completely; a kill may leave a later, incomplete one.

    A checkpoint with a trainer_state.json is complete: `transformers` writes that file last.
    """

    def step(path: Path) -> int:
        return int(path.name.removeprefix("checkpoint-"))

    def whole(path: Path) -> bool:
        try:
            json.loads((path / STATE).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return True

    return max(filter(whole, Path(folder).glob("checkpoint-*")), key=step, default=None)
