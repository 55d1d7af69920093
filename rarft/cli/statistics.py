"""`rarft statistics`"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.system.errors import InputError

HELP = "Count queries, and measure how well the text alone separates irrelevant from relevant ones."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    command.add_argument("files", nargs="+", type=Path, help="HI-VTG or SS-VTG files")
    nearness = "also how near irrelevant queries are, by embeddings"
    command.add_argument("--similarity", action="store_true", help=nearness)


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
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
