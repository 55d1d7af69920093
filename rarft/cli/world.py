"""`rarft world`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rarft.cli.options import add_shared, at_least, output_folder

HELP = "Write a folder of world videos with their truth and HI-VTG rows."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("--out", required=True, type=output_folder, help="folder to write")
    add("--split", default="train", choices=("align", "train", "test"), help="the part of the world")
    add("--clips", type=at_least(1), default=200, help="number of clips")
    add_shared(command, "--seed")
    add("--weather", default="rough", choices=("calm", "rough", "storm"), help="see rarft/world/weather.py")
    add_shared(command, "--processes")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    from rarft.world.dataset import make_world

    made = {"seed": options.seed, "weather": options.weather, "processes": options.processes}
    world = make_world(options.out, options.split, options.clips, **made)
    queries = 0 if options.split == "align" else sum(1 + len(clip.group.irrelevant) for clip in world)
    print(f"{len(world)} clips, {queries} queries in {options.out}")
    return 0
