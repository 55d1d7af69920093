"""How many cores of this machine to use."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process and its workers may use: OMP_NUM_THREADS if set, else the cores of this machine."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else os.cpu_count() or 1
