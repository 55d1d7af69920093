"""A Qwen3-VL small enough for a laptop: the real classes of `transformers`, a word-level vocabulary, 64×64 pixels.

Qwen3-VL writes the seconds as text before each group of frames, so reading off a time is copying a word; with
M-RoPE positions alone (Qwen2.5-VL) the tiny model would have to learn to count.
"""

from __future__ import annotations

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from rarft import prompts
from rarft.world import completions, refusals, scenes, wordings

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>",
           "<|image_pad|>")  # fmt: skip
TAGS = tuple(f"<{slash}{tag}>" for tag in ("think", "timestep", "answer", "correction") for slash in ("", "/"))
PHRASES = tuple(value for value in refusals.SLOT_OF_WORD if len(value.split()) == 2)  # one thing, one token: `moves up`
LONGEST_SECONDS = 24
FRAME = 64  # pixels, height and width of a frame as the model reads it

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} "
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'video' %}<|video_pad|> "
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def vocabulary() -> list[str]:
    """Every word of the grammar in every wording, every whole second, the marks of the reasoning, and the words of the
    format."""
    values = [word for value in refusals.SLOT_OF_WORD if value not in PHRASES for word in value.split()]
    glue = f"the with than turns to it as on before after not and no NIL scene user assistant . : s {refusals.REFUSAL}"
    plurals = [part + "s" for part in scenes.PARTS]
    numbers = [str(n) for n in range(LONGEST_SECONDS + 1)]
    tasks = f"{prompts.DESCRIBE} {prompts.COMPARE} segment other"
    worded = [word for wording in wordings.all_words() if wording not in PHRASES for word in wording.split()]
    words = [
        *glue.split(),
        *values,
        *plurals,
        *numbers,
        *tasks.split(),
        *completions.ACTOR_NAMES,
        *completions.MARKS,
        *worded,
    ]
    return list(dict.fromkeys(["<unk>", *words]))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, a phrase or a tag. A timestamp of the video (`<4.2 seconds>`) becomes the word `4`: the second
    that an answer names is then the very token that stands before the frames, and finding it is matching a word with
    itself. With tokens of their own, each second's timestamp would have to be tied to its number one by one."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary())}, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\.\d seconds>"), " "),
            normalizers.Replace(Regex(r"<(?=\d)"), " "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    core.add_tokens([AddedToken(t, normalized=False) for t in (*TAGS, *PHRASES)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def tiny_processor() -> Qwen3VLProcessor:
    """The real Qwen3-VL processor with 8-pixel patches, merged 4×4: 64×64 pixels become four tokens a second."""
    geometry = {
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 4,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    budget = {"shortest_edge": 32 * 32, "longest_edge": FRAME * FRAME * 2 * LONGEST_SECONDS}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=budget, **geometry),
        tokenizer=tiny_tokenizer(),
        video_processor=Qwen3VLVideoProcessor(
            size=budget, cap_pixels_per_frame=False, do_sample_frames=False, **geometry
        ),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_model(
    processor: Qwen3VLProcessor, *, hidden: int = 128, layers: int = 4, vision_hidden: int = 64, vision_layers: int = 3
) -> Qwen3VLForConditionalGeneration:
    """A Qwen3-VL of about two million parameters with fresh weights (seed them with `transformers.set_seed`)."""
    token = processor.tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": hidden // 4,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [hidden // 8 - 2 * (hidden // 24), hidden // 24, hidden // 24],
                "mrope_interleaved": True,
            },
            "pad_token_id": processor.tokenizer.pad_token_id,
            "eos_token_id": processor.tokenizer.eos_token_id,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_layers,
            "hidden_size": vision_hidden,
            "intermediate_size": 3 * vision_hidden,
            "num_heads": 4,
            "patch_size": 8,
            "temporal_patch_size": 2,
            "spatial_merge_size": 4,
            "out_hidden_size": hidden,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    _widen_initialization(model)
    _look_for_equals(model)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    # A sampled vision token would ask the next forward pass for pixels that do not exist.
    model.generation_config.suppress_tokens = [token(t) for t in SPECIAL if t != "<|im_end|>"]
    return model


@torch.no_grad()
def _widen_initialization(model: torch.nn.Module) -> None:
    """Draw weight matrices at 1 / sqrt(inputs); the usual 0.02 is meant for widths in the thousands."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.05)
    model.tie_weights()


@torch.no_grad()
def _look_for_equals(model: Qwen3VLForConditionalGeneration) -> None:
    """Start the language model's queries and keys out equal, so that a word attends to where it stood before.

    After Trockman and Kolter, Mimetic Initialization of Self-Attention Layers (ICML 2023). Big models have
    learned this from text; ours has never read any, and needs it to look up "4" at the timestamp "4".
    """
    for layer in model.model.language_model.layers:
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
