"""One RA-RFT step at the size of a published model, by part: seconds, peak GB, share of what the GPU could do.

    python benchmarks/step_at_size.py --model qwen2.5-vl-7b                      # a GPU with 80 GB or more
    python benchmarks/step_at_size.py --model qwen2.5-vl-7b --lora
    python benchmarks/step_at_size.py --model qwen2.5-vl-7b --plain              # TRL's way, the video repeated
    python benchmarks/step_at_size.py --model qwen2.5-vl-3b --rehearse           # the same code, tiny, on a CPU

The real classes at their real shapes with random weights, in bfloat16: nothing is downloaded. 8 prompts, each about a
video of its own (30 s of 640×360, 2 frames a second, the paper's budget of pixels: 3,360 tokens), 8 answers of 200
tokens each, AdamW over all weights but the vision tower's, or over a LoRA adapter of rank 64. Each run writes a row of
data/results/step_at_size.json, part by part: one that is stopped keeps what it has measured.

The limits that the times are set against are measured in the same run: a matrix product, and a copy in memory. For a
sampled token, all weights of the language model and all keys and values have to be read once. A training pass costs 6
operations a parameter and token (4 for LoRA, whose frozen weights get no gradient), attention on top; what checkpoints
compute a second time is not counted as useful."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rarft  # before transformers: see rarft/system/torchvision.py

# isort: split
import numpy as np
import torch
from grpo_step import PlainTrainer, alternating
from PIL import Image
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    set_seed,
)
from trl import GRPOTrainer

from coursekit import BUILD, ROOT
from coursekit.base.tiny import CHAT_TEMPLATE, tiny_tokenizer
from rarft.models import ARCHITECTURES, PRESETS, VideoModel
from rarft.models.decoding import generation
from rarft.models.families import vision_modules, without_lora
from rarft.schema import Group, Sample, Span
from rarft.system.files import write_json
from rarft.system.machine import machine
from rarft.system.upstream.of_trl import split_tensor_dict
from rarft.training import build_trainer, grpo_config
from rarft.training.grpo import whole_groups

RESULTS = ROOT / "data" / "results" / "step_at_size.json"
SECONDS, FPS, HEIGHT, WIDTH = 30, 25, 360, 640
SMALL = {  # what a rehearsal on a CPU changes
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2000,
    },
    "vision_config": {"depth": 2, "hidden_size": 64, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64},
}


# -- what is measured --------------------------------------------------------------------------------------------------


def random_model(name: str, device: str, rehearse: bool) -> VideoModel:
    """A published model's class and shapes, random weights, the course's tokenizer, and the paper's video budget."""
    shapes = {key: dict(value) if isinstance(value, dict) else value for key, value in ARCHITECTURES[name].items()}
    if rehearse:
        for part, changes in SMALL.items():
            shapes[part].update(changes)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 100_000
    token = tokenizer.convert_tokens_to_ids
    heads = shapes["text_config"]["num_attention_heads"]
    size = shapes["text_config"]["hidden_size"] // heads
    shapes["text_config"] |= {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [size // 8, size // 2 * 3 // 8, size // 2 - size // 8 - size // 2 * 3 // 8],
        },
    }
    ids = {"image_token_id": token("<|image_pad|>"), "video_token_id": token("<|video_pad|>")}
    config = Qwen2_5_VLConfig(**shapes, **ids, dtype="bfloat16")
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if rehearse else torch.bfloat16)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(kept)
    # Every answer has its full length, and vision tokens would ask for pixels.
    model.generation_config.suppress_tokens = [token(t) for t in tokenizer.all_special_tokens if t is not None]
    model.generation_config.suppress_tokens += list(ids.values())
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(do_sample_frames=False), chat_template=CHAT_TEMPLATE
    )
    return VideoModel(model.eval(), processor, PRESETS[name].settings)


