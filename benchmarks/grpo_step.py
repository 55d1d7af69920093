"""One GRPO step on video: everything that a group shares computed once, against the plain way that repeats the video.

    python benchmarks/grpo_step.py          # writes data/results/grpo_step.json

The plain way is TRL's own flow for images, with the few lines that it lacks for video: the processor's tensors are
repeated for each completion, the vision tower runs over all of them in generation and again in the training pass, and
the language model reads every repetition of the prompt. It is favoured a little: each file is decoded once a step. Both
ways run the same trainer code around that (advantages, loss, logging), in turns within one run, on the same prompts;
the reward costs nothing. Peak memory is that of a process of its own for each way, above what it held before its first
step.

Three settings: chapter 09's, where answers are longer than the prompt, with the shipped base and with that chapter's
model after its cold start (chapter 09 has to have run), whose answers have more explanations and so differ more; and
the paper's proportions, 1,792 video tokens before answers of 200 tokens, with random weights of the same width, whose
answers differ from the first token on."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import rarft  # before transformers: see rarft/system/torchvision.py

# isort: split
import numpy as np
import psutil
import torch
from tqdm.auto import tqdm
from transformers import set_seed
from trl import GRPOTrainer

from coursekit import ROOT, sample_world
from coursekit.base.tiny import tiny_model, tiny_processor
from rarft.models import Settings, VideoModel, video_kwargs, vision_tower
from rarft.system.cores import use_cores
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.training import build_trainer, grpo_config
from rarft.training.grpo import VideoGRPOTrainer, video_part
from rarft.video import read_video

BASE, STARTED = ROOT / "data" / "base", ROOT / "build" / "cold_start" / "model"
SETTINGS = {
    "chapter 09, base": {"prompts": 8, "group": 8, "tokens": 352, "fps": 2.0, "model": BASE},
    "chapter 09, cold start": {"prompts": 8, "group": 8, "tokens": 352, "fps": 2.0, "model": STARTED},
    "paper's proportions": {"prompts": 1, "group": 8, "tokens": 200, "fps": 2.8, "model": None},
}
WAYS = ("shared", "plain")


class PlainTrainer(GRPOTrainer):
    """TRL's trainer, and the shortest way to hand it video: what its code does for images."""

    video: dict  # arguments of `read_video`

    def _tokenize_prompts(self, prompts):
        paths = [video_part(prompt)["video"] for prompt in prompts]
        clips = {path: read_video(path, **self.video) for path in dict.fromkeys(paths)}
        chat = self.processing_class.apply_chat_template
        texts = [chat(prompt, add_generation_prompt=True, tokenize=False) for prompt in prompts]
        fields = dict(self.processing_class(text=texts, **video_kwargs([clips[path] for path in paths])))
        ids, _ = fields.pop("input_ids"), fields.pop("attention_mask")
        self._grids = torch.as_tensor(fields["video_grid_thw"])
        self._pixels = torch.as_tensor(fields["pixel_values_videos"]).split(self._grids.prod(-1).tolist())
        return ids, None, fields

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        output["video_row"] = torch.arange(len(inputs), device=self.accelerator.device)
        return output

    def _compute_loss(self, model, inputs):
        self._rows = inputs["video_row"].cpu()
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, *args, mm_token_type_ids=None, **kwargs):
        video = self.processing_class.video_token_id

        def forward(input_ids, **inputs):
            pixels = torch.cat([self._pixels[row] for row in self._rows]).to(input_ids.device)
            types = 2 * (input_ids == video).int()
            return model(
                input_ids=input_ids,
                pixel_values_videos=pixels,
                video_grid_thw=self._grids[self._rows].to(input_ids.device),
                mm_token_type_ids=types,
                **inputs,
            )

        return super()._get_per_token_logps_and_entropies(forward, *args, **kwargs)


def alternating(completions: list, **_) -> list[float]:
    """A reward that costs nothing and leaves no group without an advantage."""
    return [float(i % 2) for i in range(len(completions))]


def model_of(name: str) -> VideoModel:
    """A setting's model; for the paper's proportions one with fresh weights, 64 tokens a frame pair and no end of
    turn."""
    if SETTINGS[name]["model"]:
        return VideoModel.load(SETTINGS[name]["model"])
    set_seed(0)
    processor = tiny_processor()
    for part in (processor.image_processor, processor.video_processor):
        part.patch_size, part.merge_size = 4, 2
    processor.video_processor.size["longest_edge"] *= 2  # all of a clip's four frames a second, unscaled
    processor.tokenizer.model_max_length = 4096
    model = tiny_model(processor)
    config = model.config
    config.vision_config.patch_size, config.vision_config.spatial_merge_size = 4, 2
    config.vision_config.num_position_embeddings = 256
    config.text_config.max_position_embeddings = 4096
    suppressed = [*model.generation_config.suppress_tokens, processor.tokenizer.eos_token_id]
    model = type(model)(config)
    model.generation_config.suppress_tokens = suppressed
    return VideoModel(model.eval(), processor, Settings(style="plain"))


