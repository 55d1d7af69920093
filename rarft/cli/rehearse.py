"""`rarft rehearse`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import add_shared, output_folder
from rarft.system.errors import InputError

HELP = "Write stand-ins for an annotation file's videos, and a small model, to try an experiment before paying for it."
DEFAULT = "qwen2.5-vl-7b"


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("file", type=Path, help="a released HI-VTG file, or any annotations that `rarft evaluate` reads")
    kept = "folder for the stand-ins; files that it holds stay as they are"
    add("--videos", type=output_folder, required=True, help=kept)
    add("--model", type=output_folder, help="folder for a small model with random weights and the settings of --preset")
    add("--preset", default=DEFAULT, help="whose sampling of videos and style of prompts: see rarft/models/presets.py")
    add_shared(command, "--limit", help="only the first N videos; all by default")
    add_shared(command, "--processes")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
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
