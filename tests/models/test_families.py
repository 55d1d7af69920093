"""Other video models through the same calls: random weights, real configuration and processor classes, saved and
loaded."""

import copy

import pytest
import torch
from transformers import (
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlama3ImageProcessor,
    VideoLlama3Processor,
    VideoLlama3VideoProcessor,
    set_seed,
)

from coursekit.base.tiny import CHAT_TEMPLATE, tiny_model, tiny_processor, tiny_tokenizer
from rarft.models import (
    Settings,
    VideoModel,
    tokenize_with_features,
    video_kwargs,
)
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.training import build_trainer, grpo, grpo_config, train_rarft
from rarft.video import read_video

HIDDEN = 32
PIXELS = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts", "video_merge_sizes", "video_compression_mask")
GEOMETRY = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2}
BUDGET = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64 * 48}


def text_config(tokenizer, **more):
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **more,
    }


def token_ids(tokenizer):
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def qwen2_5_vl():
    tokenizer = tiny_tokenizer()
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=BUDGET, **GEOMETRY),
        tokenizer,
        Qwen2VLVideoProcessor(size=BUDGET, do_sample_frames=False, **GEOMETRY),
        chat_template=CHAT_TEMPLATE,
    )
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "window_size": 32,
        "fullatt_block_indexes": [1],
        "out_hidden_size": HIDDEN,
        "tokens_per_second": 2,
    }
    config = Qwen2_5_VLConfig(
        text_config=text_config(tokenizer, rope_parameters=rope), vision_config=vision, **token_ids(tokenizer)
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl_with_deepstack():
    processor = tiny_processor()
    config = tiny_model(processor).config
    config.vision_config.deepstack_visual_indexes = [0, 1]
    return Qwen3VLForConditionalGeneration(config), processor


def llava_onevision():
    tokenizer = tiny_tokenizer()
    size = {"height": 32, "width": 32}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size, do_sample_frames=False),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        chat_template=CHAT_TEMPLATE,
    )
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "vision_use_head": False,
    }
    ids = token_ids(tokenizer)
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        image_token_id=ids["image_token_id"],
        video_token_id=ids["video_token_id"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def llava_next_video():
    tokenizer = tiny_tokenizer()
    size = {"height": 32, "width": 32}
    processor = LlavaNextVideoProcessor(
        LlavaNextVideoVideoProcessor(size=size, crop_size=size, do_sample_frames=False),
        LlavaNextImageProcessor(size={"shortest_edge": 32}, crop_size=size),
        tokenizer,
        chat_template=CHAT_TEMPLATE,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        num_additional_image_tokens=1,
    )
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    ids = token_ids(tokenizer)
    config = LlavaNextVideoConfig(
        vision_config=vision,
        text_config={"model_type": "llama", **text_config(tokenizer)},
        image_token_index=ids["image_token_id"],
        video_token_index=ids["video_token_id"],
        vision_feature_layer=-1,
    )
    return LlavaNextVideoForConditionalGeneration(config), processor


def video_llama3():
    tokenizer = tiny_tokenizer()
    geometry = {"patch_size": 8, "temporal_patch_size": 1, "merge_size": 2}
    processor = VideoLlama3Processor(
        VideoLlama3ImageProcessor(size=BUDGET, **geometry),
        tokenizer,
        VideoLlama3VideoProcessor(size=BUDGET, do_sample_frames=False, use_token_compression=True, **geometry),
        chat_template=CHAT_TEMPLATE,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 8,
    }
    config = VideoLlama3Config(
        vision_config=vision, text_config={"model_type": "qwen2", **text_config(tokenizer)}, **token_ids(tokenizer)
    )
    return VideoLlama3ForConditionalGeneration(config), processor


FAMILIES = [qwen2_5_vl, qwen3_vl_with_deepstack, llava_onevision, llava_next_video, video_llama3]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda f: f.__name__)
def checkpoint(request, tmp_path_factory):
    """A folder in the ordinary layout; the weights are wide enough for answers to depend on the video."""
    set_seed(0)
    model, processor = request.param()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.suppress_tokens = [processor.video_token_id, processor.image_token_id]
    folder = tmp_path_factory.mktemp(request.param.__name__)
    VideoModel(model, processor, Settings(style="plain")).save(folder)
    return folder


