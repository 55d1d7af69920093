"""`rarft statistics`"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.system.errors import InputError

HELP = "Count, and measure how far the text gives irrelevant queries away."


def add_arguments(command: ArgumentParser) -> None:
    command.add_argument("files", nargs="+", type=Path, help="HI-VTG or SS-VTG files")
    command.add_argument(
        "--similarity", action="store_true", help="also how near irrelevant queries are, by embeddings"
    )


def run(options: Namespace) -> int:
    from rarft.hivtg.official import released_samples
    from rarft.hivtg.statistics import statistics
    from rarft.rewards.encoder import default_encoder

    encoder = default_encoder() if options.similarity else None
    files = {path: released_samples(path) for path in options.files}
    empty = [str(path) for path, samples in files.items() if not samples]
    if empty:
        raise InputError(f"{empty[0]}: no query that can be used")
    figures = {str(path): statistics(samples, encoder) for path, samples in files.items()}
    print(json.dumps(figures, indent=2))
    return 0
