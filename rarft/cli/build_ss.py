"""`rarft build-ss`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import annotations, at_least, output_file
from rarft.system.errors import InputError

HELP = "Make simply-shuffled queries from grounding annotations."


def add_arguments(command: ArgumentParser) -> None:
    command.add_argument("data", type=Path, help="annotations, as for build-hivtg")
    command.add_argument("--out", required=True, type=output_file, help="JSON file")
    command.add_argument("--seed", type=at_least(0), default=0)


def run(options: Namespace) -> int:
    from rarft.hivtg.official import rows_of, write_released
    from rarft.hivtg.shuffle import shuffled_queries
    from rarft.rewards.encoder import default_encoder

    samples = list(annotations(options.data))
    if not samples:
        raise InputError(f"{options.data}: no annotation that can be used")
    pairs = zip(samples, shuffled_queries(samples, default_encoder(), seed=options.seed), strict=True)
    print(f"{len(samples)} rows in {write_released(rows_of([list(pair) for pair in pairs]), options.out)}")
    return 0