@pytest.fixture
def loaded(checkpoint):
    return VideoModel.load(checkpoint, device="cpu")


def test_generation_from_shared_features_is_one_forward_pass_after_another(loaded, world):
    """The reference: the processor's own tensors, everything computed again for each token, no cache of any kind."""
    model, processor = loaded.model, loaded.processor
    for clip_, fps in zip(world[:2], (2.0, 1.0), strict=True):
        clip, query = read_video(clip_.path, fps=fps), clip_.group.relevant.query
        ours = loaded.generate([clip], [query], num_generations=2, max_new_tokens=16)
        inputs = processor(text=loaded.prompt_texts([query]), return_tensors="pt", **video_kwargs([clip]))
        fixed = {k: v for k, v in inputs.items() if k in PIXELS}
        ids = inputs["input_ids"]
        while ids.shape[1] < inputs["input_ids"].shape[1] + 16:
            types = (
                {"mm_token_type_ids": 2 * (ids == processor.video_token_id).int()}
                if "mm_token_type_ids" in inputs
                else {}
            )
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **types, **fixed).logits[:, -1]
            logits[:, model.generation_config.suppress_tokens] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
            if ids[0, -1] == processor.tokenizer.eos_token_id:
                break
        plain = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0].strip()
        assert ours == [plain, plain]


def test_a_batch_of_mixed_durations_is_read_as_one_by_one(loaded, world):
    model, processor = loaded.model, loaded.processor
    clips = [read_video(c.path, fps=fps) for c, fps in zip(world[:2], (2.0, 1.0), strict=True)]
    texts = loaded.prompt_texts([c.group.relevant.query for c in world[:2]])
    features = loaded.encode(clips)
    with torch.no_grad():
        together = model(**tokenize_with_features(processor, texts, features)).logits[:, -1]
        for i in (0, 1):
            alone = model(**tokenize_with_features(processor, texts[i : i + 1], features[i : i + 1])).logits[0, -1]
            torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_a_training_step_sees_the_video(loaded, world, tmp_path, monkeypatch, lora):
    if lora:
        loaded.add_lora(rank=4)
    model = loaded.model
    groups = [clip.group for clip in world[:4]]
    config = grpo_config(
        tmp_path, num_generations=2, per_device_train_batch_size=4, max_steps=2, max_completion_length=16
    )
    before = copy.deepcopy({n: p.detach() for n, p in model.named_parameters() if p.requires_grad})
    trainer = build_trainer(loaded, groups, config)
    batch = trainer._generate_and_score_completions([trainer.train_dataset[i] for i in (0, 0, 3, 3)])

    def logps():
        with torch.no_grad():
            return trainer.token_log_probabilities(batch)

    seen = logps()
    assert share_prefixes(model)
    with monkeypatch.context() as patch:  # every row by itself
        patch.setattr(grpo, "share_prefixes", lambda _: False)
        torch.testing.assert_close(
            seen * batch["completion_mask"], logps() * batch["completion_mask"], atol=1e-4, rtol=1e-3
        )
    batch["video_features"] = copy.deepcopy(batch["video_features"])
    for feature in batch["video_features"]:
        feature.embeds.zero_()
    assert (seen - logps()).abs().mean() > 1e-3

    def spread(completions, **_):  # random weights earn nothing: any reward that differs will do
        return [float(i % 2) for i in range(len(completions))]

    train_rarft(loaded, groups, config, rewards=[spread])
    changed = {n for n, p in model.named_parameters() if n in before and not torch.equal(p, before[n])}
    assert changed and not any("visual" in n or "vision_tower" in n or "projector" in n for n in changed)
