"""Slow start: a backend that has just come up owns a part of its slots, and then more of them, until it owns all.

A slot that a newcomer does not own yet has the owner that it would have if neither this newcomer nor any later one were
there. Which of its slots a newcomer owns first is always the same. So when it gets more of them, no other slot changes
its owner, whoever else ramps up at the same time; and the table depends only on the backends, on which are out, and on
how far each newcomer is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fill import Places
from .hashing import TABLE_SIZE

__all__ = ["Newcomer", "Ramping", "ramped", "relative", "thinned"]

_APART = 40503
"""Slots are granted in the order of their number times this, modulo the table's size: evenly from the whole table.

It is the 16-bit constant of Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4).
"""


@dataclass(frozen=True, slots=True, order=True)
class Newcomer:
    """A backend, by id, that gets `granted` of `of` parts of its share. `since` orders newcomers: the later, the newer.

    Those with the same `since` came together and are equally far.
    """

    id: int
    since: int
    granted: int
    of: int


@dataclass(frozen=True, slots=True, order=True)
class Ramping:
    """A newcomer at its place in a table."""

    since: int
    place: int
    granted: int
    of: int


def relative(newcomers: Iterable[Newcomer], serving: int) -> tuple[Newcomer, ...]:
    """Return the newcomers with their parts in relation to who is farthest of all the `serving` backends.

    If all of them are newcomers there is nobody to ramp up against: those who are farthest get their whole share.
    """
    found = tuple(newcomers)
    if len(found) < serving or not found:
        return tuple(each for each in found if each.granted < each.of)
    most = max(found, key=lambda each: (each.granted / each.of, each.id))
    return tuple(
        Newcomer(each.id, each.since, each.granted * most.of, each.of * most.granted)
        for each in found
        if each.granted * most.of < each.of * most.granted
    )


def ramped(without: Callable[[Sequence[int]], Places], ramping: Sequence[Ramping], count: int) -> Places:
    """Return the owners of all slots, as places up to `count`, while these backends ramp up.

    `without` returns the owners if the backends at these places were not there.
    """
    moments = sorted({each.since for each in ramping}, reverse=True)
    level_after, granted, of = np.zeros(count + 1, np.intp), np.ones(count + 1, np.int64), np.ones(count + 1, np.int64)
    for each in ramping:
        # A slot that is refused goes to the table without those that came with its owner, and later ones.
        level_after[each.place] = moments.index(each.since) + 1
        granted[each.place], of[each.place] = each.granted, each.of
    owners = np.zeros(TABLE_SIZE, np.uint16)
    level = np.zeros(TABLE_SIZE, np.intp)
    for number in range(len(moments) + 1):
        waiting = np.flatnonzero(level == number)
        if not len(waiting):
            continue
        newest = moments[number - 1] if number else None
        table = without([each.place for each in ramping if newest is not None and each.since >= newest])
        has_it = _is_granted(table, level_after > 0, granted, of)
        taken = waiting[has_it[waiting]]
        owners[taken] = table[taken]
        refused = waiting[~has_it[waiting]]
        level[taken], level[refused] = -1, level_after[table[refused]]
    return owners


def thinned(turns: NDArray[np.intp], newcomers: Sequence[tuple[int, int, int]]) -> NDArray[np.intp]:
    """Return the turns without those that newcomers do not have yet, spread evenly.

    A newcomer is the number by which `turns` names it, and how many parts it has of how many.
    """
    stays = np.ones(len(turns), np.bool_)
    for number, granted, of in newcomers:
        own = np.flatnonzero(turns == number)
        nth = np.arange(len(own), dtype=np.int64)
        stays[own] = (nth + 1) * granted // of > nth * granted // of
    return turns[stays]


def _is_granted(
    table: Places, ramps: NDArray[np.bool_], granted: NDArray[np.int64], of: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return for each slot whether its owner in this table owns it already."""
    has_it = np.ones(TABLE_SIZE, np.bool_)
    slots = np.flatnonzero(ramps[table])
    if not len(slots):
        return has_it
    owners = table[slots].astype(np.int64)
    order = np.argsort(owners * TABLE_SIZE + slots * _APART % TABLE_SIZE)
    slots, owners = slots[order], owners[order]
    _, first, owned = np.unique(owners, return_index=True, return_counts=True)
    nth = np.arange(len(slots)) - np.repeat(first, owned)
    has_it[slots] = nth * of[owners] < np.repeat(owned, owned) * granted[owners]
    return has_it
