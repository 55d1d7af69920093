"""Options that several commands share, and argparse types for options."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
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
LARGEST = 2**31 - 1  # the largest number that all libraries accept


def at_least(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A type for argparse: a whole number from `least` to `most`."""

    def number(text: str) -> int:
        return _number(text, int, "a whole number", least, most)

    return number


def not_negative(text: str) -> float:
    """A type for argparse: a number from 0 to `LARGEST`."""
    return _number(text, float, "a number", 0, LARGEST)


def above_zero(text: str) -> float:
    """A type for argparse: a number above 0, to `LARGEST`."""
    value = not_negative(text)
    if value == 0:
        raise ArgumentTypeError(f"a number above 0 was expected, got {text}")
    return value


def _number(text: str, kind: Callable[[str], Any], named: str, least: int, most: int) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise ArgumentTypeError(f"{named} was expected, got {text!r}") from None
    if not least <= value <= most:
        raise ArgumentTypeError(f"{named} from {least} to {most} was expected, got {text[:40]}")
    return value


def output_folder(text: str) -> Path:
    """A type for argparse: a folder to write into, which may not exist yet."""
    path = Path(text)
    there = next((part for part in (path, *path.parents) if part.exists()), None)
    if there is not None and not there.is_dir():
        raise ArgumentTypeError(f"a folder was expected, but {there} is not a folder")
    return path


def output_file(text: str) -> Path:
    """A type for argparse: a file to write, which may not exist yet."""
    path = Path(text)
    if path.exists() and not path.is_file():
        raise ArgumentTypeError(f"a file was expected, but {text} is not a file")
    return output_folder(str(path.parent)) / path.name


def prompt_style(text: str) -> str:
    """A type for argparse: the name of a prompt style, or a JSON file with one."""
    return text if text in STYLES else _accepted(text, read_style)


def video_reader(text: str) -> str:
    """A type for argparse: an installed library that decodes videos."""
    from rarft.video.readers import check_reader

    return _accepted(text, check_reader)


def _accepted(text: str, check: Callable[[str], object]) -> str:
    """The text, if `check` accepts it. Turns an InputError into ArgumentTypeError."""
    try:
        check(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


# The arguments of `add_argument` for options of more than one command.
SHARED: dict[str, dict[str, Any]] = {
    "--seed": {"type": at_least(0), "default": 0, "help": "seed of all random choices"},
    "--limit": {"type": at_least(1), "help": "only the first N queries; all by default", "metavar": "N"},
    "--processes": {"type": at_least(1), "help": "all cores by default"},
    "--threads": {"type": at_least(1), "help": "CPU cores to use; all by default, see `rarft doctor`"},
    "--batch": {"type": at_least(1), "help": "questions at a time"},
    "--variant": {"choices": ("official", "paper", "robust"), "help": "rewards; by default the recipe's"},
    "--fps": {"type": above_zero, "help": "frames per second; the model's own by default"},
    "--max-pixels": {"type": at_least(1), "help": "budget for all frames of a video; the model's own by default"},
    "--max-new-tokens": {"type": at_least(1), "help": "maximum tokens of an answer; the model's own by default"},
    "--style": {
        "type": prompt_style,
        "help": "prompt style: a name in rarft/prompts.py, or a JSON file; the model's by default",
    },
    "--reader": {"type": video_reader, "default": "pyav", "help": "library that decodes: pyav, decord or torchcodec"},
    "--device": {"default": "auto", "help": "cpu, cuda, …; auto takes a GPU if there is one"},
    "--dtype": {"default": "auto", "help": "bfloat16, float32, …; auto: the checkpoint's on a GPU, float32 on a CPU"},
    "--url": {"default": "http://localhost:8000/v1", "help": f"OpenAI-compatible server; its key is in {KEY_VARIABLE}"},
}
MODEL_OPTIONS = ("--fps", "--max-pixels", "--max-new-tokens", "--style", "--reader", "--device", "--dtype", "--threads")


def add_shared(command: ArgumentParser, *names: str, **changes: Any) -> None:
    """Add options of `SHARED` to a command; `changes` override their arguments of `add_argument`."""
    for name in names:
        command.add_argument(name, **{**SHARED[name], **changes})


def add_server_options(command: ArgumentParser) -> None:
    """Add the options for a model behind a server."""
    add = command.add_argument
    add(
        "--server",
        help="ask an OpenAI-compatible server (vLLM) instead, e.g. http://localhost:8000/v1; --model is its name "
        f"there, and the key is read from {KEY_VARIABLE}",
    )
    add("--settings", help="with --server: the model folder or preset whose settings are used; --model by default")


DEFAULTS = ("None", "False", "auto", "pyav")  # of options that are refused together with others; 0 is not False


def refuse(options: Namespace, names: Sequence[str], reason: str) -> None:
    """Raises InputError that names the given ones of these options."""
    given = [f"--{name.replace('_', '-')}" for name in names if str(getattr(options, name)) not in DEFAULTS]
    if given:
        raise InputError(f"{', '.join(given)}: {reason}")


def asker_of(options: Namespace, reader: GuardedReader, **loading: Any) -> Asker:
    """The asker that the options name: a model on this machine or behind a server.

    Args:
        loading: further arguments of `rarft.asking.load_asker`.
    """
    from rarft.asking.asker import load_asker, settings_to_ask
    from rarft.models.load import settings_of

    changes = {name: getattr(options, name) for name in ("fps", "max_pixels", "max_new_tokens", "style")}
    if options.server:
        refuse(options, ("device", "dtype", "threads"), "not with --server, which has already loaded the model")
        from rarft.asking.server import ServerAsker

        if options.settings and settings_of(options.settings) is None:
            raise InputError(f"--settings {options.settings}: neither a preset nor a folder with rarft_settings.json")
        settings = settings_to_ask(options.settings or options.model, changes)
        sending = {"api_key": api_key(), "batch_size": options.batch, "reader": reader}
        return ServerAsker(options.model, options.server, settings, **sending)
    refuse(options, ("settings",), "only with --server; a model on this machine has its own")
    loading |= {"batch_size": options.batch, "device": options.device, "dtype": options.dtype, "changes": changes}
    return load_asker(options.model, reader, **loading)


def api_key() -> str:
    """The key of a server, from the environment; local servers accept any."""
    return os.environ.get(KEY_VARIABLE, "none")


def chat_model(name: str, url: str, cache: Path) -> LLM:
    """A chat model whose replies are kept in `cache`."""
    from rarft.asking.llm import LLM

    return LLM(name, url, api_key=api_key(), cache=cache)


def annotations(path: Path) -> Iterator[Sample]:
    """The relevant samples of an annotation file; unusable entries are printed."""
    from rarft.hivtg.annotations import read_annotations

    samples = read_annotations(path, lambda problem: print(f"left out: {problem}", file=sys.stderr))
    return (sample for sample in samples if sample.relevant)
