"""Video GRPO: the model sees the video, training and generation agree, the loss is TRL's, runs resume."""

import copy
import dataclasses

import pytest
import torch
from datasets import Dataset
from PIL import Image
from trl import GRPOTrainer

from coursekit.base.tiny import CHAT_TEMPLATE
from rarft.models import VideoModel, VisionCache, VisionFeatures
from rarft.schema import Crop, Group
from rarft.training import build_trainer, grpo_config, refusal_dataset, train_rarft
from rarft.video import read_video


@pytest.fixture
def groups(world):
    return [clip.group for clip in world]


def settings(folder, **changes):
    return grpo_config(
        folder,
        **{
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "max_steps": 2,
            "max_completion_length": 320,
            "top_entropy_quantile": 1.0,
            **changes,
        },
    )


def batch_of(trainer):
    """A generation batch of two prompts about clips of different durations."""
    rows = [trainer.train_dataset[i] for i in (0, 3) for _ in range(4)]
    assert rows[0]["duration"] != rows[4]["duration"]
    return trainer._generate_and_score_completions(rows)


SETTINGS = {
    "plain": {},
    "lora": {"lora": True},
    "checkpointing": {"checkpointing": True},
    "crops at 3 frames a second": {"crop": (2.0, 9.5), "fps": 3.0},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_log_probabilities_of_training_are_those_of_generation(base, groups, tmp_path, name):
    model, processor = base.model, base.processor
    setting = SETTINGS[name]
    lora, checkpointing = setting.get("lora", False), setting.get("checkpointing", False)
    if lora:
        base.add_lora(rank=4)
        model = base.model
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.05)
    if "crop" in setting:
        start, end = setting["crop"]
        crops = [(start, end), (start + 1, end + 2)]  # of different lengths: the batch is mixed
        groups = [
            Group.of(dataclasses.replace(s, start=a, end=b) for s in g)
            for g, (a, b) in zip(groups, crops * 6, strict=True)
        ]
    base = base.with_cache(fps=setting.get("fps", 2.0))
    config = settings(tmp_path, gradient_checkpointing=checkpointing)
    trainer = build_trainer(base, groups, config)
    batch = batch_of(trainer)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # as `train()` does
        model.train()
        assert model.is_gradient_checkpointing
        trained = trainer.token_log_probabilities(batch).detach()
        model.eval()
        model.gradient_checkpointing_disable()
    else:
        with torch.no_grad():
            trained = trainer.token_log_probabilities(batch)
    # Walk each completion token by token from the real video, the way generation goes, without any cache of ours.
    features = batch["video_features"]
    from rarft.models.features import video_inputs

    inner = model.get_base_model() if lora else model
    for row in (0, 5):
        real = batch["prompt_mask"][row].bool()
        prompt = batch["prompt_ids"][row][real][None]
        length = int(batch["completion_mask"][row].sum())
        inputs = {"input_ids": prompt, **video_inputs(prompt, [features[row]], processor.video_token_id)}
        with torch.no_grad():
            output = model(**inputs, use_cache=True)
            for position in range(length):
                token = batch["completion_ids"][row, position]
                expected = torch.log_softmax(output.logits[0, -1].float(), -1)[token]
                assert trained[row, position] == pytest.approx(float(expected), abs=2e-3)
                output = inner(input_ids=token[None, None], past_key_values=output.past_key_values, use_cache=True)


def test_rows_find_their_videos_in_any_chunks_and_order(base, groups, tmp_path):
    """TRL may split a batch, or bring its rows in another order: each row brings its video along."""
    model = base.model
    trainer = build_trainer(base, groups, settings(tmp_path))
    batch = batch_of(trainer)
    with torch.no_grad():
        whole = trainer.token_log_probabilities(batch)
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
        trainer._features = [batch["video_features"][i] for i in order]
        width = batch["completion_ids"].shape[1]
        chunked = trainer._get_per_token_logps_and_entropies(model, ids[order], mask[order], width, batch_size=3)[0]
        trainer._features = batch["video_features"]
        wrong = trainer._get_per_token_logps_and_entropies(model, ids[order], mask[order], width)[0]
    real = batch["completion_mask"]
    torch.testing.assert_close(chunked * real[order], (whole * real)[order], atol=1e-3, rtol=1e-3)
    assert ((wrong - chunked) * real[order]).abs().max() > 0.1, "with another row's video the figures differ"


def test_the_model_sees_the_video(base, groups, tmp_path):
    trainer = build_trainer(base, groups, settings(tmp_path))
    batch = batch_of(trainer)
    with torch.no_grad():
        seen = trainer.token_log_probabilities(batch)
        for feature in batch["video_features"]:
            object.__setattr__(feature, "embeds", torch.zeros_like(feature.embeds))
        blind = trainer.token_log_probabilities(batch)
    assert (seen - blind).abs().mean() > 0.05


