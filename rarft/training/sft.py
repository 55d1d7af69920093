"""Supervised fine-tuning on (video, query, completion): it trains the base model and is the baseline for RL."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from rarft.models.families import check_trainable, plan_of
from rarft.models.features import VisionFeatures, pad_texts, to_device, video_inputs
from rarft.models.prompt_text import as_text
from rarft.models.video_model import VideoModel
from rarft.models.workers import can_split, differentiate_parts, shares
from rarft.schema import Sample
from rarft.system.cores import threads
from rarft.system.errors import InputError
from rarft.system.upstream.of_transformers import check_trainer


@dataclass(frozen=True)
class Example:
    """One training example: a clip, a query about it, and the completion to learn.

    masked: parts of the completion without a loss, as (begin, end) in characters.
    """

    clip: VisionFeatures
    query: str
    completion: str
    masked: tuple[tuple[int, int], ...] = ()


class ExampleDataset(Dataset):
    """Examples made on access: item i of pass p is `make(i, p)`, so passes can differ."""

    def __init__(self, make: Callable[[int, int], Example], lengths: Sequence[int], repeat: int = 1):
        """`lengths` are those of the items, in any unit: a batch has items of similar length. `repeat`: passes."""
        self.make, self.lengths, self.repeat = make, list(lengths), repeat

    def __len__(self) -> int:
        return len(self.lengths) * self.repeat

    def __getitem__(self, index: int) -> Example:
        return self.make(index % len(self.lengths), index // len(self.lengths))


def collate(examples: list[Example], video_model: VideoModel) -> dict:
    """A padded batch of token ids, attention mask and labels, with the features of the videos. The labels are the
    unmasked parts of the completion and the end-of-turn token."""
    tokenizer = video_model.processor.tokenizer
    prompts = video_model.prompt_texts([example.query for example in examples])
    endings = [as_text(tokenizer, example.completion) + tokenizer.eos_token for example in examples]
    texts = [prompt + ending for prompt, ending in zip(prompts, endings, strict=True)]
    features = [example.clip for example in examples]
    batch = pad_texts(video_model.processor, texts, features)
    labels = torch.full_like(batch["input_ids"], -100)
    for row, example in enumerate(examples):
        tokens = tokenizer(
            example.completion, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        learned = [not any(begin <= at < end for begin, end in example.masked) for at, _ in tokens["offset_mapping"]]
        learned.append(True)  # the end of the turn
        ids = batch["input_ids"][row, -len(learned) :]
        labels[row, -len(learned) :] = torch.where(torch.tensor(learned), ids, -100)
    return {**batch, "labels": labels, "features": features}


def summed_loss(video_model: VideoModel, batch: dict, bf16: bool) -> tuple[torch.Tensor]:
    """The summed cross-entropy of all labelled tokens in a batch from `collate`."""
    labels, ids = batch["labels"], batch["input_ids"]
    width = labels.shape[1] - int((labels != -100).any(0).nonzero()[0])  # tokens before the first label need no logits
    inputs = {"input_ids": ids, "attention_mask": batch["attention_mask"]}
    inputs |= to_device(video_inputs(ids, batch["features"], video_model.processor.video_token_id), ids.device)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
        logits = video_model.model(**inputs, logits_to_keep=width + 1).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, -width:].flatten(), ignore_index=-100, reduction="sum"
    )
    return (losses,)


class VideoSFTTrainer(Trainer):
    """`transformers.Trainer` with batches of clips of similar length and a loss on the completion tokens only."""

    def __init__(self, video_model: VideoModel, args: TrainingArguments, dataset: ExampleDataset):
        check_trainer()
        check_trainable(video_model.model)
        self.video_model = video_model
        super().__init__(
            model=video_model.model,
            args=args,
            train_dataset=dataset,
            data_collator=lambda examples: collate(examples, video_model),
            processing_class=video_model.processor,
        )

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset
        generator = torch.Generator().manual_seed(self.args.seed)
        return LikeLengthSampler(dataset.lengths * dataset.repeat, self.args.train_batch_size, generator)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The mean cross-entropy over all labelled tokens of a batch. Each process of the model computes a part of the
        rows."""
        one = copy.copy(self.video_model)
        one.model = model
        lengths = inputs["attention_mask"].sum(1).tolist()
        splits = self.accelerator.unwrap_model(model) is self.video_model.model and can_split(self.video_model)
        parts = shares(one, lengths) if splits and torch.is_grad_enabled() else [list(range(len(lengths)))]
        given = [(rows_of(inputs, part), self.args.bf16) for part in parts]
        losses = [loss for (loss,) in differentiate_parts(one, summed_loss, given)]
        loss = torch.stack(losses).sum() / (inputs["labels"] != -100).sum()
        return (loss, {"loss": loss}) if return_outputs else loss


