"""One GRPO step on video: encoded once and prefilled once, against the plain way that repeats the video.

    python benchmarks/grpo_step.py          # writes data/results/grpo_step.json

Both ways sample the same number of answers to the same prompts from the shipped base, then run one forward and
backward pass over them, in turns within one run; rewards are left out of both. The plain way is TRL's flow for images: the processor's tensors
are repeated for each completion, and the vision tower runs in generation and again in the training pass.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from rarft.course import ROOT, sample_world
from rarft.course.build import machine
from rarft.files import write_json
from rarft.generate import chat_texts
from rarft.inputs import video_kwargs
from rarft.models import freeze_vision, load_model, vision_tower
from rarft.train import build_trainer, grpo_config
from rarft.video import read_video


def count_passes(model) -> list[int]:
    """A one-element list that counts the clips that go through the vision tower."""
    counter = [0]
    vision_tower(model).register_forward_pre_hook(
        lambda _, args, kwargs: counter.__setitem__(0, counter[0] + len(kwargs["grid_thw"])), with_kwargs=True
    )
    return counter


def alternating(completions: list, **_) -> list[float]:
    """A reward that costs nothing and leaves no group without an advantage."""
    return [float(i % 2) for i in range(len(completions))]


def plain_step(model, processor, clips, queries, group: int, new_tokens: int) -> None:
    """Generate and train with the video repeated for each completion."""
    repeated = [clip for clip in clips for _ in range(group)]
    texts = [text for text in chat_texts(processor, queries, "plain") for _ in range(group)]
    inputs = dict(processor(text=texts, padding=True, padding_side="left", return_tensors="pt", **video_kwargs(repeated)))
    model.eval()
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=True, max_new_tokens=new_tokens)
    model.train()
    new = ids.shape[1] - inputs["input_ids"].shape[1]
    inputs["input_ids"] = ids
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones(len(ids), new, dtype=torch.long)], 1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros(len(ids), new, dtype=torch.int)], 1)
    logits = model(**inputs, logits_to_keep=new + 1).logits[:, :-1]
    logp = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, -new:, None])
    (-logp.mean()).backward()
    model.zero_grad()


def shared_step(trainer, rows) -> None:
    """Generate and train with `VideoGRPOTrainer`, its cache emptied so that each step meets new videos."""
    trainer.vision_cache.forget()
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    trainer._compute_loss(trainer.model, batch).backward()
    trainer.model.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "grpo_step.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    world = sample_world()[: options.prompts]
    config = grpo_config(
        "build/bench", num_generations=options.group, per_device_train_batch_size=options.group * options.prompts,
        max_completion_length=options.tokens, max_steps=1,
    )  # fmt: skip
    trainer = build_trainer(model, processor, [list(c.samples) for c in world], config, rewards=[alternating])
    rows = [trainer.train_dataset[2 * i] for i in range(options.prompts) for _ in range(options.group)]
    clips, queries = [read_video(c.path) for c in world], [c.samples[0].query for c in world]
    trainer.current_gradient_accumulation_steps = 1  # `train()` would set it
    passes = count_passes(model)
    seconds: dict[str, list[float]] = {"shared": [], "plain": []}
    counted = {}
    for _ in range(options.turns + 1):  # the first turn warms up and is not counted
        for name, step in (
            ("shared", lambda: shared_step(trainer, rows)),
            ("plain", lambda: plain_step(model, processor, clips, queries, options.group, options.tokens)),
        ):
            passes[0] = 0
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)
            counted[name] = passes[0]
    times = {name: values[1:] for name, values in seconds.items()}
    found = {
        "machine": machine(),
        "settings": {k: v for k, v in vars(options).items() if k != "out"},
        "seconds": times,
        "clips_through_the_tower": counted,
        "speedup": float(np.median(times["plain"]) / np.median(times["shared"])),
        "vision_saving": counted["plain"] / counted["shared"],
    }
    write_json(options.out, found)
    print(found)


if __name__ == "__main__":
    main()
