"""What is in the released files: counts, similarity and the query-only leak score, and what the linter finds.

    python benchmarks/released_statistics.py FOLDER     # that holds them; writes data/results/released_statistics.json

The files themselves are not ours to ship. Sources for the linter are taken from the same folder where they are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from coursekit import ROOT
from rarft.hivtg.lint import lint
from rarft.hivtg.official import read_released
from rarft.hivtg.statistics import statistics
from rarft.rewards.encoder import default_encoder
from rarft.system.files import nan_as_null, write_json

SOURCES = ("time_r1_tvgbench.json", "ratsg_charades_sta_test2.0.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "released_statistics.json")
    options = parser.parse_args()
    sources = [options.folder / name for name in SOURCES if (options.folder / name).exists()]
    found = {}
    for path in sorted(options.folder.glob("*_vtg_*.json")):
        report = lint(path, sources)
        counts = statistics(read_released(path).samples, default_encoder())
        found[path.stem] = {**counts, "lint": report.counts, "perfect_miou": report.perfect_miou}
        print(path.stem, {key: round(found[path.stem][key], 3) for key in ("leak", "perfect_miou")})
    if not found:
        parser.error(f"{options.folder}: no *_vtg_*.json in it")
    write_json(options.out, nan_as_null(found))


if __name__ == "__main__":
    main()
