"""A small model with random weights and the class and geometry of Qwen2.5-VL: 14-pixel patches, merged two by two, and
two frames per temporal step. Its answers mean nothing, but its inputs have as many tokens as at full size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    set_seed,
)

from rarft.models import PRESETS, VideoModel

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>",
    "<|image_pad|>",
)  # fmt: skip
HIDDEN, WORDS = 64, 8000
GEOMETRY = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer like Qwen's, learned from a few texts; it can encode any text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=32768,
    )


def small_model(
    texts: Iterable[str], *, seed: int = 0
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor]:
    """Make the model and its processor; the tokenizer is learned from `texts`."""
    tokenizer = small_tokenizer(texts)
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**GEOMETRY),
        tokenizer,
        Qwen2VLVideoProcessor(do_sample_frames=False, **GEOMETRY),
        chat_template=CHAT_TEMPLATE,
    )
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "fullatt_block_indexes": [1],
        "out_hidden_size": HIDDEN,
        "tokens_per_second": 2,
    }
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    ids = {f"{name.removesuffix('_pad')}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    set_seed(seed)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return Qwen2_5_VLForConditionalGeneration(config), processor


def write_small_model(
    folder: str | Path, texts: Iterable[str], *, preset: str = "qwen2.5-vl-7b", max_new_tokens: int = 64, seed: int = 0
) -> Path:
    """Save a small model with the settings of a preset, so that it gets the same frames and prompts.

    Raises KeyError for an unknown preset.
    """
    model, processor = small_model(texts, seed=seed)
    VideoModel(model, processor, PRESETS[preset].settings.changed(max_new_tokens=max_new_tokens)).save(folder)
    return Path(folder)
