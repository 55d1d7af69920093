"""`rarft demo`"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import add_shared, at_least
from rarft.system.errors import InputError
from rarft.system.files import BASE

HELP = "Open a page on this machine that asks models about a clip and shows their answers side by side."
TRAINED = Path("build/rarft/model")  # written by chapter 09


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    several = f"NAME=FOLDER or FOLDER; more than once for several. By default the base, and {TRAINED} if it exists"
    add("--model", action="append", help=several)
    add("--data", type=Path, help="source of the clips, as for `evaluate`; the course's samples by default")
    add("--videos", type=Path, help="with --data: the folder of its videos")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; any other than the default opens the page to a network",
    )
    add("--port", type=at_least(0, 65535), default=8765, help="the port to listen on; 0 takes a free one")
    add_shared(command, "--reader", "--device", "--threads")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    try:
        import uvicorn

        from rarft.asking.demo.app import make_app
    except ImportError as error:
        raise InputError(f"the demo needs the package {error.name}: pip install 'rarft[serve]'") from error
    from rarft.asking import load_asker
    from rarft.asking.demo.offer import Model, videos_of
    from rarft.video import GuardedReader

    videos = videos_of(options.data, options.videos)
    with GuardedReader(reader=options.reader) as reader:
        chosen = chosen_models(options.model)
        models = [Model(name, load_asker(path, reader, device=options.device)) for name, path in chosen]
        app = make_app(models, videos, reader, hosts=sorted({"127.0.0.1", "localhost", options.host}))
        print(f"asking {', '.join(model.name for model in models)}; stop with Ctrl+C", file=sys.stderr)
        uvicorn.run(app, host=options.host, port=options.port, log_level="info", access_log=False)
    return 0


def chosen_models(chosen: list[str] | None) -> list[tuple[str, str]]:
    """The names and folders of the models. Raises InputError for a name that is given twice."""
    if not chosen:
        trained = [("after RA-RFT", str(TRAINED))] if TRAINED.exists() else []
        return [("the base", str(BASE)), *trained]
    pairs = [(name, path) if path else (name, name) for name, _, path in (item.partition("=") for item in chosen)]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise InputError(f"--model: a name is given twice: {', '.join(names)}")
    return pairs
