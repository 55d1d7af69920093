"""Functions of your own, named on the command line or in a recipe as `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rarft.system.errors import InputError


def load_callable(name: str, kind: str) -> Callable[..., Any]:
    """What `module:function` names; modules of the working folder are found.

    Raises InputError, whose message begins with `kind`, if it does not exist or cannot be called."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path:  # the console script does not look in the working folder, unlike `python -m`
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{kind} {name}: {error}; it is imported as module:function") from error
    if not callable(found):
        raise InputError(f"{kind} {name}: a {type(found).__name__}, which cannot be called; name a function")
    return found
