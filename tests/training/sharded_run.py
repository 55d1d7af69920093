"""One generation and one gradient with the weights shared out by FSDP 2: `python tests/training/sharded_run.py OUT
PROMPTS_PER_PROCESS`.

Several processes share the weights; one keeps them whole (test_recipe.py compares). accelerate has FSDP for GPUs only,
so PyTorch's own `fully_shard` is called here, on each layer and on the whole, as accelerate calls it."""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from scripted_run import Scripted
from torch.distributed.fsdp import fully_shard

from coursekit import sample_world
from rarft.models import VideoModel
from rarft.schema import Crop
from rarft.system.files import write_json
from rarft.training import build_trainer, grpo_config


def main(out: Path, prompts: int) -> None:
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    video_model = VideoModel.load(device="cpu")
    model, world = video_model.model, sample_world()
    video_model.cache.fill(
        [Crop(str(clip.path)) for clip in world]
    )  # before the weights are shared out, as a recipe does it
    if state.num_processes > 1:
        for layer in model.model.language_model.layers:
            fully_shard(layer)
        fully_shard(model)
    config = grpo_config(
        out,
        num_generations=4,
        per_device_train_batch_size=4 * prompts,
        max_completion_length=40,
        top_entropy_quantile=1.0,
        use_cpu=True,
    )
    trainer = build_trainer(video_model, [clip.group for clip in world], config)
    trainer.generation_config.do_sample, trainer.current_gradient_accumulation_steps = False, 1
    mine = [0, 3, 5, 6][state.process_index * prompts :][:prompts]
    rows = [trainer.train_dataset[i] for i in mine for _ in range(4)]
    greedy = trainer._generate_and_score_completions(rows)["completion_ids"]
    trainer.__class__ = Scripted
    loss = trainer._compute_loss(model.train(), trainer._generate_and_score_completions(rows))
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {name: float((g.full_tensor() if hasattr(g, "full_tensor") else g).norm()) for name, g in gradients.items()}
    completions = gather_object(video_model.processor.batch_decode(greedy))
    losses = gather_object([loss.item()])
    if state.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "step.json", {"completions": completions, "loss": sum(losses) / len(losses), "norms": norms})
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
