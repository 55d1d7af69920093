"""All undocumented names of transformers, TRL, torch and openai that this library uses: other versions may move them.

The rest of the library imports such names from `upstream.of_transformers`, `upstream.of_trl` and so on, never from
those packages directly (a test checks this). `check_upstream` checks what overrides rely on when a model is loaded or a
trainer is built, so an upgrade that moves a name fails with the override to change.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

from rarft.system.errors import UpstreamChangedError


def check_upstream(package: str, owner: object, names: Mapping[str, Collection[str] | None], override: str) -> None:
    """Raises UpstreamChangedError if a class, module or object of a package lacks a name, or a method a parameter.

    Args:
        names: method or function → the parameters that we pass by name; attribute → None.
        override: the code of ours that relies on the names and must change with them.
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
