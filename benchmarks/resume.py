"""What a results file holds that is still of use: a run that resumes must not mix figures of two models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rarft.system.files import BASE


def digest(*models: Path) -> str:
    """Of the weights of some models; the base by default."""
    found = hashlib.sha256()
    for model in models or (BASE,):
        found.update((model / "model.safetensors").read_bytes())
    return found.hexdigest()[:16]


def resumed(path: Path, setting: Mapping[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """The results of an interrupted run in the same setting; else `empty`, and a line that says why.

    Args: setting: what all results of a file have in common, such as the digest of the models and the number of clips.
    """
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    changed = [name for name, value in setting.items() if before.get(name) != value]
    if before and changed:
        print(f"{path.name}: measured in another setting ({', '.join(changed)}); begun again", flush=True)
    kept = {} if changed else {name: before[name] for name in empty}
    return {**setting, **empty, **kept}
