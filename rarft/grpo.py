"""GRPO on video: TRL's `GRPOTrainer`, which wires only images, with video added and as little else as can be.

What differs from TRL: where a prompt's video comes from (`_tokenize_prompts`), how a group is sampled from one
prefill (`_generate_single_turn`), and that the video reaches the log-probability pass (`_VideoForward`). Loss,
advantages, logging, checkpoints and scaling are TRL's own. Position ids follow from the same inputs in both
passes, so log-probabilities of training and generation agree (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rarft._torchvision  # noqa: F401

import torch
from transformers import GenerationConfig
from trl import GRPOTrainer

from rarft.generate import generate_from_shared_prefix, to_device
from rarft.inputs import VisionFeatures, tokenize_with_features, video_inputs
from rarft.vision_cache import VisionCache


class VideoGRPOTrainer(GRPOTrainer):
    """GRPO for prompts with one video.

    The dataset's `prompt` is a message list with a part `{"type": "video", "video": PATH}`, optionally with
    `start` and `end` seconds; its other columns reach the rewards by name. The vision tower must be frozen
    (`rarft.models.freeze_vision`), as in the paper: then each video is encoded once in the whole run.
    """

    def __init__(self, *args: Any, vision_cache: VisionCache | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.vision_cache = vision_cache or VisionCache(self.accelerator.unwrap_model(self.model), self.processing_class)
        self._features: list[VisionFeatures] = []  # of the generation batch, one for each row
        self._rows: torch.Tensor | None = None  # which of them the batch in hand needs

    # -- generation --------------------------------------------------------------------------------------------

    def _tokenize_prompts(self, prompts: list) -> tuple[list[list[int]], None, dict]:
        videos = [video_part(prompt) for prompt in prompts]
        self._features = self.vision_cache.get(videos)
        self._rows = torch.arange(len(prompts))
        texts = [
            self.processing_class.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
            for prompt in prompts
        ]
        inputs = tokenize_with_features(self.processing_class, texts, self._features)
        mask = inputs["attention_mask"].bool()
        return [ids[m].tolist() for ids, m in zip(inputs["input_ids"], mask, strict=True)], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        # TRL repeats each prompt for its completions, next to each other: prefill one of each run of equals.
        firsts = group_starts(prompt_ids, self._features)
        repeats = len(prompt_ids) // len(firsts)
        if firsts != list(range(0, len(prompt_ids), repeats)):
            firsts, repeats = list(range(len(prompt_ids))), 1
        features = [self._features[i] for i in firsts]
        inputs = self.processing_class.tokenizer.pad(
            {"input_ids": [prompt_ids[i] for i in firsts]}, return_tensors="pt", padding_side="left"
        )
        inputs = {**inputs, **video_inputs(inputs["input_ids"], features, self.processing_class.video_token_id)}
        model = self.accelerator.unwrap_model(self.model)
        training = model.training
        model.eval()
        config = self._sampling_config(model)
        with torch.no_grad():
            ids = generate_from_shared_prefix(model, to_device(inputs, self.accelerator.device), config, repeats)
        model.train(training)
        completions = ids[:, inputs["input_ids"].shape[1] :]
        return [self._until_end(row) for row in completions.cpu()], None

    def _sampling_config(self, model) -> GenerationConfig:
        """TRL's sampling settings over the checkpoint's own, and never a vision token: the next forward pass would ask
        for pixels that do not exist. (TRL's list has the image token only, and replaces the checkpoint's.)"""
        own, trl = model.generation_config.to_diff_dict(), self.generation_config.to_diff_dict()
        vision = {self.processing_class.video_token_id, getattr(self.processing_class, "image_token_id", None)} - {None}
        suppressed = vision.union(own.get("suppress_tokens") or [], trl.get("suppress_tokens") or [])
        return GenerationConfig(**{**own, **trl, "suppress_tokens": sorted(suppressed)})

    def _until_end(self, ids: torch.Tensor) -> list[int]:
        """A completion up to and with its end-of-turn token."""
        ends = torch.isin(ids, torch.tensor(self.eos_token_ids)).nonzero()
        return ids[: ends[0, 0] + 1 if len(ends) else len(ids)].tolist()

    # -- the training pass -------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        output["video_row"] = torch.arange(len(inputs), device=self.accelerator.device)  # survives TRL's shuffle
        return output

    def _compute_loss(self, model, inputs):
        self._rows = inputs["video_row"].cpu()
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, *args, **kwargs):
        features = [self._features[row] for row in self._rows]
        forward = _VideoForward(model, features, self.processing_class.video_token_id)
        return super()._get_per_token_logps_and_entropies(forward, input_ids, *args, **kwargs)


class _VideoForward:
    """A model whose every call is handed the videos of the next rows: TRL goes through a batch in order."""

    def __init__(self, model: torch.nn.Module, features: Sequence[VisionFeatures], video_token: int):
        self.model, self.features, self.video_token, self.done = model, features, video_token, 0

    def __call__(self, input_ids: torch.Tensor, **inputs: Any):
        features = self.features[self.done : self.done + len(input_ids)]
        self.done += len(input_ids)
        video = to_device(video_inputs(input_ids, features, self.video_token), input_ids.device)
        return self.model(input_ids=input_ids, **inputs, **video)


def video_part(prompt: list[dict]) -> dict:
    """The one video part of a message list. Raises ValueError if there is none, or more than one."""
    parts = [
        part
        for message in prompt
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "video"
    ]
    if len(parts) != 1 or not parts[0].get("video"):
        raise ValueError(f"a prompt needs exactly one video part with a path under 'video', got {parts}: {prompt}")
    return parts[0]


def group_starts(prompt_ids: list[list[int]], features: list[VisionFeatures]) -> list[int]:
    """Indices at which a run of equal prompts about the same video begins."""
    return [
        i
        for i in range(len(prompt_ids))
        if i == 0 or features[i] is not features[i - 1] or prompt_ids[i] != prompt_ids[i - 1]
    ]


