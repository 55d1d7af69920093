"""The register of claims, and copies of the results that contradict them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from coursekit import ROOT

Data = dict[str, Any]
WEATHERS = ("calm", "rough", "storm")


@cache
def _text(name: str) -> str:
    return (ROOT / "data" / "results" / f"{name}.json").read_text(encoding="utf-8")


def results(name: str) -> Data:
    """A fresh copy of a results file."""
    return json.loads(_text(name))


Check = Callable[[Data], Iterator[bool]]
Falsification = Callable[[Data], None]  # changes a copy of the results


@dataclass(frozen=True)
class Claim:
    """A sentence of the course that rests on a results file.

    check: yields whether each condition holds that makes up the sentence.
    falsifications: each makes some conditions fail, together all of them.
    """

    id: str
    file: str
    check: Check
    falsifications: tuple[Falsification, ...]

    def conditions(self, falsify: Falsification | None = None) -> list[bool]:
        """What the check says of the results, or of a falsified copy."""
        data = results(self.file)
        if falsify:
            falsify(data)
        return [bool(holds) for holds in self.check(data)]


def matches(row: Data, where: Data) -> bool:
    """Whether a row has these values; a tuple stands for any of several."""
    return all(row[key] in value if isinstance(value, tuple) else row[key] == value for key, value in where.items())


def select(rows: Sequence[Data], **where: Any) -> list[Data]:
    """The rows that have these values; at least one."""
    found = [row for row in rows if matches(row, where)]
    assert found, where
    return found


def places_of(row: Data) -> list[Data]:
    """Where the figures of a row are: in itself, in its `figures`, or there by weather."""
    figures = row.get("figures", {})
    return [row, figures, *(place for place in figures.values() if isinstance(place, dict))]


def put(figures: Data, table: str = "rows", **where: Any) -> Falsification:
    """Sets figures of the rows that have these values, in all weathers."""

    def falsify(data: Data) -> None:
        places = [
            place for row in select(data[table], **where) for place in places_of(row) if figures.keys() <= place.keys()
        ]
        assert places, figures
        for place in places:
            place.update(figures)

    return falsify


CLAIMS: dict[str, Claim] = {}


def claim(name: str, file: str, *falsifications: Falsification) -> Callable[[Check], Check]:
    """Register the check of a marked sentence."""

    def register(check: Check) -> Check:
        assert name not in CLAIMS, name
        CLAIMS[name] = Claim(name, file, check, falsifications)
        return check

    return register
