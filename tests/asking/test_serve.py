"""The chat client and the builder against `transformers serve` with a small local model: a real protocol, real bad
answers."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

from rarft.asking.llm import LLM
from rarft.evaluation.judges.llm import SCORE_SCHEMA
from rarft.hivtg.build import build
from rarft.hivtg.editors import PROMPT, LLMEditor
from rarft.schema import Sample, Span
from rarft.system.errors import BadReplyError

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """A Qwen2 of random weights in the ordinary layout, its tokenizer trained on the editing prompt."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [PROMPT], trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    set_seed(0)
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    model = Qwen2ForCausalLM(config)
    folder = tmp_path_factory.mktemp("chat") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def server(chat_model, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    start = "import rarft; from transformers.cli.transformers import main; main()"
    command = [
        sys.executable,
        "-c",
        start,
        "serve",
        chat_model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    with (
        open(log, "w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        ) as process,
    ):
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()[-2000:]
                time.sleep(0.25)
        else:
            process.kill()
            pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
        process.kill()


def test_bad_answers_are_asked_again_and_then_given_up(server, chat_model):
    llm = LLM(chat_model, server, attempts=2, timeout=60, max_tokens=16)
    with pytest.raises(BadReplyError, match="no usable reply in 2 attempts"):
        llm.ask("Judge.", "Is it red?", SCORE_SCHEMA)
    assert llm.usage["asked"] == 2 and 0 < llm.usage["completion_tokens"] <= 32 and llm.usage["prompt_tokens"] > 20


def test_a_timeout_is_a_bad_reply_not_the_end_of_the_run(server, chat_model):
    llm = LLM(chat_model, server, attempts=1, timeout=0.001)
    found = llm.ask_all("Judge.", ["one", "two"], SCORE_SCHEMA, concurrency=2)
    assert all(isinstance(reply, BadReplyError) for reply in found)


def test_the_builder_keeps_every_rejection_and_goes_on(server, chat_model, encoder, tmp_path):
    samples = [Sample("v.mp4", f"a person opens door {i}", [Span(i, i + 2.0)], duration=9.0) for i in range(2)]
    editor = LLMEditor(LLM(chat_model, server, attempts=1, timeout=60, max_tokens=16), encoder)
    counts = build(samples, editor, tmp_path / "rows.jsonl", concurrency=2)
    assert counts["rejected"] == 6 and counts["without_edits"] == 2 and counts["rows"] == 0
    rejected = [json.loads(line) for line in (tmp_path / "rows.jsonl.rejected.jsonl").read_text().splitlines()]
    assert {row["query"] for row in rejected} == {s.query for s in samples} and all(
        "no usable reply" in r["reason"] for r in rejected
    )
    assert build(samples, editor, tmp_path / "rows.jsonl")["skipped"] == 2
