"""`rarft rehearse`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import at_least, output_folder
from rarft.system.errors import InputError

HELP = "Write stand-ins for an annotation file's videos, and a small model, to run an experiment before it is paid for."
DEFAULT = "qwen2.5-vl-7b"


def add_arguments(command: ArgumentParser) -> None:
    """The options of the command."""
    add = command.add_argument
    add("file", type=Path, help="a released HI-VTG file, or any annotations that `rarft evaluate` reads")
    add(
        "--videos",
        type=output_folder,
        required=True,
        help="folder for the stand-ins; files that it holds stay as they are",
    )
    add("--model", type=output_folder, help="folder for a small model with random weights and the settings of --preset")
    add("--preset", default=DEFAULT, help="whose sampling of videos and style of prompts: see rarft/models/presets.py")
    add("--limit", type=at_least(1), help="only the first N videos; all by default")
    add("--processes", type=at_least(1), help="all cores by default")


def run(options: Namespace) -> int:
    from rarft.asking.dataset import first_videos, read_samples
    from rarft.models.presets import PRESETS
    from rarft.paper import write_small_model, write_stand_ins

    if options.preset not in PRESETS:
        raise InputError(f"--preset {options.preset}: choose one of {', '.join(PRESETS)}")
    samples = read_samples(options.file)
    chosen = first_videos(samples, options.limit)
    written = write_stand_ins(chosen, options.videos, processes=options.processes)
    print(f"{written} stand-ins written for {len({sample.video for sample in chosen})} videos in {options.videos}")
    if options.model:
        texts = [text for sample in samples for text in (sample.query, sample.answer, sample.think) if text]
        write_small_model(options.model, texts, preset=options.preset)
        print(f"a small model with the settings of {options.preset} in {options.model}")
    return 0
