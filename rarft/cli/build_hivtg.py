"""`rarft build-hivtg`"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rarft.cli.options import add_shared, annotations, at_least, chat_model, not_negative, output_file
from rarft.system.errors import InputError

if TYPE_CHECKING:
    from rarft.hivtg.editors import Editor, LLMEditor
    from rarft.schema import Sample

HELP = "Make hard-irrelevant queries from grounding annotations."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    formats = "annotations of Charades-STA, ActivityNet, QVHighlights or other layouts (rarft/hivtg/annotations.py)"
    add("data", type=Path, help=f"a folder from `world`; or {formats}")
    add("--out", required=True, type=output_file, help="JSON Lines file; an interrupted run resumes")
    add("--model", help="annotations: the chat model that edits; a world folder needs none")
    add_shared(command, "--url")
    add("--verify", action="store_true", help="ask the model again whether each edit could be true")
    prices = "price of a million tokens read and written: costs are printed before and after"
    add("--price", type=not_negative, nargs=2, metavar=("IN", "OUT"), help=prices)
    add("--concurrency", type=at_least(1), default=8, help="questions at a time")
    add_shared(command, "--limit", "--seed")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    from rarft.hivtg.build import build

    of_world = options.data.is_dir()
    samples, editor = (_of_world if of_world else _of_annotations)(options)
    counts = build(islice(samples, options.limit), editor, options.out, concurrency=options.concurrency)
    if not counts["rows"] + counts["without_edits"] + counts["skipped"]:
        raise InputError(f"{options.data}: no annotation that can be used")
    usage = {} if of_world else editor.llm.usage
    print(json.dumps({**counts, **usage}))
    if usage and options.price:
        print(f"spent{_cost(options.price, usage['prompt_tokens'], usage['completion_tokens'])}")
    return 0


def _of_world(options: Namespace) -> tuple[Iterable[Sample], Editor]:
    from rarft.world.editor import WorldEditor, world_samples

    samples, stories = world_samples(options.data)
    return samples, WorldEditor(stories, options.seed)


def _of_annotations(options: Namespace) -> tuple[Iterable[Sample], LLMEditor]:
    """Also prints an estimate of the tokens that the model has to read."""
    if not options.model:
        raise InputError("these annotations need a chat model to edit them: --model NAME --url http://…/v1")
    from rarft.hivtg.editors import PROMPT, LLMEditor
    from rarft.rewards.encoder import default_encoder

    llm = chat_model(options.model, options.url, options.out.with_name(f"{options.out.name}.replies.jsonl"))
    questions = 3 * sum(1 for _ in islice(annotations(options.data), options.limit)) * (1 + options.verify)
    tokens = questions * len(PROMPT) // 4  # about four characters per token in English
    cost = _cost(options.price, tokens, 0)
    print(f"up to {questions:,} questions, about {tokens:,} tokens of instructions, before retries{cost}")
    return annotations(options.data), LLMEditor(llm, default_encoder(), verify=options.verify)


def _cost(price: list[float] | None, read: int, written: int) -> str:
    return "" if price is None else f": {(read * price[0] + written * price[1]) / 1e6:.2f} at your prices"
