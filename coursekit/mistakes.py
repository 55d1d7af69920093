"""Which mistake is it? A wrong result is compared with those of known mistakes, `notebooks/solutions/mistakes.yaml`.

A mistake is the chapter's solution with one part replaced. If it does the same as the reader's function on the case
that failed, the check says what it stands for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import yaml

from coursekit.solutions import solutions
from rarft.system.files import read_text


@dataclass(frozen=True)
class Mistake:
    """code: the whole wrong function. says: what a check answers to it."""

    name: str
    part: str
    instead: str
    code: str
    says: str


@lru_cache
def mistakes(notebook: Path) -> dict[str, list[Mistake]]:
    """The known mistakes of a chapter's exercises, by the name of the function. Empty for a chapter that has none."""
    listed = yaml.safe_load(read_text(notebook.parent / "solutions" / "mistakes.yaml"))
    known = solutions(notebook)
    found: dict[str, list[Mistake]] = {}
    for name, rows in (listed.get(notebook.name[:2]) or {}).items():
        code, body = known[name].code, known[name].body
        found[name] = [
            Mistake(name, part, instead, code.replace(body, body.replace(part, instead)), says)
            for part, instead, says in rows
        ]
    return found


def diagnosis(
    yours: Callable, case: Sequence[Any], outcome: Any, same: Callable[[Any, Any], bool], notebook: Path
) -> str | None:
    """What is wrong with a function, in a few words; None if it does as no known mistake does.

    Args:
        yours: the reader's function, or a wrapper that looks it up by its name; of other wrappers nothing is known.
        case: the arguments on which it failed. outcome: what it returned, or the exception that it raised.
    """
    if not isinstance(yours, FunctionType):
        return None
    known, name = mistakes(notebook), yours.__name__
    is_exercise = name in known and yours.__globals__.get(name) is yours
    called = [name] if is_exercise else [called for called in yours.__code__.co_names if called in known]
    return next(
        (one.says for name in called[:1] for one in known[name] if same(_tried(yours, one, case), outcome)), None
    )


def _tried(yours: Callable, mistake: Mistake, case: Sequence[Any]) -> Any:
    """What comes out with the mistake in the place of the reader's function: a result, or an exception."""
    space = yours.__globals__
    made = dict(space)
    exec(compile(mistake.code, f"<a mistake in {mistake.name}>", "exec"), made)
    kept = space[mistake.name]
    space[mistake.name] = made[mistake.name]
    try:
        return (made[mistake.name] if kept is yours else yours)(*copy.deepcopy(case))
    except Exception as error:
        return error
    finally:
        space[mistake.name] = kept
