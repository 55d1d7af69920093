"""`rarft infer`"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

from rarft.cli.options import (
    KEY_VARIABLE,
    above_zero,
    add_model_options,
    api_key,
    at_least,
    not_negative,
    output_file,
    settings_changes,
)
from rarft.system.errors import InputError
from rarft.system.files import BASE

HELP = "Ask when something happens in a video, or in many."


def add_arguments(command: ArgumentParser) -> None:
    add = command.add_argument
    add("--model", default=str(BASE), help="a folder, a preset (rarft/models/presets.py) or a hub name")
    add("--video", type=Path, help="one video, with --query")
    add("--query", help="what to look for")
    add("--start", type=not_negative, help="with --video: look from this second on, and count from it")
    add("--end", type=above_zero, help="with --video: look no further than this second")
    add("--questions", type=Path, help="instead: JSON Lines with video and query (and start, end) in each")
    add("--out", type=output_file, help="with --questions: JSON Lines of answers; an interrupted run resumes")
    add("--retry", action="store_true", help="with --questions: ask again where --out has an error")
    add("--batch", type=at_least(1), default=16, help="with --questions: how many at a time")
    add_model_options(command)
    add(
        "--server",
        help="ask an OpenAI-compatible server (vLLM) instead, e.g. http://localhost:8000/v1; --model is its name "
        f"there, the key is read from {KEY_VARIABLE}",
    )
    add(
        "--settings",
        help="with --server: the model folder or preset whose settings to ask with; --model by default",
    )
    add("--json", action="store_true", help="print one JSON object")


def _question(options: Namespace) -> dict:
    from rarft.asking.batch import checked_question

    part = {name: value for name in ("start", "end") if (value := getattr(options, name)) is not None}
    return checked_question({"video": str(options.video), "query": options.query, **part}, f"--video {options.video}")


def run(options: Namespace) -> int:
    many = options.questions is not None
    if many == (options.video is not None) or (many and options.out is None) or (not many and not options.query):
        raise InputError("give --video and --query, or --questions and --out")
    if many and (options.start is not None or options.end is not None):
        raise InputError("--start and --end go with --video; in --questions each line has its own start and end")
    from rarft.asking import infer_all, read_questions
    from rarft.video import GuardedReader

    questions = read_questions(options.questions) if many else [_question(options)]
    with GuardedReader(reader=options.reader) as reader:
        answer = _answerer(options, reader)
        if many:
            counts = infer_all(answer, questions, options.out, batch_size=options.batch, retry=options.retry)
            print(json.dumps(counts))
            return 0
        [row] = answer(questions)
    if "error" in row:
        raise InputError(row["error"])
    _show(row, as_json=options.json)
    return 0


def _answerer(options: Namespace, reader) -> Callable[[list[dict]], Iterable[dict]]:
    """The model that is asked: a server's, or one in this process."""
    from rarft.models import VideoModel
    from rarft.models.load import settings_of
    from rarft.models.settings import Settings

    if options.server:
        from rarft.asking.server import RemoteModel

        settings = settings_of(options.settings or options.model)
        if settings is None and options.settings:
            raise InputError(f"--settings {options.settings}: neither a preset nor a folder with rarft_settings.json")
        settings = (settings or Settings()).changed(**settings_changes(options))
        return RemoteModel(
            options.model,
            options.server,
            api_key=api_key(),
            style=settings.style or "instruct",
            max_new_tokens=settings.max_new_tokens,
            reader=reader,
            **settings.video,
        )
    from rarft.asking import LocalModel

    changes = settings_changes(options)
    video_model = VideoModel.load(options.model, device=options.device, dtype=options.dtype, changes=changes)
    return LocalModel(video_model.with_cache(reader=reader, batch_size=options.batch))


def _show(row: dict, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
        return
    if row["verdict"] == "grounds":
        print(f"found: {', '.join(f'{start:g} to {end:g} s' for start, end in row['spans'])}")
    elif row["verdict"] == "refuses":
        print(f"refused: {row['answer']}\ncorrection: {row['correction']}")
    else:
        print(f"unreadable: the model gave neither a segment nor a refusal: {row['completion']!r}")
