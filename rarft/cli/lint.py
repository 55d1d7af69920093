"""`rarft lint`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rarft.cli.options import output_file, output_folder
from rarft.system.errors import InputError

HELP = "Find label errors in HI-VTG files; exit status 1 if there are errors."


def add_arguments(command: ArgumentParser) -> None:
    """See `rarft.cli`."""
    add = command.add_argument
    add("files", nargs="+", type=Path, help="HI-VTG or SS-VTG files")
    sources = "source annotations: RaTSG's Charades-STA, or any that build-hivtg reads"
    add("--source", nargs="*", type=Path, default=[], help=sources)
    add("--fix", action="store_true", help="write NAME.fixed.json and NAME.fixes.json into --out")
    add("--out", type=output_folder, help="folder for the corrected copies; the files' own by default")
    add("--json", type=output_file, help="write all findings here")


def run(options: Namespace) -> int:
    """See `rarft.cli`."""
    from rarft.hivtg.lint import fix, lint, table
    from rarft.system.files import write_json

    if options.out and not options.fix:
        raise InputError("--out goes with --fix, which writes the copies")
    reports = []
    for path in options.files:
        report = lint(path, options.source)
        reports.append(report)
        print(table(report))
        if options.fix:
            fixed, log = fix(path, report, options.out)
            print(f"  corrected: {fixed}, changes: {log}\n{table(lint(fixed, options.source))}")
    if options.json:
        write_json(options.json, [report.to_json() for report in reports])
    return int(any(report.failed for report in reports))
