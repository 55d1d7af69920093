"""Exercise checks: run the student's function beside the library's and say what differs."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = 1.0  # seconds
STUB = "your turn"  # what a function raises that is left to the reader
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


chapter: str | None = None  # that runs in this process; `coursekit.start` sets it


class CheckFailedError(AssertionError):
    """What differs, and on which case. A notebook shows the message alone, without a traceback of this file."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"✗ {self}"]


def check_equal(
    yours: Callable,
    reference: Callable,
    cases: Iterable[tuple],
    *,
    tolerance: float = 1e-6,
    notebook: Path | None = None,
) -> None:
    """Compare two functions on cases (tuples of arguments).

    Where yours is still a stub, says so, and puts the chapter's solution in its place, so that the cells below can run.
    Raises CheckFailedError that shows the first case on which they differ, or on which yours raises, and names the
    mistake where it is a known one; prints a line if there is none.

    Args:
        notebook: whose mistakes are known; the chapter that runs by default.
    """
    notebook = notebook or _notebook()
    count = 0
    for case in cases:
        kept = copy.deepcopy(case)
        room = max(60, 600 // max(1, len(case)))
        arguments = f"{yours.__name__}({', '.join(_brief(value, room) for value in case)})"
        expected = reference(*copy.deepcopy(case))
        begin = time.perf_counter()
        try:
            got = yours(*case)
        except NotImplementedError as error:
            name = _put_in_solution(error)
            if name is None:
                raise CheckFailedError(f"{yours.__name__}: not written yet") from None
            print(f"✗ {name}: not written yet; from here on the chapter's solution takes its place")
            return
        except Exception as error:
            where = _line_of(yours, error)
            what = f"{type(error).__name__}: {error}"
            message = f"{arguments}\n  raised {what}\n  in line {where.lineno} of {where.name}: {where.line}"
            named = _named(yours, kept, error, tolerance, notebook, begin)
            raise CheckFailedError(f"{message}\n  expected {_brief(expected)}{named}") from error
        if not _same(got, expected, tolerance):
            named = _named(yours, kept, got, tolerance, notebook, begin)
            raise CheckFailedError(f"{arguments}\n  returned {_brief(got)}\n  expected {_brief(expected)}{named}")
        count += 1
    print(f"✓ {yours.__name__} agrees with the library on {count} cases")


def _put_in_solution(error: NotImplementedError) -> str | None:
    """Define the function whose stub raised `error` as the chapter's solution does. Returns its name, None if it is not
    an exercise of the chapter that runs."""
    from coursekit.solutions import solutions  # reads notebooks: a package that the library alone does without

    assert error.__traceback__ is not None
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = frame.f_code.co_name
    source = _notebook()
    if str(error) != STUB:
        return None
    solution = solutions(source).get(name) if source else None
    if solution is None:
        return None
    exec(compile(solution.code, f"<solution of {name}>", "exec"), frame.f_globals)
    return name


def _notebook() -> Path | None:
    """The notebook of the chapter that runs; None outside of one."""
    return None if chapter is None else next(NOTEBOOKS.glob(f"{chapter}_*.ipynb"), None)


def _named(yours: Callable, case: tuple, outcome: Any, tolerance: float, notebook: Path | None, begin: float) -> str:
    """A line that names the mistake, or nothing: also where a single case, which began at `begin`, takes long, for each
    known mistake takes as long again."""
    if notebook is None or time.perf_counter() - begin > PATIENCE:
        return ""
    from coursekit.mistakes import diagnosis  # reads notebooks, as above

    says = diagnosis(yours, case, outcome, lambda a, b: _alike(a, b, tolerance), notebook)
    return f"\n  perhaps: {says}" if says else ""


def _alike(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two outcomes are the same: results, or exceptions."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b) and str(a) == str(b)
    return _same(a, b, tolerance)


def _line_of(function: Callable, error: Exception) -> traceback.FrameSummary:
    """The innermost line of the function's own file that the error passed, not one of a library that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == function.__code__.co_filename]
    return (own or list(frames))[-1]


def _brief(value: Any, room: int = 400) -> str:
    """A value on one line, the middle of a long one left out: eight lines are read, eighty are not."""
    text = " ".join(repr(value).split())
    return text if len(text) <= room else f"{text[: 3 * room // 4]} … {text[-room // 5 :]}"


def _same(got: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str | bool | type(None) | set | frozenset):
        return type(got) is type(expected) and got == expected
    try:
        a, b = np.asarray(got, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return got == expected
    return a.shape == b.shape and bool(np.allclose(a, b, atol=tolerance, equal_nan=True))
