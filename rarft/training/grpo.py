"""GRPO on video: TRL's `GRPOTrainer`, which supports only images, extended to video.

What differs from TRL: prompts get their video (`_tokenize_prompts`); a group is sampled from one prefill
(`_generate_single_turn`); the log-probability pass gets the video, once for all completions of a prompt
(`_VideoForward`); `rarft.training.epochs` chooses the rows of an epoch; and KL is measured against the model that was
passed in. Loss, advantages, logging, checkpoints and scaling are TRL's own. Position ids follow from the same inputs in
both passes, so log-probabilities of training and generation agree (tested).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig, PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from rarft.models.decoding.generation import generate_from_shared_prefix, prompt_positions
from rarft.models.decoding.shared_prefix import pack, pack_positions, share_prefixes
from rarft.models.families import check_trainable, without_lora
from rarft.models.features import VisionFeatures, to_device, tokenize_with_features, video_inputs
from rarft.models.prompt_text import prompt_text
from rarft.models.video_model import VideoModel
from rarft.schema import Crop
from rarft.system.errors import InputError
from rarft.system.upstream.of_trl import (
    FusedCausalLMOutput,
    check_grpo_trainer,
    check_grpo_trainer_class,
    reference_copy,
    split_tensor_dict,
    unwrap_model_for_generation,
)
from rarft.training.epochs import EpochSampler


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
        inputs = tokenize_with_features(self.processing_class, texts, self._features)
        mask = inputs["attention_mask"].bool()
        return [ids[m].tolist() for ids, m in zip(inputs["input_ids"], mask, strict=True)], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        # TRL repeats each prompt for its completions, side by side; only the first of each group is needed.
        groups = same_prompts(prompt_ids, self._features)
        repeats = len(groups[0])
        firsts = [group[0] for group in groups]
        if groups != [list(range(first, first + repeats)) for first in firsts]:
            firsts, repeats = list(range(len(prompt_ids))), 1
        features = [self._features[i] for i in firsts]
        inputs = self.processing_class.tokenizer.pad(
            {"input_ids": [prompt_ids[i] for i in firsts]}, return_tensors="pt", padding_side="left"
        )
        inputs = {**inputs, **video_inputs(inputs["input_ids"], features, self.processing_class.video_token_id)}
        with self._whole_model() as model:
            training = model.training
            model.eval()
            config = self._sampling_config(model)
            ids = generate_from_shared_prefix(model, to_device(inputs, self.accelerator.device), config, repeats)
            model.train(training)
        completions = ids[:, inputs["input_ids"].shape[1] :]
        return [self._until_end(row) for row in completions.cpu()], None

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

    def _until_end(self, ids: torch.Tensor) -> list[int]:
        """A completion up to its end-of-turn token, inclusive."""
        ends = torch.isin(ids, torch.tensor(self.eos_token_ids)).nonzero()
        return ids[: ends[0, 0] + 1 if len(ends) else len(ids)].tolist()

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
        inner = without_lora(self.accelerator.unwrap_model(model))
        forward = _VideoForward(model, inner, self._features, self.processing_class.video_token_id, logits_to_keep)
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

    Each row carries its index in a masked column before its tokens (`with_rows`). Rows are packed into one
    (`rarft.models.decoding.shared_prefix`), so that a prompt, which is mostly video, and a completion that was sampled
    several times are computed once."""

    def __init__(self, model, inner, features: Sequence[VisionFeatures], video_token: int, completion: int):
        self.model, self.inner, self.features = model, inner, features
        self.video_token, self.completion = video_token, completion

    @staticmethod
    def with_rows(tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(N, L) → (N, 1 + L): each row's index into `features` before its tokens."""
        return torch.cat([rows[:, None].to(tokens), tokens], 1)

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any):
        features = [self.features[row] for row in input_ids[:, 0].tolist()]
        input_ids, attention_mask, labels = input_ids[:, 1:], attention_mask[:, 1:], labels[:, 1:]
        prompts = input_ids[:, : -self.completion]
        groups = same_prompts(prompts.tolist(), features)
        if len(groups) == len(input_ids) or not share_prefixes(self.inner):
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            return self.model(**inputs, **self._video(input_ids, features), labels=labels, **options)
        firsts = [group[0] for group in groups]
        features = [features[i] for i in firsts]
        ids, packed_labels, layout = pack(groups, input_ids, attention_mask, labels, self.completion)
        prompt = {"input_ids": prompts[firsts], "attention_mask": attention_mask[firsts, : -self.completion]}
        positions = prompt_positions(self.inner, {**prompt, **self._video(prompt["input_ids"], features)})
        output = self.model(
            input_ids=ids,
            attention_mask=layout.segment_mask,  # unused; a mask of two dimensions would be expanded
            position_ids=pack_positions(positions, layout),
            shared_prefix=layout,
            **self._video(ids, features),
            labels=packed_labels,
            **options,
        )
        entropy = None if output.entropy is None else layout.unpack(output.entropy)
        return FusedCausalLMOutput(log_probs=layout.unpack(output.log_probs), entropy=entropy, aux_loss=output.aux_loss)

    def _video(self, input_ids: torch.Tensor, features: Sequence[VisionFeatures]) -> dict:
        return to_device(video_inputs(input_ids, features, self.video_token), input_ids.device)


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
