"""Progress bars."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def progress(items: Iterable | None = None, **options: Any) -> tqdm:
    """A bar of `tqdm.auto`, with its options. TQDM_DISABLE hides it also in notebooks, where tqdm itself ignores it."""
    return tqdm(items, disable=os.environ.get("TQDM_DISABLE", "0") not in ("", "0"), **options)
