"""The fence around upstream: every name of transformers, TRL, torch and openai that they do not promise to keep.

The rest of the library imports such names from `upstream.of_transformers`, `upstream.of_trl` and so on, never from
upstream itself (a test looks). `check_upstream` checks what overrides rely on when a trainer is built. So an upgrade
that moves one of these things fails with the name of the override to change.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

from rarft.system.errors import UpstreamChangedError


def check_upstream(package: str, owner: object, names: Mapping[str, Collection[str] | None], override: str) -> None:
    """Raises UpstreamChangedError if a class, module or object of upstream lacks a name, or a method a parameter.

    Args:
        names: for each method or function the parameters that we name; None for an attribute.
        override: what of ours relies on them, and has to be changed when one of them moves.
    """
    for name, parameters in names.items():
        found: Any = getattr(owner, name, None)
        gone = not hasattr(owner, name) if parameters is None else not callable(found)
        missing = set() if gone or not parameters else {*parameters} - {*inspect.signature(found).parameters}
        if gone or missing:
            problem = "is gone" if gone else f"has no parameter {', '.join(sorted(missing))} any more"
            owner_name = getattr(owner, "__name__", type(owner).__name__)
            raise UpstreamChangedError(
                f"{package} {version(package)}: {owner_name}.{name} {problem}; {override} relies on it. "
                "Install the version of requirements.lock, or change that override."
            )
