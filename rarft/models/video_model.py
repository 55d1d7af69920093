"""A video language model as one object: its weights, processor and settings, and the features of its videos."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin

from rarft.models.decoding.generation import complete
from rarft.models.decoding.refusal import answer, refusal_scores
from rarft.models.families import encode_clips, freeze_vision, without_lora
from rarft.models.features import VisionFeatures
from rarft.models.load import load_weights, settings_of
from rarft.models.lora import add_lora, fingerprint, own_weights
from rarft.models.presets import keep_frame_sizes
from rarft.models.prompt_text import prompt_text, unknown_words
from rarft.models.settings import FILE, Settings, save_settings
from rarft.models.vision_cache import VisionCache
from rarft.prompts import build_prompt
from rarft.schema import Crop
from rarft.system.files import BASE
from rarft.video import Clip

log = logging.getLogger(__name__)

Videos = Sequence[Clip] | Sequence[Crop] | Sequence[VisionFeatures]


class VideoModel:
    """A model that is ready for inference and training. Its vision tower is frozen, as in the paper.

    model: a transformers model, or one with a LoRA adapter of peft around it.
    processor: its tokenizer, chat template and video processor.
    settings: how its videos are sampled and its prompts written, and how long its answers may be.
    cache: the features of the videos seen so far.
    loaded_fingerprint: of the weights in the checkpoint that an adapter names; None if the model was not loaded.
    processes: the number of processes that share the work; None lets `rarft.system.cores.plan_for` choose.
    load_copy: takes n and returns a function that loads the model in the n-th helper process. Only for a model that is
    not trained. If None, the helpers read the weights of this process.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, processor: ProcessorMixin, settings: Settings | None = None):
        self.model, self.processor = model, processor
        self.settings = settings or Settings()
        self.loaded_fingerprint: str | None = None
        self.processes: int | None = None
        self.load_copy: Callable[[int], Callable[[], VideoModel]] | None = None
        freeze_vision(model)
        if self.settings.factor:
            keep_frame_sizes(processor, self.settings.factor)
        self.cache = VisionCache(self)

    @classmethod
    def load(
        cls,
        name: str | Path = BASE,
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        changes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> VideoModel:
        """Load a model in evaluation mode, the tiny base and a 7B by the same call. No code of a repository is run.

        Args:
            name: a folder in the Hugging Face layout, a short name of `rarft.models.presets`, a hub name, or a folder
                with a LoRA adapter, which training then continues.
            revision: a commit of the hub repository; a preset brings its own.
            device: "auto" takes a GPU if there is one.
            dtype: "auto" is the checkpoint's on a GPU, and float32 on a CPU, which may have no units for bf16.
            changes: fields of `rarft.models.settings.Settings` that replace the saved ones; None values are ignored.
            options: of transformers' `from_pretrained`, such as `attn_implementation`.

        For a folder without settings, videos are read without a pixel budget, and a warning is logged. Raises
        MissingFileError for a path that does not exist; InputError for a device that this machine does not have, an
        unknown hub name, an unknown model family, weights that are damaged, missing, of the wrong shape or in a pickle,
        and a model that needs code from its repository."""
        saved = settings_of(name)
        model, processor, loaded = load_weights(name, revision=revision, device=device, dtype=dtype, **options)
        if saved is None and Path(name).is_dir():
            log.warning(
                "%s: no %s next to the weights, so videos are read at %g frames per second and in full size. If the "
                "model was trained with other settings, copy this file from the model that it was trained from",
                name,
                FILE,
                Settings.fps,
            )
        length = getattr(model.generation_config, "max_new_tokens", None) or Settings.max_new_tokens
        settings = (saved or Settings(max_new_tokens=length)).changed(**(changes or {}))
        # Older models have no settings file; their config.json names the style.
        style = settings.style or getattr(without_lora(model).config, "rarft_prompt_style", "instruct")
        video_model = cls(model.eval(), processor, replace(settings, style=style))
        video_model.loaded_fingerprint = loaded
        return video_model

    def with_cache(self, **options: Any) -> VideoModel:
        """The same model with another cache of features.

        options: those of `VisionCache`, and fields of the settings about videos, such as `fps`, to be changed."""
        other = copy.copy(self)
        sampling = {name: options.pop(name) for name in self.settings.video if name in options}
        other.settings = replace(self.settings, **sampling)
        other.cache = VisionCache(other, **options)
        return other

    @property
    def name(self) -> str:
        """What the model was loaded as, and a hash of its weights if it has an adapter or was trained since."""
        loaded = self.model.name_or_path
        if not isinstance(self.model, PeftModel) and fingerprint(self.model) == self.loaded_fingerprint:
            return loaded
        return f"{loaded}, weights {fingerprint(self.model, adapters=True)[:12]}"

    # -- asking ----------------------------------------------------------------------------------------------------

    @property
    def style(self) -> str:
        """The prompt style, see `rarft.prompts`."""
        return self.settings.style or "instruct"

    def encode(self, clips: Sequence[Clip]) -> list[VisionFeatures]:
        """Run the vision tower, and its merger or projector, once over each clip."""
        return encode_clips(self, clips)

    def features(self, crops: Sequence[Crop]) -> list[VisionFeatures]:
        """Features of videos, or of parts of them, each encoded once.

        Raises VideoError for a video that cannot be read."""
        return self.cache.get(crops)

    def prompt_texts(self, queries: Sequence[str]) -> list[str]:
        """Chat-templated prompts, each ending where the model's turn begins; see `rarft.models.prompt_text`."""
        return [prompt_text(self.processor, build_prompt(query, self.style)) for query in queries]

    def note_of_unknown_words(self, query: str) -> str | None:
        """A warning for a query with words that the model has no tokens for; None if there are no such words."""
        words = ", ".join(dict.fromkeys(unknown_words(self.processor.tokenizer, query)))
        note = f"{query!r}: this model has no tokens for: {words}. Its answer says nothing about them."
        return note if words else None

    def _warn_of_unknown_words(self, queries: Sequence[str]) -> None:
        for query in dict.fromkeys(queries):
            note = self.note_of_unknown_words(query)
            if note:
                log.warning(note)

    def generate(
        self,
        videos: Videos,
        queries: Sequence[str],
        *,
        num_generations: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int | None = None,
    ) -> list[str]:
        """Complete each query about its video.

        Args:
            videos: one for each query: clips, crops of files, or features that are already computed.
            num_generations: completions for each query; they are adjacent in the result.
            temperature: 0 for the most likely tokens, else sampling (seed it with `torch.manual_seed`).
            max_new_tokens: the maximum length of a completion; `settings.max_new_tokens` by default.

        Returns len(queries) * num_generations texts, without the end-of-turn token. Logs a warning for a query with
        words that the model has no tokens for."""
        self._warn_of_unknown_words(queries)
        return complete(
            self,
            self._features_of(videos),
            self.prompt_texts(queries),
            num_generations=num_generations,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
        )[0]

    def answer(
        self, videos: Videos, queries: Sequence[str], *, batch_size: int | None = None, scored: bool = True
    ) -> tuple[list[str], np.ndarray]:
        """Greedy completions of the queries and their refusal scores: `generate` and `refusal_scores` in one pass.

        Args:
            batch_size: the most queries that go through the model of one process together; no limit by default.
            scored: if False, all scores are NaN.

        Logs a warning as `generate` does."""
        self._warn_of_unknown_words(queries)
        return answer(self, self._features_of(videos), queries, batch_size=batch_size, scored=scored)

    def refusal_scores(self, videos: Videos, queries: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """The probability of a refusal for each completion (n,); see `rarft.models.decoding.refusal`."""
        return refusal_scores(self, self._features_of(videos), queries, completions)

    def _features_of(self, videos: Videos) -> list[VisionFeatures]:
        if videos and isinstance(videos[0], Clip):
            return self.encode(videos)
        return self.features(videos) if videos and isinstance(videos[0], Crop) else list(videos)

    # -- training and saving ---------------------------------------------------------------------------------------

    def add_lora(self, **options: Any) -> None:
        """Put a LoRA adapter around the language model; see `rarft.models.lora.add_lora`."""
        self.model = add_lora(self.model, **options)

    def save(self, folder: str | Path) -> None:
        """Save the model, or only its adapter, with the processor and settings; `load` reads the folder.

        If the base model of an adapter has changed since it was loaded, it is saved into the subfolder base/."""
        folder = Path(folder)
        self.save_changed_base(folder / "base")
        self.write_settings(folder)
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def write_settings(self, folder: str | Path) -> None:
        """Write the settings into a folder, and into the config that is saved with the weights."""
        without_lora(self.model).config.rarft_settings = asdict(self.settings)
        self.model.generation_config.max_new_tokens = self.settings.max_new_tokens
        save_settings(folder, self.settings)

    def save_changed_base(self, folder: Path) -> None:
        """If the base model of an adapter has changed since it was loaded, save it and make the adapter refer to it.
        The checkpoint that the adapter named before holds the old weights."""
        if not isinstance(self.model, PeftModel) or self.loaded_fingerprint == fingerprint(self.model):
            return
        without_lora(self.model).save_pretrained(folder, state_dict=dict(own_weights(self.model)))
        self.processor.save_pretrained(folder)
        self.loaded_fingerprint = fingerprint(self.model)
        self.model.active_peft_config.base_model_name_or_path = str(folder.resolve())
