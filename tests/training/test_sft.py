"""What supervised fine-tuning learns of a completion, and what is masked."""

import copy
import dataclasses

import pytest
import torch

from rarft.training import Example, cold_start, sft_arguments, train_sft
from rarft.training.sft import collate
from rarft.video import read_video
from rarft.world.completions import comparison_completion, demonstrations, refusal_aware_completion
from rarft.world.language import parse
from rarft.world.refusals import REFUSAL


def test_labels_are_the_completion_without_what_is_masked(base, world):
    processor = base.processor
    (clip, story, (_, wrong)), other = (world[0].path, world[0].story, world[0].group), world[1]
    completion = refusal_aware_completion(story, parse(wrong.query))
    begin = completion.index(REFUSAL)
    masked = ((0, len("<think>")), (begin, begin + len(REFUSAL)))
    features = base.encode([read_video(clip), read_video(other.path)])
    longer = Example(
        features[1],
        other.group.relevant.query,
        comparison_completion(other.story, parse(other.group.relevant.query)),
    )
    batch = collate([Example(features[0], wrong.query, completion, masked), longer], base)
    learned = batch["labels"][0][batch["labels"][0] != -100]
    words = processor.tokenizer.decode(learned).split()
    expected = completion.removeprefix("<think>").replace(REFUSAL, "") + " <|im_end|>"
    assert words == expected.replace("<", " <").replace(">", "> ").split()
    assert processor.tokenizer.decode(batch["labels"][1][batch["labels"][1] != -100]).split()[-1] == "<|im_end|>"


# What the base would never say, so that there is something to learn.
LESSON = "<think> red </think><answer> no such segment : red not blue </answer><correction> NIL </correction>"


def test_demonstrations_are_learned_and_the_vision_tower_is_left_alone(base, world, tmp_path):
    model = base.model
    before = copy.deepcopy(model.state_dict())
    log = train_sft(
        base,
        [(sample, LESSON) for clip in world[:2] for sample in clip.group],
        sft_arguments(tmp_path, steps=8, batch=4, rate=1e-3, seed=0),
    )
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any("visual" in name for name in changed)


def test_a_sample_without_a_duration_is_named(base, world, tmp_path):
    sample = dataclasses.replace(world[0].group.relevant, duration=None)
    with pytest.raises(ValueError, match="duration"):
        train_sft(
            base,
            [(sample, LESSON)],
            sft_arguments(tmp_path, steps=1, batch=1, rate=1e-3, seed=0),
        )


def test_a_cold_start_teaches_the_form_of_a_refusal(base, world, tmp_path):
    shown = demonstrations([(clip.story, clip.group) for clip in world])
    assert {sample.relevant for sample, _ in shown} == {True, False}
    log = cold_start(base, shown, tmp_path, steps=30)
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < losses[0]
    texts = base.generate([read_video(world[0].path)] * 2, [s.query for s in world[0].group])
    assert all("compare :" in text for text in texts)
