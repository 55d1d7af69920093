"""A GRPO run whose completions are given, not sampled: `python tests/training/scripted_run.py OUT ROWS_PER_PROCESS`.

One process and several can then be compared (test_recipe.py): sampling has a seed of its own on each process.
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState

from coursekit import sample_world
from rarft.models import VideoModel
from rarft.reading.completion import NIL, format_completion
from rarft.system.files import write_json
from rarft.training import VideoGRPOTrainer, build_trainer, grpo_config

ANSWERS = (
    ("2 to 9", NIL),
    ("no such segment : red not blue", "the red ring grows"),
    ("0 to 4", NIL),
    ("nothing at all", NIL),
)


class Scripted(VideoGRPOTrainer):
    def _generate_single_turn(self, prompt_ids, *_, **__):
        tokenizer = self.processing_class.tokenizer
        texts = [format_completion("- 0", *ANSWERS[i % 4]) + tokenizer.eos_token for i in range(len(prompt_ids))]
        return [tokenizer(text)["input_ids"] for text in texts], None


def main(out: Path, rows: int) -> None:
    torch.set_num_threads(1)
    config = grpo_config(
        out, num_generations=4, per_device_train_batch_size=rows, max_steps=3, top_entropy_quantile=1.0, use_cpu=True
    )
    groups = [clip.group for clip in sample_world()]
    trainer = build_trainer(VideoModel.load(device="cpu"), groups, config)
    trainer.__class__ = Scripted
    trainer.train()
    if PartialState().is_main_process:
        steps = [row for row in trainer.state.log_history if "reward" in row]
        weights = float(
            sum(p.detach().double().abs().sum() for p in trainer.accelerator.unwrap_model(trainer.model).parameters())
        )
        keys = ("loss", "grad_norm", "reward", "rewards/refuse_iou/mean", "frac_reward_zero_std")
        write_json(out / "steps.json", {"steps": [[row[key] for key in keys] for row in steps], "weights": weights})
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
