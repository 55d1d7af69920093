"""GRPO on video: TRL's `GRPOTrainer`, which supports only images, extended to video.

What differs from TRL: prompts get their video (`_tokenize_prompts`); a group is sampled from one prefill
(`_generate_single_turn`); the log-probability pass gets the video, once for all completions of a prompt
(`_VideoForward`); `rarft.training.epochs` chooses the rows of an epoch; and KL is measured against the model that was
passed in. Loss, advantages, logging, checkpoints and scaling are TRL's own. Position ids follow from the same inputs in
both passes, so log-probabilities of training and generation agree (tested).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig, PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from rarft.models.decoding.generation import prompt_positions, sample
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.models.families import check_trainable, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_prompts, video_inputs
from rarft.models.prompt_text import prompt_text
from rarft.models.video_model import VideoModel
from rarft.models.workers import can_split, differentiate_parts, shares
from rarft.schema import Crop
from rarft.system.errors import InputError
from rarft.system.upstream.of_trl import (
    FusedCausalLMOutput,
    add_fused_lm_head,
    check_grpo_trainer,
    check_grpo_trainer_class,
    reference_copy,
    split_tensor_dict,
    unwrap_model_for_generation,
)
from rarft.training.epochs import EpochSampler
from rarft.training.prefix_tree import pack


class VideoGRPOTrainer(GRPOTrainer):
    """GRPO for prompts with one video.

    The dataset's `prompt` is a message list with a part `{"type": "video", "video": PATH}`, optionally with
    `start` and `end` in seconds; its other columns are passed to the rewards by name. The vision tower is frozen (by
    `VideoModel`), as in the paper, so each video is encoded once in the whole run.
    """

    def __init__(
        self,
        video_model: VideoModel,
        *args: Any,
        epoch_rows: int | None = None,
        **kwargs: Any,
    ):
        """
        Args:
            args, kwargs: of `trl.GRPOTrainer`.
            epoch_rows: the number of rows of one epoch, if the dataset holds the rows of all epochs one after another;
                by default every epoch uses all rows.

        Raises InputError if no weight of the model is trainable."""
        check_grpo_trainer_class()
        check_trainable(video_model.model)
        self.video_model, self._epoch_rows = video_model, epoch_rows
        with reference_copy(video_model.model):
            super().__init__(video_model.model, *args, processing_class=video_model.processor, **kwargs)
        check_grpo_trainer(self)
        self._features: list[VisionFeatures] = []  # one for each row of the current batch

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self.video_model.write_settings(output_dir or self.args.output_dir)  # a checkpoint can be moved and loaded
        super()._save(output_dir, state_dict)

    # -- rows ----------------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset=None):
        rows = self._epoch_rows or len(self.train_dataset if dataset is None else dataset)
        return EpochSampler(
            rows,
            prompts=self.args.generation_batch_size // self.num_generations,
            generations=self.num_generations,
            passes=self.num_iterations * self.args.steps_per_generation,
            seed=draw_seed(self.args),
            shuffle=self.shuffle_dataset,
            # The trainer's own count: samplers are wrapped when a run resumes, and then get no `set_epoch`.
            epoch=lambda: int((self.state.epoch or 0) + 1e-6),
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As in TRL, but restores the random state, so that an evaluation does not change the training after it."""
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            return super().evaluate(*args, **kwargs)

    # -- generation --------------------------------------------------------------------------------------------

    def _tokenize_prompts(self, prompts: list) -> tuple[list[list[int]], None, dict]:
        self._features = self.video_model.features([Crop.of(video_part(prompt)) for prompt in prompts])
        texts = [prompt_text(self.processing_class, prompt) for prompt in prompts]
        return tokenize_prompts(self.processing_class, texts, self._features), None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        # TRL repeats each prompt for its completions, side by side; only the first of each group is needed.
        groups = same_prompts(prompt_ids, self._features)
        repeats = len(groups[0])
        firsts = [group[0] for group in groups]
        if groups != [list(range(first, first + repeats)) for first in firsts]:
            firsts, repeats = list(range(len(prompt_ids))), 1
        with self._whole_model() as model:
            training = model.training
            model.eval()
            one = copy.copy(self.video_model)
            one.model = model  # with gathered weights
            prompts = [prompt_ids[i] for i in firsts]
            features = [self._features[i] for i in firsts]
            sampled = sample(one, prompts, features, self._sampling_config(model), repeats)
            model.train(training)
        return [self._until_end(row) for row in sampled.ids], None

    @contextmanager
    def _whole_model(self) -> Iterator[PreTrainedModel]:
        """The model for generation, with its weights gathered if ZeRO-3 or FSDP shards them, as in TRL."""
        settings = {
            "gather_deepspeed3_params": self.args.ds3_gather_for_generation,
            "gradient_checkpointing_kwargs": self.args.gradient_checkpointing_kwargs,
        }
        shared_out = (
            self._dist.is_zero3 or self._dist.is_fsdp or any(isinstance(p, DTensor) for p in self.model.parameters())
        )
        with (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator, **settings) as model,
            torch.no_grad() if shared_out else torch.inference_mode(),  # the latter is faster, but gathers no weights
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            yield model

    def _sampling_config(self, model) -> GenerationConfig:
        """TRL's sampling settings on top of the checkpoint's, with vision tokens suppressed: if one were sampled, the
        next forward pass would need its pixels. (TRL suppresses only the image token, in place of the checkpoint's.)"""
        own, trl = model.generation_config.to_diff_dict(), self.generation_config.to_diff_dict()
        vision = {self.processing_class.video_token_id, getattr(self.processing_class, "image_token_id", None)} - {None}
        suppressed = vision.union(own.get("suppress_tokens") or [], trl.get("suppress_tokens") or [])
        return GenerationConfig(**{**own, **trl, "suppress_tokens": sorted(suppressed)})

    def _until_end(self, ids: list[int]) -> list[int]:
        """A completion up to its end-of-turn token, inclusive."""
        return ids[: next((i + 1 for i, token in enumerate(ids) if token in self.eos_token_ids), len(ids))]

    # -- the training pass -------------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch):
        if self.model.training and self._buffered_inputs is None and self.state.epoch:
            # After a resume: count from where the run was, so that new rows are drawn as in an uninterrupted run.
            self._step = round(self.state.epoch * self._passes_of_epoch())
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is before:
            return inputs
        self._buffered_inputs = whole_groups(self._buffered_inputs)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        output["row"] = torch.arange(len(inputs), device=self.accelerator.device)
        output["video_features"] = list(self._features)  # TRL shuffles and splits it like a tensor
        return output

    def _passes_of_epoch(self) -> int:
        """The number of forward and backward passes of an epoch, i.e. of calls of `_prepare_inputs`."""
        return len(self._get_train_sampler()) // self.args.generation_batch_size

    def _compute_loss(self, model, inputs):
        self._features = inputs["video_features"]
        return super()._compute_loss(model, inputs)

    def token_log_probabilities(self, batch: dict[str, Any], model: PreTrainedModel | None = None) -> torch.Tensor:
        """Log-probabilities (N, C) of the completion tokens in a batch of `_generate_and_score_completions`, under the
        trained model by default."""
        self._features = batch["video_features"]
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].shape[1]
        return self._get_per_token_logps_and_entropies(model or self.model, ids, mask, width)[0]

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        one = copy.copy(self.video_model)
        one.model = model
        head = {"temperature": self.temperature, "cast_lm_head_to_fp32": self.args.cast_lm_head_to_fp32}
        unwrapped = self.accelerator.unwrap_model(model)
        splits = unwrapped is self.video_model.model and can_split(
            self.video_model, self.accelerator.mixed_precision or "no"
        )
        forward = _VideoForward(one, without_lora(unwrapped), self._features, logits_to_keep, head if splits else None)
        rows = torch.arange(len(input_ids))
        return super()._get_per_token_logps_and_entropies(
            forward,
            forward.with_rows(input_ids, rows),
            forward.with_rows(attention_mask, torch.zeros_like(rows)),
            logits_to_keep,
            *args,
            **kwargs,
        )