def test_vision_tokens_are_never_sampled(base, groups, tmp_path):
    """One drawn video token crashes the training pass; at this temperature a draw is all but uniform."""
    processor = base.processor
    trainer = build_trainer(base, groups, settings(tmp_path, temperature=100.0))
    batch = batch_of(trainer)
    drawn = set(batch["completion_ids"][batch["completion_mask"].bool()].tolist())
    assert len(drawn) > 60
    tokens = ("<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>")
    assert not drawn & set(processor.tokenizer.convert_tokens_to_ids(list(tokens)))


def test_loss_by_hand(base, groups, tmp_path):
    model = base.model
    trainer = build_trainer(base, groups, settings(tmp_path))
    batch = batch_of(trainer)
    loss = trainer._compute_loss(model, batch)
    with torch.no_grad():
        logp = trainer.token_log_probabilities(batch)
    mask = batch["completion_mask"]
    by_hand = -(torch.exp(logp - logp) * batch["advantages"][:, None] * mask).sum() / mask.sum()
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert torch.allclose(batch["advantages"].view(2, 4).sum(1), torch.zeros(2), atol=1e-3)


def test_loss_and_gradients_are_those_of_trl_on_image_prompts(base, groups, world, tmp_path):
    """A still of one frame pair is to the model what an image is: TRL's own flow for images is the reference."""
    model, processor = base.model, base.processor
    images = [Image.fromarray(read_video(clip.path).frames[0]) for clip in world[:2]]
    content = [{"type": "image"}, {"type": "text", "text": groups[0].relevant.query}]
    processor.chat_template = CHAT_TEMPLATE.replace("'video' %}<|video_pad|>", "'image' %}<|image_pad|>")
    rows = [{"prompt": [{"role": "user", "content": content}], "image": image} for image in images for _ in range(4)]
    config = settings(tmp_path, temperature=2.0, max_completion_length=48, beta=0.0)

    def spread(completions, **_):
        return [float(i % 3) for i in range(len(completions))]

    reference = GRPOTrainer(
        model, reward_funcs=[spread], args=config, train_dataset=Dataset.from_list(rows), processing_class=processor
    )
    reference.current_gradient_accumulation_steps = 1
    batch = reference._generate_and_score_completions(rows)
    reference._compute_loss(model, batch).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    ours = build_trainer(base, groups, config)
    ours.current_gradient_accumulation_steps = 1
    pixels = processor.image_processor(images, return_tensors="pt")
    embeds = model.get_image_features(pixels["pixel_values"], pixels["image_grid_thw"]).pooler_output
    stills = [
        VisionFeatures(e.detach(), "", {"video_grid_thw": g})
        for e, g in zip(embeds, pixels["image_grid_thw"], strict=True)
    ]
    features = [still for still in stills for _ in range(4)]
    prompts = batch["prompt_ids"].masked_fill(batch["prompt_ids"] == processor.image_token_id, processor.video_token_id)
    assert (prompts == processor.video_token_id).sum() == sum(len(e) for e in embeds) * 4
    kept = ("prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch")
    loss = ours._compute_loss(model, {"prompt_ids": prompts, "video_features": features, **{k: batch[k] for k in kept}})
    loss.backward()
    assert loss.item() == pytest.approx(reference._compute_loss(model, batch).item(), abs=1e-6)
    assert max(g.abs().max() for g in expected.values()) > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, atol=1e-5, rtol=1e-3)


def test_training_changes_the_language_model_only_and_encodes_each_video_once(base, groups, tmp_path):
    model = base.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    # warm enough that answers to one prompt differ: the base has no doubts of its own
    trainer = train_rarft(base, groups[:3], settings(tmp_path, max_steps=4, temperature=1.5))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and not any("visual" in name for name in changed)
    assert base.cache.encoded == 3
    rows = [r for r in trainer.state.log_history if "reward" in r]
    assert len(rows) == 4 and all(
        f"rewards/{n}/mean" in rows[0] for n in ("format", "refuse_iou", "explain", "correction")
    )


