"""What supervised fine-tuning learns of a completion, and what is masked."""

from rarft.training import Example
from rarft.training.sft import collate
from rarft.video import read_video
from rarft.world.completions import reasoning, refused
from rarft.world.language import REFUSAL, parse


def test_labels_are_the_completion_without_what_is_masked(base, world):
    model, processor = base
    (clip, story, (_, wrong)), other = (world[0].path, world[0].story, world[0].samples), world[1]
    completion = refused(story, parse(wrong.query))
    begin = completion.index(REFUSAL)
    masked = ((0, len("<think>")), (begin, begin + len(REFUSAL)))
    longer = Example(
        read_video(other.path),
        other.samples[0].query,
        f"<think> {reasoning(other.story, parse(other.samples[0].query))}",
    )
    batch = collate([Example(read_video(clip), wrong.query, completion, masked), longer], processor, "plain")
    learned = batch["labels"][0][batch["labels"][0] != -100]
    words = processor.tokenizer.decode(learned).split()
    expected = completion.removeprefix("<think>").replace(REFUSAL, "") + " <|im_end|>"
    assert words == expected.replace("<", " <").replace(">", "> ").split()
    assert processor.tokenizer.decode(batch["labels"][1][batch["labels"][1] != -100]).split()[-1] == "<|im_end|>"