def make_trainer(way: str, name: str):
    """A trainer of one way, the rows of its one batch, and a list that counts the clips that go through its tower."""
    setting = SETTINGS[name]
    video_model = model_of(name).with_cache(fps=setting["fps"])
    longest_first = sorted(sample_world(), key=lambda clip: -clip.group.relevant.duration)
    groups = [clip.group for clip in longest_first[: setting["prompts"]]]
    config = grpo_config(
        "build/bench",
        num_generations=setting["group"],
        per_device_train_batch_size=setting["group"] * setting["prompts"],
        max_completion_length=setting["tokens"],
        max_steps=1,
    )
    trainer = build_trainer(video_model, groups, config, rewards=[alternating])
    model = video_model.model
    if way == "plain":
        data = trainer.train_dataset
        trainer = PlainTrainer(
            model=model,
            reward_funcs=[alternating],
            args=config,
            train_dataset=data,
            processing_class=video_model.processor,
        )
        trainer.video = {"fps": setting["fps"]}
        # TRL's own list has the image token only, and a sampled video token ends the training pass
        trainer.generation_config.suppress_tokens = model.generation_config.suppress_tokens
    trainer.current_gradient_accumulation_steps = 1  # `train()` would set it
    passes: list[int] = [0]
    vision_tower(model).register_forward_pre_hook(
        lambda _, args, kwargs: passes.__setitem__(0, passes[0] + len(kwargs["grid_thw"])), with_kwargs=True
    )
    return (
        trainer,
        [trainer.train_dataset[2 * i + i % 2] for i in range(setting["prompts"]) for _ in range(setting["group"])],
        passes,
    )


def step(trainer: GRPOTrainer, rows: list[dict]) -> dict:
    """Generation, scores, loss and gradients of one batch of new videos."""
    if isinstance(trainer, VideoGRPOTrainer):
        trainer.video_model.cache.forget()
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    trainer._compute_loss(trainer.model, batch).backward()
    trainer.model.zero_grad()
    return batch


def distinct_beginnings(batch: dict, group: int) -> dict[str, int]:
    """Of the completions of a step: their tokens, and how many are left if a beginning that several completions
    of a prompt share counts once; the completions, and how many of them differ."""
    lengths = batch["completion_mask"].sum(1).tolist()
    texts = [
        (row // group, *ids[:length])
        for row, (ids, length) in enumerate(zip(batch["completion_ids"].tolist(), lengths, strict=True))
    ]
    beginnings = {text[: 2 + end] for text in texts for end in range(len(text) - 1)}
    return {
        "completions": len(texts),
        "distinct_completions": len(set(texts)),
        "tokens": sum(lengths),
        "distinct_tokens": len(beginnings),
    }


def peak_memory(way: str, name: str, threads: int) -> float:
    """MB that two steps need beyond what the process held before. Runs in a process of its own."""
    use_cores(threads)
    trainer, rows, _ = make_trainer(way, name)
    before = psutil.Process().memory_info().rss
    for _ in range(2):
        step(trainer, rows)
    # Not `getrusage`: in a child it remembers its parent's peak.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return (int(status["VmHWM"].split()[0]) * 1024 - before) / 1e6


def measure(name: str, turns: int, threads: int) -> dict:
    """Seconds, clips through the tower and peak memory of both ways under one setting."""
    made = {way: make_trainer(way, name) for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    clips, prompt, longest, distinct = {}, 0, {}, {}
    for _ in tqdm(range(turns + 1), desc=name):  # the first turn warms up and is not counted
        for way, (trainer, rows, passes) in made.items():
            passes[0] = 0
            begin = time.perf_counter()
            batch = step(trainer, rows)
            seconds[way].append(time.perf_counter() - begin)
            clips[way], prompt, longest[way] = passes[0], batch["prompt_ids"].shape[1], batch["completion_ids"].shape[1]
            distinct[way] = distinct_beginnings(batch, SETTINGS[name]["group"])
    times = {way: values[1:] for way, values in seconds.items()}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {way: pool.apply(peak_memory, (way, name, threads)) for way in WAYS}
    ratios = np.divide(times["plain"], times["shared"])
    return {
        "setting": {key: value for key, value in SETTINGS[name].items() if key != "model"},
        "prompt_tokens": prompt,
        "longest_completion": longest,
        "sampled": distinct,
        "seconds": times,
        "speedup": float(np.median(ratios)),
        "speedup_range": [float(ratios.min()), float(ratios.max())],
        "clips_through_the_tower": clips,
        "vision_saving": clips["plain"] / clips["shared"],
        "peak_mb": memory,
        "memory_saving": memory["plain"] / memory["shared"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="cores to use")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "grpo_step.json")
    options = parser.parse_args()
    if not STARTED.exists():
        parser.error(f"{STARTED} is not there: run chapter 09 first, it keeps its model after the cold start there")
    use_cores(options.threads)
    found = {"machine": machine(), "rarft": rarft.__version__, "threads": options.threads, "turns": options.turns}
    found["measured"] = {name: measure(name, options.turns, options.threads) for name in SETTINGS}
    write_json(options.out, found)
    print(found)


if __name__ == "__main__":
    main()