def videos(folder: Path, count: int) -> list[Path]:
    """Files of half a minute at 640×360; those that are not there yet are written."""
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            from rarft.world.render import write_video

            rng = np.random.default_rng(number)
            coarse = rng.integers(0, 255, (SECONDS * FPS // 5, 9, 16, 3), np.uint8)
            frames = [np.asarray(Image.fromarray(frame).resize((WIDTH, HEIGHT))) for frame in coarse]
            folder.mkdir(parents=True, exist_ok=True)
            write_video(np.repeat(np.stack(frames), 5, 0), path, fps=FPS, crf=36)
    return paths


def make_trainer(video_model: VideoModel, options: argparse.Namespace):
    """A trainer, and the rows of one batch: `prompts` groups of `group` rows each."""
    paths = videos(BUILD / "step_at_size", options.prompts)
    groups = [
        Group(
            Sample(str(path), "the red ring grows", [Span(3, 9)], duration=SECONDS),
            (Sample(str(path), "the red ring blinks", [], duration=SECONDS),),
        )
        for path in paths
    ]
    config = grpo_config(
        BUILD / "step_at_size" / "run",
        num_generations=options.group,
        per_device_train_batch_size=options.group,
        gradient_accumulation_steps=options.prompts,
        max_completion_length=options.tokens,
        max_steps=1,
        temperature=1.0,
        top_entropy_quantile=1.0,
        bf16=not options.rehearse,
        use_cpu=options.rehearse,
        gradient_checkpointing=False,
    )
    trainer = build_trainer(video_model, groups, config, rewards=[alternating])
    if options.plain:
        trainer = PlainTrainer(
            model=video_model.model,
            reward_funcs=[alternating],
            args=config,
            train_dataset=trainer.train_dataset,
            processing_class=video_model.processor,
        )
        trainer.video = video_model.cache.video
        trainer.generation_config.suppress_tokens = without_lora(video_model.model).generation_config.suppress_tokens
    trainer.current_gradient_accumulation_steps = options.prompts  # `train()` would set it
    rows = [trainer.train_dataset[2 * i] for i in range(options.prompts) for _ in range(options.group)]
    return trainer, rows


# -- measuring ---------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds by part, each the sum of what ran under its name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        wait()
        begin = time.perf_counter()
        yield
        wait()
        self.seconds[part] += time.perf_counter() - begin

    def wrap(self, owner: object, name: str, part: str) -> None:
        """Count what a method of an object takes."""
        method = getattr(owner, name)

        def counted(*args, **kwargs):
            with self(part):
                return method(*args, **kwargs)

        setattr(owner, name, counted)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(repeat: int, work: Callable[[], object]) -> list[float]:
    """Seconds of each of several runs."""
    found = []
    for _ in range(repeat):
        wait()
        begin = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - begin)
    return found


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float | None:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def limits(device: str, rehearse: bool) -> dict[str, float]:
    """What this machine reaches: operations a second in a product of matrices, bytes a second in a copy."""
    size = 256 if rehearse else 8192
    dtype = torch.float32 if rehearse else torch.bfloat16
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(2**20 if rehearse else 2**32, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "operations_a_second": 2 * size**3 / min(timed(12, lambda: a @ b)),
        "bytes_a_second": 2 * len(source) / min(timed(6, lambda: target.copy_(source))),
    }


def bytes_a_token(model: PreTrainedModel, prompts: int, group: int, prompt: int, tokens: int) -> int:
    """What has to be read for the next token of every completion: weights, shared keys and values, their own."""
    inner = without_lora(model)
    config, size = inner.config.get_text_config(), next(inner.parameters()).element_size()
    embedding = inner.get_input_embeddings().weight
    weights = (
        sum(p.numel() for p in inner.model.language_model.parameters()) + inner.get_output_embeddings().weight.numel()
    )
    weights -= embedding.numel()  # a table: one row a token
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head
    return size * (weights + cached * (prompts * prompt + prompts * group * tokens // 2))


def training_operations(model: PreTrainedModel, options: argparse.Namespace, prompt: int) -> float:
    """Of one training pass over all groups, forward and backward."""
    inner = without_lora(model)
    config = inner.config.get_text_config()
    layers = inner.model.language_model.layers
    parameters = sum(p.numel() for name, p in layers.named_parameters() if "lora_" not in name)
    row = prompt - 1 + options.group * (options.tokens + 1)
    seen = prompt**2 / 2 + options.group * (options.tokens + 1) * (prompt + options.tokens / 2)
    if options.plain:
        row = options.group * (prompt + options.tokens)
        seen = options.group * (prompt + options.tokens) ** 2 / 2
    head = inner.get_output_embeddings().weight.numel() * options.group * options.tokens
    attention = 2 * config.num_hidden_layers * config.hidden_size * seen  # scores and their sum of values
    backward = 2 if not options.lora else 1
    return options.prompts * 2 * ((parameters * row + head) * (1 + backward) + attention * 3)


# -- one run -----------------------------------------------------------------------------------------------------------


def measure_vision(trainer: GRPOTrainer, rows: list[dict]) -> dict[str, float]:
    """Decoding and encoding of the batch's videos, which happens once a run, not once a step."""
    cache, clock = trainer.video_model.cache, Clock()
    clock.wrap(cache, "_decode", "decoding")
    clock.wrap(vision_modules(without_lora(trainer.model))[0], "forward", "tower")
    with clock("all"):
        trainer._tokenize_prompts([row["prompt"] for row in rows])
    rest = clock.seconds["all"] - clock.seconds["decoding"] - clock.seconds["tower"]
    return {"decoding": clock.seconds["decoding"], "patches": rest, "tower": clock.seconds["tower"]}


def measure_sampling(trainer: GRPOTrainer, rows: list[dict], turns: int, *, graph: bool) -> tuple[dict, dict]:
    """Seconds of prefill and sampling, and of prefill alone, and peak GB; also the batch that came out.

    graph: by a CUDA graph where there is a GPU; else by transformers' loop, a row for every completion.
    """
    usual = generation.can_record, generation.is_whole
    generation.can_record, generation.is_whole = (lambda model: graph and usual[0](model)), (lambda _: False)
    trainer.model.train()
    reset_peak()
    batches = []
    seconds = timed(turns, lambda: batches.append(trainer._generate_and_score_completions(rows)))
    peak = peak_gb()
    config, prompts = trainer.generation_config, [row["prompt"] for row in rows]
    tokens, config.max_new_tokens = config.max_new_tokens, 1
    prefill = timed(2, lambda: trainer._generate(prompts))
    config.max_new_tokens = tokens
    generation.can_record, generation.is_whole = usual
    return {"seconds": seconds, "prefill": min(prefill), "peak_gb": peak}, batches[-1]


def measure_training(trainer: GRPOTrainer, batch: dict, options: argparse.Namespace, *, checkpoints: bool) -> dict:
    """Seconds of the gradients of one optimiser step, a pass for each prompt, and peak GB."""
    inner = without_lora(trainer.model)
    if checkpoints:
        inner.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        inner.gradient_checkpointing_disable()
    parts = split_tensor_dict(batch, options.prompts)
    parts = parts if options.plain else whole_groups(parts)

    def gradients() -> None:
        for part in parts:
            with trainer.compute_loss_context_manager():
                loss = trainer._compute_loss(trainer.model, part)
            loss.backward()

    trainer.model.train()
    reset_peak()
    try:
        return {"seconds": timed(options.turns, gradients), "peak_gb": peak_gb()}
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}


def measure_optimiser(model: PreTrainedModel) -> dict:
    """Seconds of an AdamW step on the gradients that are there, and peak GB."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6, fused=model.device.type == "cuda")
    reset_peak()
    return {"seconds": timed(3, optimiser.step), "peak_gb": peak_gb()}


def measure(options: argparse.Namespace) -> Iterator[dict]:
    """The row of one model and one way of training it, again after each part."""
    device = "cpu" if options.rehearse else "cuda"
    set_seed(0)
    reached = limits(device, options.rehearse)
    video_model = random_model(options.model, device, options.rehearse)
    if options.lora:
        video_model.add_lora(rank=64)
    model = video_model.model
    trainer, rows = make_trainer(video_model, options)
    parts: dict[str, dict] = {}
    row: dict[str, Any] = {"limits": reached, "parts": parts}
    if not options.plain:
        parts["vision"] = measure_vision(trainer, rows)
        yield row
    for graph in (False,) if options.plain else (False, True):
        name = "sampling, graph" if graph else "sampling"
        parts[name], batch = measure_sampling(trainer, rows, options.turns, graph=graph)
        prompt = batch["prompt_ids"].shape[1]
        bytes_read = bytes_a_token(model, options.prompts, options.group, prompt, options.tokens)
        row |= {
            "prompt_tokens": prompt,
            "bytes_a_token": bytes_read,
            "sampling_floor_seconds": options.tokens * bytes_read / reached["bytes_a_second"],
            "training_operations": training_operations(model, options, prompt),
        }
        yield row
    for checkpoints in (True,) if options.plain else (True, False):
        name = "training, checkpoints" if checkpoints else "training"
        parts[name] = measure_training(trainer, batch, options, checkpoints=checkpoints)
        yield row
    if not options.plain:
        parts["optimiser"] = measure_optimiser(model)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=ARCHITECTURES, default="qwen2.5-vl-7b")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 64")
    parser.add_argument("--plain", action="store_true", help="TRL's own flow, which repeats the video for each answer")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU: does it run, not how fast")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    name = " ".join([options.model, *(way for way in ("lora", "plain") if getattr(options, way))])
    setting = {key: getattr(options, key) for key in ("prompts", "group", "tokens")}
    about = {"machine": machine(), "rarft": rarft.__version__, "torch": torch.__version__, **setting}
    for found in measure(options):
        rows = json.loads(options.out.read_text()) if options.out.exists() else {}
        rows[name] = about | found
        write_json(options.out, rows)
        print(json.dumps(found["parts"]), flush=True)


if __name__ == "__main__":
    main()