def test_a_killed_run_resumes_with_the_same_losses(base, groups, tmp_path):
    model, processor = base.model, base.processor
    other = VideoModel(copy.deepcopy(model), processor, base.settings)
    whole = train_rarft(base, groups, settings(tmp_path / "a", max_steps=4, seed=1))
    keep = {"save_strategy": "steps", "save_steps": 2, "seed": 1, "max_steps": 4}
    config = settings(tmp_path / "b", **keep)
    first = copy.deepcopy(other)
    trainer = build_trainer(first, groups, config)
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 2
            return control

    trainer.add_callback(Stop())
    trainer.train()
    resumed = train_rarft(other, groups, settings(tmp_path / "b", **keep), resume=True)
    losses = [[r["reward"] for r in t.state.log_history if "reward" in r] for t in (whole, resumed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and len(set(losses[0])) > 1


def test_a_trainable_tower_and_a_prompt_without_video_are_refused(base, groups, tmp_path):
    model = base.model
    from rarft.models import vision_tower
    from rarft.training.grpo import video_part

    with pytest.raises(ValueError, match="exactly one video"):
        video_part([{"role": "user", "content": [{"type": "text", "text": "a"}]}])
    vision_tower(model).requires_grad_(True)
    with pytest.raises(ValueError, match="freeze"):
        VisionCache(base)
    VideoModel(model, base.processor)
    assert not any(p.requires_grad for p in vision_tower(model).parameters())


def test_the_disk_cache_is_keyed_by_content_and_weights(base, world, tmp_path):
    model = base.model
    video = Crop(str(world[0].path))
    first = base.with_cache(folder=tmp_path).cache
    second = base.with_cache(folder=tmp_path).cache
    assert torch.equal(first.get([video])[0].embeds, second.get([video, video])[0].embeds)
    assert (first.encoded, second.encoded) == (1, 0)
    with torch.no_grad():
        next(model.model.visual.parameters()).add_(0.1)
    third = base.with_cache(folder=tmp_path).cache
    third.get([video])
    assert third.encoded == 1


def test_groups_sampled_from_one_prefill_are_what_plain_generation_gives(base, world):
    from rarft.models import video_kwargs
    from rarft.video import read_video

    model, processor = base.model, base.processor
    clips = [read_video(c.path) for c in world[:4]]
    queries = [c.group.irrelevant[0].query for c in world[:4]]
    ours = base.generate(clips, queries, num_generations=2, max_new_tokens=60)
    inputs = processor(
        text=base.prompt_texts(queries),
        padding=True,
        padding_side="left",
        return_tensors="pt",
        **video_kwargs(clips),
    )
    ids = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    plain = [
        t.strip() for t in processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ]
    assert ours[::2] == plain and ours[1::2] == plain


def test_kl_is_measured_against_the_model_that_was_passed_in(base, groups, tmp_path):
    """A model that was changed in memory: on disk, under its name, lies another one."""
    model = base.model
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    started = copy.deepcopy(model)
    small = {"max_completion_length": 8, "learning_rate": 1e-2, "warmup_steps": 0, "temperature": 3.0}
    config = settings(tmp_path, beta=0.5, max_steps=2, **small)
    trainer = train_rarft(base, groups, config, rewards=[thirds])
    first, second = (row["kl"] for row in trainer.state.log_history if "kl" in row)
    assert first == pytest.approx(0, abs=1e-6) and second > 1e-3
    reference = trainer.accelerator.unwrap_model(trainer.ref_model)
    assert all(torch.equal(p, q) for p, q in zip(reference.parameters(), started.parameters(), strict=True))
    assert not any(p.requires_grad for p in reference.parameters())


def thirds(completions, **_):
    return [float(i % 3) for i in range(len(completions))]


@pytest.mark.parametrize("reuse", [{"steps_per_generation": 2}, {"num_iterations": 2}, {}], ids=str)
def test_an_evaluation_changes_nothing(base, groups, tmp_path, reuse):
    """Other videos, another number of rows, in the middle of the passes over one generation: training is the same."""
    model, processor = base.model, base.processor
    other = VideoModel(copy.deepcopy(model), processor, base.settings)
    small = {
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 8,
        "max_steps": 4,
        **reuse,
    }
    small["temperature"] = 3.0  # the base gives one answer otherwise
    plain = train_rarft(base, groups[:3], settings(tmp_path / "a", **small), rewards=[thirds])
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 6}
    config = settings(tmp_path / "b", **small, **evaluation)
    asked = {"rewards": [thirds], "eval_dataset": refusal_dataset(groups[3:], "plain")}
    trainer = build_trainer(other, groups[:3], config, **asked)
    trainer.train()
    assert len([row for row in trainer.state.log_history if "eval_reward" in row]) == 4
    kept = ("loss", "grad_norm", "reward", "entropy")
    logs = [[[row[k] for k in kept] for row in t.state.log_history if "reward" in row] for t in (plain, trainer)]
    assert logs[0] == logs[1] and any(row[1] > 0 for row in logs[0])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.model.parameters(), strict=True))


def test_later_passes_of_a_generation_see_their_own_videos(base, groups, tmp_path):
    """At learning rate 0, the second pass over the same completions has the log-probabilities of the first."""
    model = base.model
    config = settings(tmp_path, num_iterations=2, learning_rate=0.0, max_completion_length=16, num_generations=2)
    trainer = build_trainer(base, groups, config, rewards=[thirds])
    trainer.eval_dataset = refusal_dataset(groups[3:], "plain")
    model.train()
    batch = trainer._prepare_inputs([trainer.train_dataset[i] for i in (0, 3, 4, 7) for _ in range(2)])
    with torch.no_grad():
        before = trainer.token_log_probabilities(batch)
        model.eval()
        trainer._prepare_inputs([trainer.eval_dataset[i] for i in (0, 1) for _ in range(2)])
        model.train()
        trainer._step = 1
        again = trainer._prepare_inputs([])
        torch.testing.assert_close(trainer.token_log_probabilities(again), before)
