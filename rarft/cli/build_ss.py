"""`rarft build-ss`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import add_shared, annotations, output_file
from rarft.system.errors import InputError

HELP = "Make simply-shuffled queries from grounding annotations."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    command.add_argument("data", type=Path, help="annotations, as for build-hivtg")
    command.add_argument("--out", required=True, type=output_file, help="JSON file")
    add_shared(command, "--seed")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    from rarft.hivtg.official import rows_of, write_released
    from rarft.hivtg.shuffle import shuffled_queries
    from rarft.rewards.encoder import default_encoder
    from rarft.schema import Group

    samples = list(annotations(options.data))
    if not samples:
        raise InputError(f"{options.data}: no annotation that can be used")
    others = shuffled_queries(samples, default_encoder(), seed=options.seed)
    rows = rows_of(Group(sample, (other,)) for sample, other in zip(samples, others, strict=True))
    print(f"{len(rows)} rows in {write_released(rows, options.out)}")
    return 0
