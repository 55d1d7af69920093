"""`rarft infer`"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import (
    MODEL_OPTIONS,
    above_zero,
    add_server_options,
    add_shared,
    asker_of,
    not_negative,
    output_file,
    refuse,
)
from rarft.system.errors import InputError
from rarft.system.files import BASE

HELP = "Ask when something happens in one video, or in many."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("--model", default=str(BASE), help="a folder, a preset (rarft/models/presets.py) or a hub name")
    add("--video", type=Path, help="one video, with --query")
    add("--query", help="what to look for")
    add("--start", type=not_negative, help="with --video: begin at this second, and count from it")
    add("--end", type=above_zero, help="with --video: end at this second")
    add("--questions", type=Path, help="instead: JSON Lines with video and query (and start, end) in each")
    add("--out", type=output_file, help="with --questions: JSON Lines of answers; an interrupted run resumes")
    add("--retry", action="store_true", help="with --questions: ask again where --out has an error")
    add_shared(command, "--batch", help="with --questions: how many at a time; 16 by default")
    add_shared(command, *MODEL_OPTIONS)
    add_server_options(command)
    add("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    many = options.questions is not None
    if many == (options.video is not None) or (many and options.out is None) or (not many and not options.query):
        raise InputError("give --video and --query, or --questions and --out")
    if many:
        refuse(options, ("start", "end"), "only with --video; in --questions each line has its own start and end")
        refuse(options, ("query", "json"), "only with --video; --questions has queries, and --out the answers as JSON")
    else:
        refuse(options, ("out", "retry", "batch"), "only with --questions")
    options.batch = options.batch or 16
    from rarft.asking import infer_all, read_questions
    from rarft.asking.questions import checked_question
    from rarft.schema import Crop
    from rarft.video import GuardedReader

    part = {name: value for name in ("start", "end") if (value := getattr(options, name)) is not None}
    one = {"video": str(options.video), "query": options.query, **part}
    questions = read_questions(options.questions) if many else [checked_question(one, f"--video {options.video}")]
    with GuardedReader(reader=options.reader) as reader:
        asker = asker_of(options, reader, scored=False, in_memory=options.batch)
        if many:
            print(json.dumps(infer_all(asker, questions, options.out, retry=options.retry)))
            return 0
        [answer] = asker.ask([Crop.of(one)], [options.query])
    if answer.error is not None:
        raise InputError(answer.error)
    response = answer.response()
    if options.json:
        print(json.dumps({**one, **answer.to_json()}, ensure_ascii=False))
    elif response.spans:
        print(f"found: {', '.join(f'{start:g} to {end:g} s' for start, end in response.spans)}")
    elif response.refused:
        print(f"refused: {response.answer}\ncorrection: {response.correction}")
    else:
        print(f"unreadable: the model gave neither a segment nor a refusal: {answer.completion!r}")
    return 0
