"""How fast are building and linting HI-VTG, and does memory stay flat as the files grow?

    python benchmarks/hivtg.py            # about two minutes; writes data/results/hivtg.json

Build: the world's editor on a JSON Lines file of world queries; each count runs in a process of its own, whose peak
memory is measured. Lint: the same rows as JSON Lines; and the released files where they are present (../shared/data).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coursekit import ROOT
from rarft.system.files import write_json
from rarft.system.machine import machine

RELEASED = ROOT.parent / "shared" / "data"
SOURCES = ("time_r1_tvgbench.json", "ratsg_charades_sta_test2.0.json")


def work(count: int, folder: Path) -> dict:
    """Build `count` rows and lint them, in this process. Seconds, and peak memory above that at the start, in MB."""
    import psutil

    from rarft.hivtg.build import build
    from rarft.hivtg.lint import lint
    from rarft.world.dataset import draw_clip, group_of
    from rarft.world.editor import WorldEditor

    pool = [draw_clip(0, "test", index) for index in range(200)]

    class Stories(dict):
        """The same 200 stories under as many names as are asked for."""

        def __missing__(self, video: str):
            return pool[int(video.split("-")[0])][0]

    def samples():
        for turn in range(count):
            index = turn % len(pool)
            yield group_of(f"{index}-{turn}.mp4", *pool[index]).relevant

    editor = WorldEditor(Stories())
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0
    begin = time.perf_counter()
    build(samples(), editor, folder / "rows.jsonl")
    built = time.perf_counter() - begin
    peak = max(peak, process.memory_info().rss - before)
    begin = time.perf_counter()
    lint(folder / "rows.jsonl")
    linted = time.perf_counter() - begin
    return {"rows": count, "rows_a_second": count / built, "lint_s": linted, "memory_mb": peak / 1e6}


def lint_released() -> dict[str, float]:
    """Seconds for the released files that are there, sources read each time."""
    from rarft.hivtg.lint import lint

    sources = [RELEASED / name for name in SOURCES]
    found = {}
    for path in sorted(RELEASED.glob("*_vtg_*.json")):
        begin = time.perf_counter()
        lint(path, sources)
        found[path.name] = time.perf_counter() - begin
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 4_000, 16_000])
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "hivtg.json")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # one count, printed: how the processes are started
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(work(options.one, Path(folder))))
        return
    runs = []
    for count in options.counts:
        command = [sys.executable, __file__, "--one", str(count)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        runs.append(json.loads(printed.splitlines()[-1]))
        print(runs[-1], flush=True)
    write_json(options.out, {"machine": machine(), "build": runs, "lint_released_s": lint_released()})


if __name__ == "__main__":
    main()
