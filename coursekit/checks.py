"""The check of an exercise: run the student's function and the library's on the same cases, and say what differs."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from coursekit.compare import brief, same_value
from coursekit.paths import NOTEBOOKS

PATIENCE = 1.0  # seconds

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
    Prints a line if both agree on all cases.

    Args:
        tolerance: absolute, of numbers.
        notebook: whose known mistakes are named; the chapter that runs by default.

    Raises:
        CheckFailedError: with the first case on which they differ, or on which yours raises, and with the name of the
            mistake where it is a known one.
    """
    notebook = notebook or _notebook()
    count = 0
    for case in cases:
        kept = copy.deepcopy(case)
        room = max(60, 600 // max(1, len(case)))
        call = f"{yours.__name__}({', '.join(brief(value, room) for value in case)})"
        expected = reference(*copy.deepcopy(case))
        begin = time.perf_counter()
        try:
            got: Any = yours(*case)
        except NotImplementedError as error:
            name = _put_in_solution(error)
            if name is None:
                raise CheckFailedError(f"{yours.__name__}: not written yet") from None
            print(f"✗ {name}: not written yet; from here on the chapter's solution takes its place")
            return
        except Exception as error:
            where = _line_of(yours, error)
            what = f"raised {type(error).__name__}: {error}\n  in line {where.lineno} of {where.name}: {where.line}"
            perhaps = _mistake(yours, kept, error, tolerance, notebook, begin)
            raise CheckFailedError(f"{call}\n  {what}\n  expected {brief(expected)}{perhaps}") from error
        if not same_value(got, expected, tolerance):
            perhaps = _mistake(yours, kept, got, tolerance, notebook, begin)
            raise CheckFailedError(f"{call}\n  returned {brief(got)}\n  expected {brief(expected)}{perhaps}")
        count += 1
    print(f"✓ {yours.__name__} agrees with the library on {count} cases")


def _put_in_solution(error: NotImplementedError) -> str | None:
    """Define the function whose stub raised `error` as the chapter's solution does. Returns its name; None if it is not
    an exercise of the chapter that runs."""
    from coursekit.solutions import STUB, solutions  # needs nbformat, which `rarft doctor` has to do without

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


def _mistake(yours: Callable, case: tuple, outcome: Any, tolerance: float, notebook: Path | None, begin: float) -> str:
    """A line that names the mistake. Empty for an unknown one, and where a single case, which began at `begin`, takes
    long: each known mistake would take as long again."""
    if notebook is None or time.perf_counter() - begin > PATIENCE:
        return ""
    from coursekit.mistakes import diagnosis  # needs nbformat, as above

    says = diagnosis(yours, case, outcome, notebook, tolerance)
    return f"\n  perhaps: {says}" if says else ""


def _line_of(function: Callable, error: Exception) -> traceback.FrameSummary:
    """The innermost line of the function's own file that the error passed, not one of a library that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == function.__code__.co_filename]
    return (own or list(frames))[-1]
