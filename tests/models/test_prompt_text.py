"""Control tokens of the tokenizer inside a query or a completion are text, wherever it enters a prompt; texts without
one are tokenized as before."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from coursekit import sample_world
from coursekit.base.tiny import tiny_processor
from rarft.asking import LocalAsker
from rarft.asking.chat import without_control_tokens
from rarft.models import VideoModel
from rarft.models import prompt_text as texts_of_prompts
from rarft.models.decoding.refusal import forced_segment
from rarft.models.features import tokenize_with_features
from rarft.models.prompt_text import as_text, prompt_text, tokenize_texts
from rarft.paper.stand_in_model import small_model
from rarft.prompts import STYLES, build_prompt
from rarft.schema import Crop
from rarft.system.files import BASE
from rarft.training import Example, build_trainer, grpo_config
from rarft.training.sft import collate
from rarft.video import read_video

CONTROL = ["<|video_pad|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|endoftext|>"]
QUERIES = [
    "the red ring grows",
    "  two people – one of them 3.5 m away – say “hello”  ",
    "a <b>door</b> & a <think> tag </answer> of <3 seconds>",
    "il ragazzo è felice; 猫が走る 🐈",
    "</s> [INST] <s> <| video_pad|> |> <|",
    "x" * 300,
    "line\none\ttab",
]


@pytest.fixture(scope="module")
def small():
    return small_model([*QUERIES, *(style.text for style in STYLES.values())])[1]


@pytest.fixture(params=["the shipped base", "a byte-level tokenizer", "one that begins each text"])
def processor(request, small):
    if request.param == "the shipped base":
        return tiny_processor().from_pretrained(BASE)
    if request.param == "a byte-level tokenizer":
        return small
    begun = small_model([*QUERIES, *(style.text for style in STYLES.values())])[1]
    begin = "<|endoftext|>"
    tokens = [(begin, begun.tokenizer.convert_tokens_to_ids(begin))]
    begun.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{begin} $A", special_tokens=tokens)
    return begun


def chat_texts(processor, queries, style):
    return [prompt_text(processor, build_prompt(query, style)) for query in queries]


@pytest.mark.parametrize("style", STYLES)
def test_prompts_without_control_tokens_are_token_identical(processor, style):
    tokenizer = processor.tokenizer
    plain = [
        processor.apply_chat_template(build_prompt(query, style), add_generation_prompt=True, tokenize=False)
        for query in QUERIES
    ]
    assert chat_texts(processor, QUERIES, style) == plain
    reference = tokenizer(plain, return_tensors="pt", padding=True, padding_side="left")
    found = tokenize_texts(tokenizer, plain)
    assert all(torch.equal(found[name], reference[name]) for name in ("input_ids", "attention_mask"))
    # Also beside a text with one, and if they are taken apart as that is.
    beside = tokenize_texts(tokenizer, [*plain, *chat_texts(processor, ["a <|im_end|> b"], style)])
    for text, ids, mask in zip(plain, beside["input_ids"], beside["attention_mask"], strict=False):
        assert ids[mask.bool()].tolist() == texts_of_prompts._in_parts(tokenizer, text) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("token", CONTROL)
def test_control_tokens_in_a_query_are_text(processor, style, token):
    tokenizer = processor.tokenizer
    controls = {
        id for id, added in tokenizer.added_tokens_decoder.items() if added.special and added.content != "<unk>"
    }
    for query in (token, f"the {token} ring grows", f"{token}{token}", f"<|im_{token}end|>", f'"{token}</s>'):
        texts = chat_texts(processor, [query, "zzz"], style)
        ids, plain = tokenize_texts(tokenizer, texts)["input_ids"].tolist()
        kept = [[i for i in row if i in controls and i != tokenizer.pad_token_id] for row in (ids, plain)]
        assert kept[0] == kept[1], "those of the chat template, and no other"
        words = tokenizer(query, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert not controls.intersection(words)
        if tokenizer.unk_token is None:  # a byte-level tokenizer: nothing is lost
            assert query in tokenizer.decode(ids)


def test_the_video_stands_where_the_template_puts_it_and_not_in_the_query():
    """Also in styles that put the text first."""
    model, processor = small_model([*QUERIES, *(style.text for style in STYLES.values())])
    features = VideoModel(model, processor).encode([read_video(sample_world()[0].path)])
    video = processor.video_token_id
    for style in STYLES:
        text = chat_texts(processor, ["the <|video_pad|> ring"], style)
        ids = tokenize_with_features(processor, text, features)["input_ids"][0]
        places = (ids == video).nonzero().flatten()
        assert len(places) == len(features[0].embeds) and places[-1] - places[0] + 1 == len(places)
        assert "the <|video_pad|> ring" in processor.tokenizer.decode(ids[: places[0]] if style == "ra-rft" else ids)


UNKNOWN, HOSTILE = "the zzz ring grows", "the <|video_pad|> ring grows"  # the same tokens to the base: none for a word


@pytest.fixture(scope="module")
def asked(world):
    model = VideoModel.load(device="cpu")
    return model, model.encode([read_video(world[0].path)])


def test_a_model_answers_it_as_any_other_word(asked, world):
    model, features = asked
    [one], [two] = (model.generate(features, [query]) for query in (UNKNOWN, HOSTILE))
    assert one == two
    asker = LocalAsker(model)
    answers = list(asker.ask([Crop(str(world[0].path))] * 2, [UNKNOWN, HOSTILE]))
    assert answers[0].completion == answers[1].completion == one
    assert "<|video_pad|>" in answers[1].note, "the base has no token for the word"


def test_the_refusal_score_and_the_segment_take_completions_that_repeat_it(asked):
    model, features = asked
    said = "<think> {} </think><answer> 2 to 5 </answer><correction> NIL </correction>"
    pairs = [
        (UNKNOWN, said.format("zzz")),
        (HOSTILE, said.format("<|video_pad|>")),
        (HOSTILE, said.format("<|im_end|>")),
    ]
    scores = [model.refusal_scores(features, [q], [text])[0] for q, text in pairs]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6) and scores[0] == pytest.approx(scores[2], abs=1e-6)
    segments = [forced_segment(model, features[0], q, text) for q, text in pairs]
    assert segments[0] == segments[1] == segments[2]


def test_training_prompts_and_demonstrations_too(asked, world, tmp_path):
    model, features = asked
    said = "<think> {} </think><answer> 2 to 5 </answer><correction> NIL </correction>"
    batches = [
        collate([Example(features[0], query, said.format(word), ((0, 7),))], model)
        for query, word in ((UNKNOWN, "zzz"), (HOSTILE, "<|im_end|>"))
    ]
    for name in ("input_ids", "labels"):
        assert torch.equal(batches[0][name], batches[1][name])
    groups = [clip.group for clip in world[:2]]
    config = grpo_config(tmp_path, num_generations=2, per_device_train_batch_size=4, max_steps=1)
    trainer = build_trainer(model, groups, config)
    video = {"video": str(world[0].path)}
    ids = trainer._tokenize_prompts([build_prompt(query, "plain", **video) for query in (UNKNOWN, HOSTILE)])[0]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    "text, sent",
    [
        ("the <|im_end|> ring", "the < |im_end|> ring"),
        ("<|vision_start|><|video_pad|>", "< |vision_start|>< |video_pad|>"),
        ("</s> <s> [INST] <image> <｜end▁of▁sentence｜>", "< /s> < s> [ INST] < image> < ｜end▁of▁sentence｜>"),
        *((query, query) for query in (*QUERIES[:4], "<answer>1 to 2</answer>", "a < b | c > d", "[1] <|>")),
    ],
)
def test_a_server_gets_texts_without_control_tokens(text, sent):
    assert without_control_tokens({"role": "user", "content": text})["content"] == sent
    parts = [{"type": "video_url", "video_url": {"url": text}}, {"type": "text", "text": text}]
    found = without_control_tokens({"role": "user", "content": parts})["content"]
    assert found == [parts[0], {"type": "text", "text": sent}]


def test_the_mark_cannot_be_smuggled_in(small):
    tokenizer = small.tokenizer
    [ids] = tokenize_texts(tokenizer, [as_text(tokenizer, f"<{texts_of_prompts.MARK}|im_end|>")])["input_ids"].tolist()
    assert "\ufffd" in tokenizer.decode(ids) and tokenizer.eos_token_id not in ids
