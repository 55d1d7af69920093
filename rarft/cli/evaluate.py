"""`rarft evaluate`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import (
    MODEL_OPTIONS,
    SHARED,
    add_server_options,
    add_shared,
    asker_of,
    chat_model,
    output_folder,
    refuse,
)
from rarft.models.settings import ON_BAD_VIDEO
from rarft.reading.completion import READINGS
from rarft.system.errors import InputError, VideoError
from rarft.system.files import BASE
from rarft.system.plugins import load_callable

HELP = "Measure a model on world clips, a released HI-VTG file or grounding annotations."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("--model", help="a folder, a preset (rarft/models/presets.py) or a hub name; the shipped base by default")
    add(
        "--data",
        type=Path,
        help="a folder from `world`, a released file, RaTSG's, or grounding annotations: Charades-STA, ActivityNet "
        "Captions, QVHighlights, TVGBench, Time-R1, YouCook2, Ego4D NLQ, or rows of your own",
    )
    add(
        "--predictions",
        type=Path,
        help="instead of --model: a prediction file of the released evaluator to score; --data, if given, supplies "
        "difficulties and other fields that the file lacks",
    )
    add("--videos", type=Path, help="the folder of the videos, if --data is a file")
    add(
        "--on-bad-video",
        choices=ON_BAD_VIDEO,
        help="what to do with a video that is missing or cannot be read: stop and keep the answers so far, or skip "
        "its queries and name the video in the report; stop by default: figures on fewer queries cannot be compared",
    )
    add("--out", required=True, type=output_folder, help="folder for predictions.jsonl and report.json, .md, .html")
    add_shared(command, "--limit")
    processes = "processes that share the work, distributed over the GPUs; for a small model on the CPU, one for each "
    add_shared(command, "--processes", help=processes + "core by default, at most 4; else 1 by default")
    add_shared(command, "--batch", help="questions at a time; 64 by default")
    add("--features", type=output_folder, help="folder that keeps encoded videos for runs with the same vision tower")
    add_shared(command, *MODEL_OPTIONS)
    add_server_options(command)
    reading = "how completions are read; strict by default; official: tags in upper or lower case, else the whole text"
    add("--reading", choices=READINGS, help=reading)
    encoder = "sentence encoder for explanations and corrections, such as all-mpnet-base-v2, the paper's"
    add("--similarity", help=f"{encoder}; all-MiniLM-L6-v2 by default")
    add("--against", type=Path, help="predictions.jsonl of another model on the same data: compared sample by sample")
    probes = "also ask about blank, reversed, shuffled and swapped videos: does the model use the video?"
    add("--probes", action="store_true", help=probes)
    add("--judge", help="name of a chat model that judges the refusals; none by default")
    add("--judge-url", **SHARED["--url"])
    judges = "judges of your own, see rarft/evaluation/judges"
    add("--judge-function", nargs="*", default=[], metavar="MODULE:FUNCTION", help=judges)


ASKING = ("model", "server", "settings", "videos", "limit", "processes", "batch", "features", "fps", "max_pixels")
ASKING += ("max_new_tokens", "style", "device", "dtype", "threads", "reader", "against", "probes")
ASKING += ("on_bad_video",)


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    if options.data is None and options.predictions is None:
        raise InputError("give --data, or --predictions to score existing answers")
    if options.predictions:
        refuse(options, ASKING, "not with --predictions, whose answers exist already")
        if options.reading == "strict":
            raise InputError("--reading strict: --predictions always get the official reading")
    elif options.server:
        refuse(options, ("processes", "features"), "not with --server, which has already loaded the model")
    if options.judge is None and options.judge_url != SHARED["--url"]["default"]:
        raise InputError("--judge-url: name the model of the server with --judge")
    from rarft.asking.dataset import open_dataset
    from rarft.evaluation.reporting import Scoring
    from rarft.evaluation.run import evaluate_file, evaluate_predictions
    from rarft.rewards.encoder import MINILM
    from rarft.video import GuardedReader

    scoring = Scoring(
        reading=options.reading or "strict",
        similarity=options.similarity or MINILM,
        llm=chat_model(options.judge, options.judge_url, options.out / "judge.jsonl") if options.judge else None,
        judges=[load_callable(name, "judge") for name in options.judge_function],
    )
    if options.predictions:
        print(evaluate_predictions(options.predictions, options.out, scoring, data=options.data))
    else:
        options.model, options.batch = options.model or str(BASE), options.batch or 64
        chosen = {"on_bad_video": options.on_bad_video or "stop"}
        test_set = open_dataset(options.data, options.videos, options.limit, **chosen)
        with GuardedReader(reader=options.reader) as reader:
            asker = asker_of(options, reader, processes=options.processes, features=options.features)
            chosen |= {"against": options.against, "probes": options.probes}
            try:
                print(evaluate_file(asker, test_set, options.out, scoring, **chosen))
            except VideoError as error:
                if options.on_bad_video == "skip":
                    raise
                more = "the answers so far are kept; --on-bad-video skip leaves out queries without an answer"
                raise VideoError(f"{error}; {more}") from error
    print(f"page: {options.out / 'report.html'}")
    return 0
