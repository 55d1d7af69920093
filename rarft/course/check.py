"""Exercise checks: run the student's function beside the library's and say what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def check_equal(yours: Callable, reference: Callable, cases: Iterable[tuple], *, tolerance: float = 1e-6) -> None:
    """Compare two functions on cases (tuples of arguments).

    Raises AssertionError that shows the first case on which they differ; prints a line if there is none.
    """
    count = 0
    for case in cases:
        expected = reference(*case)
        try:
            got = yours(*case)
        except NotImplementedError as error:
            raise AssertionError(f"{yours.__name__}: not written yet") from error
        if not _same(got, expected, tolerance):
            arguments = ", ".join(repr(argument) for argument in case)
            raise AssertionError(f"{yours.__name__}({arguments})\n  returned {got!r}\n  expected {expected!r}")
        count += 1
    print(f"✓ {yours.__name__} agrees with the library on {count} cases")


def _same(got: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str | bool | type(None) | set | frozenset):
        return type(got) is type(expected) and got == expected
    try:
        a, b = np.asarray(got, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return got == expected
    return a.shape == b.shape and bool(np.allclose(a, b, atol=tolerance, equal_nan=True))
