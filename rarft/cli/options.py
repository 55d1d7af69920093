"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rarft.llm import LLM
    from rarft.schema import Sample

KEY_VARIABLE = "OPENAI_API_KEY"


def add_model_options(command: ArgumentParser) -> None:
    """How a model is loaded and asked."""
    add = command.add_argument
    add("--fps", type=float, help="frames a second; the model's own by default")
    add("--max-pixels", type=int, help="budget for all frames of a video; the model's own by default")
    add("--max-new-tokens", type=int, help="of an answer; the model's own by default")
    add("--style", help="of the prompts: a name of rarft/prompts.py, or a JSON file; the model's own by default")
    add("--device", default="auto", help="cpu, cuda, …; auto takes a GPU where there is one")
    add(
        "--dtype",
        default="auto",
        help="bfloat16, float32, …; auto is the checkpoint's on a GPU, float32 on a CPU",
    )


def settings_changes(options: Namespace) -> dict[str, Any]:
    """What the command line says of how a model is asked; see `rarft.settings.Settings`."""
    return {name: getattr(options, name) for name in ("fps", "max_pixels", "max_new_tokens", "style")}


def api_key() -> str:
    """The key of a server, from the environment; local servers take anything."""
    return os.environ.get(KEY_VARIABLE, "none")


def chat_model(name: str, url: str, cache: Path) -> LLM:
    """A chat model whose replies are kept in `cache`."""
    from rarft.llm import LLM

    return LLM(name, url, api_key=api_key(), cache=cache)


def annotations(path: Path) -> Iterator[Sample]:
    """The samples of an annotation file; what cannot be used is printed."""
    from rarft.hivtg.annotations import read_annotations

    return read_annotations(path, lambda problem: print(f"left out: {problem}", file=sys.stderr))