class _VideoForward:
    """A wrapper that adds the videos of its rows to each call of a model, in whatever chunks and order TRL calls it.

    Each row carries its index in a masked column before its tokens (`with_rows`). Rows with the same prompt are packed
    (`rarft.training.prefix_tree`), so that the prompt, which is mostly video, and common prefixes of completions are
    computed once. If gradients are needed and `head` is given, the model's processes divide the prompts among them."""

    def __init__(
        self,
        video_model: VideoModel,
        inner: PreTrainedModel,
        features: Sequence[VisionFeatures],
        completion: int,
        head: dict | None,
    ):
        """
        Args:
            inner: the model without wrappers and LoRA.
            completion: the number of tokens of the completion part.
            head: the settings of TRL's fused LM head, which returns log-probabilities. None keeps all rows in this
                process.
        """
        self.video_model, self.inner, self.head = video_model, inner, head
        self.features, self.completion = features, completion

    @staticmethod
    def with_rows(tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(N, L) → (N, 1 + L): each row's index into `features` before its tokens."""
        return torch.cat([rows[:, None].to(tokens), tokens], 1)

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any):
        features = [self.features[row] for row in input_ids[:, 0].tolist()]
        row = Rows(input_ids[:, 1:], attention_mask[:, 1:], labels[:, 1:], features, self.completion)
        groups = same_prompts(row.prompts.tolist(), features)
        if len(groups) == len(input_ids) or not share_prefixes(self.inner):
            return row.forward(self.video_model, **options)
        parts = [groups]
        if self.head is not None and torch.is_grad_enabled():
            lengths = [row.longest(group) for group in groups]
            parts = [[groups[i] for i in part] for part in shares(self.video_model, lengths, each=len(groups[0]))]
        if len(parts) == 1:
            return row.packed_forward(self.video_model, self.inner, groups, **options)
        # TRL has already added its head to the model of this process.
        given = [(row.select(sum(part, [])), self.head if n else None, options) for n, part in enumerate(parts)]
        found = differentiate_parts(self.video_model, log_probabilities, given)
        order = torch.tensor([index for part in parts for group in part for index in group]).argsort()

        def joined(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
            wide = [torch.nn.functional.pad(part, (0, self.completion - part.shape[1])) for part in outputs]
            return torch.cat(wide)[order]

        log_probs, entropy = zip(*found, strict=True)
        return FusedCausalLMOutput(log_probs=joined(log_probs), entropy=joined(entropy))


class Rows(NamedTuple):
    """Rows of a training pass: left-padded prompts with right-padded completions (N, L), and the video of each.

    completion: the number of tokens of the completion part."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    features: Sequence[VisionFeatures]
    completion: int

    @property
    def prompts(self) -> torch.Tensor:
        """The tokens before the completions."""
        return self.input_ids[:, : -self.completion]

    def longest(self, rows: Sequence[int]) -> int:
        """The number of tokens of the longest completion of these rows."""
        return int(self.attention_mask[rows, -self.completion :].sum(1).max())

    def select(self, rows: Sequence[int]) -> Rows:
        """These rows, without columns that hold only padding."""
        prompt = self.attention_mask.shape[1] - self.completion
        width = max(1, self.longest(rows))
        real = self.attention_mask[rows, :prompt].any(0).nonzero()
        columns = slice(int(real[0]) if len(real) else 0, prompt + width)
        tensors = (tensor[rows, columns] for tensor in (self.input_ids, self.attention_mask, self.labels))
        return Rows(*tensors, [self.features[i] for i in rows], width)

    def forward(self, video_model: VideoModel, **options: Any):
        """A forward pass over the rows without packing."""
        inputs = {"input_ids": self.input_ids, "attention_mask": self.attention_mask, "labels": self.labels}
        return video_model.model(**inputs, **self._video(video_model, self.input_ids, self.features), **options)

    def packed_forward(
        self, video_model: VideoModel, inner: PreTrainedModel, groups: list[list[int]], **options: Any
    ) -> FusedCausalLMOutput:
        """A forward pass that computes each prompt, and each common prefix of its completions, once.

        inner: the model without wrappers and LoRA. groups: the indices of the rows of each prompt."""
        firsts = [group[0] for group in groups]
        features = [self.features[i] for i in firsts]
        packed = pack(groups, self.input_ids, self.attention_mask, self.completion)
        mask = self.attention_mask[firsts, : -self.completion]
        prompt = {"input_ids": self.prompts[firsts], "attention_mask": mask}
        prompt |= self._video(video_model, prompt["input_ids"], features)
        output = video_model.model(
            input_ids=packed.input_ids,
            attention_mask=packed.attention_mask,
            position_ids=packed.positions(prompt_positions(inner, prompt)),
            **self._video(video_model, packed.input_ids, features),
            labels=packed.labels,
            **options,
        )
        entropy = None if output.entropy is None else packed.unpack(output.entropy)
        return FusedCausalLMOutput(log_probs=packed.unpack(output.log_probs), entropy=entropy, aux_loss=output.aux_loss)

    def _video(self, video_model: VideoModel, input_ids: torch.Tensor, features: Sequence[VisionFeatures]) -> dict:
        inputs = video_inputs(input_ids, features, video_model.processor.video_token_id)
        return to_device(inputs, input_ids.device)


def log_probabilities(
    video_model: VideoModel, rows: Rows, head: dict[str, Any] | None, options: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies (N, completion) of a part of the rows.

    head: in a helper, the settings of TRL's fused LM head; None in the process whose model already has it."""
    inner = without_lora(video_model.model)
    if head is not None:
        inner.__dict__.pop("forward", None)  # remove the head of an earlier pass
        add_fused_lm_head(inner, outputs=("log_probs", "entropy"), **head)
        share_prefixes(inner)
    groups = same_prompts(rows.prompts.tolist(), rows.features)
    output = rows.packed_forward(video_model, inner, groups, **options)
    return output.log_probs, output.entropy


def same_prompts(prompts: list[list[int]], features: Sequence[VisionFeatures]) -> list[list[int]]:
    """The indices of the rows that have the same prompt about the same video, group by group."""
    groups: dict[tuple, list[int]] = {}
    for row, (ids, feature) in enumerate(zip(prompts, features, strict=True)):
        groups.setdefault((id(feature), *ids), []).append(row)
    return list(groups.values())


def whole_groups(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Undo TRL's shuffle over the batches of one generation, so that completions of a prompt are in the same batch."""
    order = torch.cat([batch["row"] for batch in batches]).argsort()

    def in_order(name: str, value: Any) -> Any:
        if isinstance(value, list):
            rows = [row for batch in batches for row in batch[name]]
            return [rows[i] for i in order.tolist()]
        is_per_row = isinstance(value, torch.Tensor) and value.ndim > 0
        return torch.cat([batch[name] for batch in batches])[order] if is_per_row else value

    return split_tensor_dict({name: in_order(name, value) for name, value in batches[0].items()}, len(batches))


def draw_seed(config: GRPOConfig) -> int:
    """The seed for the rows of an epoch and their order: `data_seed`, or `seed` if `data_seed` is not set."""
    return config.seed if config.data_seed is None else config.data_seed


def video_part(prompt: list[dict]) -> dict:
    """The one video part of a message list. Raises InputError if there is none, or more than one."""
    parts = [
        part
        for message in prompt
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "video"
    ]
    if len(parts) != 1 or not parts[0].get("video"):
        raise InputError(f"a prompt needs exactly one video part with a path under 'video', got {parts}: {prompt}")
    return parts[0]
