"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarft.prompts import STYLES, read_style
from rarft.system.errors import InputError

if TYPE_CHECKING:
    from rarft.asking import Asker
    from rarft.asking.llm import LLM
    from rarft.schema import Sample
    from rarft.video import GuardedReader

KEY_VARIABLE = "OPENAI_API_KEY"
LARGEST = 2**31 - 1  # of a number: what every library below takes


def at_least(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A type for argparse: a whole number from `least` to `most`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"a whole number was expected, got {text!r}") from None
        if not least <= value <= most:
            raise ArgumentTypeError(f"a whole number from {least} to {most} was expected, got {text[:40]}")
        return value

    return number


def above_zero(text: str) -> float:
    """A type for argparse: a number above 0, to `LARGEST`."""
    value = not_negative(text)
    if value == 0:
        raise ArgumentTypeError(f"a number above 0 was expected, got {text}")
    return value


def not_negative(text: str) -> float:
    """A type for argparse: a number from 0 to `LARGEST`."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"a number was expected, got {text!r}") from None
    if not 0 <= value <= LARGEST:
        raise ArgumentTypeError(f"a number from 0 to {LARGEST} was expected, got {text[:40]}")
    return value


def output_folder(text: str) -> Path:
    """A type for argparse: a folder to write into, which need not be there."""
    path = Path(text)
    there = next((part for part in (path, *path.parents) if part.exists()), None)
    if there is not None and not there.is_dir():
        raise ArgumentTypeError(f"a folder was expected, and {there} is none")
    return path


def output_file(text: str) -> Path:
    """A type for argparse: a file to write, which need not be there."""
    path = Path(text)
    if path.exists() and not path.is_file():
        raise ArgumentTypeError(f"a file was expected, and {text} is none")
    return output_folder(str(path.parent)) / path.name


def prompt_style(text: str) -> str:
    """A type for argparse: the name of a prompt style, or a JSON file that is one."""
    if text not in STYLES:
        try:
            read_style(text)
        except InputError as error:
            raise ArgumentTypeError(str(error)) from error
    return text


def video_reader(text: str) -> str:
    """A type for argparse: a library that decodes videos and is installed."""
    from rarft.video.readers import check_reader

    try:
        return check_reader(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from error


def add_reader_option(command: ArgumentParser) -> None:
    """Which library decodes videos."""
    command.add_argument(
        "--reader", type=video_reader, default="pyav", help="the library that decodes: pyav, decord or torchcodec"
    )


def add_model_options(command: ArgumentParser) -> None:
    """How a model is loaded and asked."""
    add = command.add_argument
    add("--fps", type=above_zero, help="frames a second; the model's own by default")
    add("--max-pixels", type=at_least(1), help="budget for all frames of a video; the model's own by default")
    add("--max-new-tokens", type=at_least(1), help="of an answer; the model's own by default")
    add(
        "--style",
        type=prompt_style,
        help="of the prompts: a name of rarft/prompts.py, or a JSON file; the model's own by default",
    )
    add_reader_option(command)
    add("--device", default="auto", help="cpu, cuda, …; auto takes a GPU where there is one")
    add(
        "--dtype",
        default="auto",
        help="bfloat16, float32, …; auto is the checkpoint's on a GPU, float32 on a CPU",
    )


def add_server_options(command: ArgumentParser) -> None:
    """A server that is asked instead of a model in this process."""
    add = command.add_argument
    add(
        "--server",
        help="ask an OpenAI-compatible server (vLLM) instead, e.g. http://localhost:8000/v1; --model is its name "
        f"there, the key is read from {KEY_VARIABLE}",
    )
    add("--settings", help="with --server: the model folder or preset whose settings to ask with; --model by default")


def asker_of(options: Namespace, reader: GuardedReader, *, processes: int = 1, **loading: Any) -> Asker:
    """What the model options and the server options name: a model in this process, in several, or behind a server.

    Args:
        loading: further arguments of `rarft.asking.load_asker`.
    """
    from rarft.asking.asker import open_asker, settings_to_ask
    from rarft.models.load import settings_of

    changes = {name: getattr(options, name) for name in ("fps", "max_pixels", "max_new_tokens", "style")}
    if options.server:
        from rarft.asking.server import ServerAsker

        if options.settings and settings_of(options.settings) is None:
            raise InputError(f"--settings {options.settings}: neither a preset nor a folder with rarft_settings.json")
        settings = settings_to_ask(options.settings or options.model, changes)
        sending = {"api_key": api_key(), "batch_size": options.batch, "reader": reader}
        return ServerAsker(options.model, options.server, settings, **sending)
    loading |= {"batch_size": options.batch, "device": options.device, "dtype": options.dtype, "changes": changes}
    return open_asker(options.model, reader, processes=processes, **loading)


def api_key() -> str:
    """The key of a server, from the environment; local servers take anything."""
    return os.environ.get(KEY_VARIABLE, "none")


def chat_model(name: str, url: str, cache: Path) -> LLM:
    """A chat model whose replies are kept in `cache`."""
    from rarft.asking.llm import LLM

    return LLM(name, url, api_key=api_key(), cache=cache)


def annotations(path: Path) -> Iterator[Sample]:
    """The samples of an annotation file; what cannot be used is printed."""
    from rarft.hivtg.annotations import read_annotations

    return read_annotations(path, lambda problem: print(f"left out: {problem}", file=sys.stderr))
