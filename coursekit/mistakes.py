"""Which mistake is it? A wrong result is compared with those of known mistakes, `notebooks/solutions/mistakes.yaml`.

A mistake is the chapter's solution with one part replaced. If it has the same outcome as the reader's function on the
case that failed, the check says which mistake it is.
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

from coursekit.compare import same_outcome
from coursekit.solutions import solutions
from rarft.system.files import read_text


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer to an exercise.

    name: of the function.
    part, instead: of the chapter's solution, and what stands in its place.
    code: the whole wrong function.
    says: what a check answers to it.
    """

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
    yours: Callable, case: Sequence[Any], outcome: Any, notebook: Path, tolerance: float = 1e-6
) -> str | None:
    """What is wrong with a function, in a few words; None if no known mistake has the same outcome.

    Args:
        yours: the reader's function, or a wrapper that looks it up by its name; of other wrappers nothing is known.
        case: the arguments on which it failed.
        outcome: what it returned, or the exception that it raised.
        notebook: the chapter whose mistakes are tried.
        tolerance: up to which numbers are equal.
    """
    if not isinstance(yours, FunctionType):
        return None
    known, name = mistakes(notebook), yours.__name__
    is_exercise = name in known and yours.__globals__.get(name) is yours
    called = [name] if is_exercise else [called for called in yours.__code__.co_names if called in known]
    tried = (one for name in called[:1] for one in known[name])
    return next((one.says for one in tried if same_outcome(_tried(yours, one, case), outcome, tolerance)), None)


def _tried(yours: Callable, mistake: Mistake, case: Sequence[Any]) -> Any:
    """The outcome with the mistake in place of the reader's function: a result, or an exception."""
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
