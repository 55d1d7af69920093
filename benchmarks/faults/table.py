"""Where the assaults keep what they found: data/results/faults.json, a key for each."""

from __future__ import annotations

import json

from coursekit import ROOT
from rarft.system.files import read_json, write_json
from rarft.system.machine import machine

RESULTS = ROOT / "data" / "results" / "faults.json"


def keep(name: str, found: dict) -> None:
    """Put the findings of one assault beside the others', and print them."""
    stored = read_json(RESULTS) if RESULTS.exists() else {}
    write_json(RESULTS, {**stored, name: {"machine": machine(), **found}})
    print(json.dumps(found, indent=2))