def rows_of(batch: dict, rows: list[int]) -> dict:
    """Some rows of a batch from `collate`, without columns that hold only padding."""
    first = int(batch["attention_mask"][rows].any(0).nonzero()[0])
    tensors = {name: value[rows, first:] for name, value in batch.items() if name != "features"}
    return {**tensors, "features": [batch["features"][row] for row in rows]}


def sft_arguments(
    output: str | Path,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    bf16: bool = False,
    save_steps: int | None = None,
) -> TrainingArguments:
    """Arguments for all supervised training of the tiny model: AdamW, a short warm-up, cosine decay to a twentieth.

    `save_steps`: write a checkpoint every N steps and keep the last two; None writes no checkpoints."""
    return TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.05},
        warmup_steps=min(50, max(1, steps // 10)),
        adam_beta2=0.95,
        weight_decay=0.01,
        max_grad_norm=1.0,
        logging_steps=min(25, max(1, steps // 10)),
        save_strategy="no" if save_steps is None else "steps",
        save_steps=save_steps or 500,
        save_total_limit=2,
        seed=seed,
        bf16=bf16,
        use_cpu=bf16 and not torch.cuda.is_available(),  # transformers requires it for bf16 on a CPU
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),  # PyTorch warns where there is nothing to copy to
    )


def train_sft(
    video_model: VideoModel, demonstrations: Sequence[tuple[Sample, str]], arguments: TrainingArguments
) -> list[dict]:
    """Fine-tune a model in place on samples and their target completions. Returns the log.

    Samples are repeated to fill `arguments.max_steps`. Raises InputError for a sample without a duration.
    """
    samples = [sample for sample, _ in demonstrations]
    unknown = next((sample for sample in samples if not sample.duration), None)
    if unknown is not None:
        raise InputError(f"{unknown.video}: the sample has no duration, which is needed to build batches")
    features = video_model.features([sample.crop for sample in samples])

    def make(index: int, _: int) -> Example:
        sample, completion = demonstrations[index]
        return Example(features[index], sample.query, completion)

    wanted = arguments.max_steps * arguments.train_batch_size
    dataset = ExampleDataset(make, [s.duration for s in samples], repeat=-(-wanted // len(samples)))
    trainer = VideoSFTTrainer(video_model, arguments, dataset)
    with threads(plan_of(video_model).threads):
        trainer.train()
    video_model.model.eval()
    return trainer.state.log_history


class LikeLengthSampler(torch.utils.data.Sampler):
    """Random batches whose items have similar lengths, to save compute on padding."""

    def __init__(self, lengths: Sequence[int], batch_size: int, generator: torch.Generator):
        self.lengths, self.batch_size, self.generator = torch.tensor(lengths), batch_size, generator

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self):
        noise = torch.rand(len(self.lengths), generator=self.generator)
        order = torch.argsort(self.lengths + noise)  # by length, random within a length
        batches = list(order.split(self.batch_size))
        for b in torch.randperm(len(batches), generator=self.generator).tolist():
            yield from batches[b].tolist()
