"""Which values the slots of the world's queries take, so that a system can say what would be true instead."""

from __future__ import annotations

from collections.abc import Sequence

from rarft.world.language import SLOTS, Slots, parse

COMPARED = tuple(slot for slot in SLOTS if slot != "order")  # an order is not a property of the object


def values_of_slots(queries: Sequence[str]) -> dict[str, list]:
    """The values of each slot that these queries mention; no slots for queries that are not of the world."""
    parsed: list[Slots] = [slots for slots in map(parse, queries) if slots]
    found = {slot: {getattr(q, slot) for q in parsed} - {None} for slot in COMPARED}
    return {slot: sorted(values) for slot, values in found.items() if len(values) > 1}
