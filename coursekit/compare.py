"""How a check compares values, and how it shows them."""

from __future__ import annotations

from typing import Any

import numpy as np


def same_value(got: Any, expected: Any, tolerance: float) -> bool:
    """Whether two values are equal: numbers, also in nested lists, arrays and tensors, up to `tolerance`.

    Texts, truth values, sets and None have to be of the same type as well.
    """
    if isinstance(expected, str | bool | type(None) | set | frozenset):
        return type(got) is type(expected) and got == expected
    try:
        a, b = np.asarray(got, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return got == expected
    return a.shape == b.shape and bool(np.allclose(a, b, atol=tolerance, equal_nan=True))


def same_outcome(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two outcomes of a call are equal: values, or exceptions of one type with one message."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b) and str(a) == str(b)
    return same_value(a, b, tolerance)


def brief(value: Any, room: int = 400) -> str:
    """A value on one line of at most about `room` characters; the middle of a longer one is left out."""
    text = " ".join(repr(value).split())
    return text if len(text) <= room else f"{text[: 3 * room // 4]} … {text[-room // 5 :]}"
