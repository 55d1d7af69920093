"""Load your own functions, named on the command line or in a recipe as `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rarft.system.errors import InputError


def load_callable(name: str, kind: str) -> Callable[..., Any]:
    """Import what `module:function` names; modules in the working folder are found, too.

    Raises InputError, which begins with `kind`, if it does not exist or cannot be called."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path:  # unlike `python -m`, the console script does not search the working folder
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{kind} {name}: {error}; write it as module:function") from error
    if not callable(found):
        raise InputError(f"{kind} {name}: a {type(found).__name__}, which cannot be called; expected a function")
    return found
