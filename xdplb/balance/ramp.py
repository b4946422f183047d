# SPDX-License-Identifier: Apache-2.0
"""Slow start: a backend that has just come up owns a part of its slots, and then more of them, until it owns all.

A slot that a newcomer does not own yet has the owner that it would have if neither this newcomer nor any later one were
there. Which of its slots a newcomer owns first is always the same. So when it gets more of them, no other slot changes
its owner, whoever else ramps up at the same time; and the table depends only on the backends, on which are out, and on
how far each newcomer is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fill import Places
from .hashing import TABLE_SIZE

__all__ = ["Newcomer", "Ramping", "parts_of", "ramped", "thinned"]

_APART = 40503
"""Slots are granted in the order of their number times this, modulo the table's size: evenly from the whole table.

It is the 16-bit constant of Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4).
"""


_IN_ORDER = np.argsort(np.arange(TABLE_SIZE, dtype=np.int64) * _APART % TABLE_SIZE)
"""The slots in that order."""

_MOST_STEPS = 10
"""Each step publishes a table or a weight, so there are not many; a step is not shorter than a second."""


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


def parts_of(seconds: int) -> int:
    """Return in how many parts a backend gets its share over so many seconds: one at once, and one at each step."""
    return min(_MOST_STEPS, seconds) + 1


def ramped(without: Callable[[int], Places], ramping: Sequence[Ramping], count: int) -> Places:
    """Return the owners of all slots, as places up to `count`, while these backends ramp up.

    `without` returns the owners without those that came at the so many latest moments.
    """
    moments = sorted({each.since for each in ramping}, reverse=True)
    moment_of, granted, of = np.zeros(count + 1, np.intp), np.ones(count + 1, np.int64), np.ones(count + 1, np.int64)
    for each in ramping:
        moment_of[each.place] = moments.index(each.since) + 1
        granted[each.place], of[each.place] = each.granted, each.of
    owners = without(0).copy()
    refused: list[list[NDArray[np.intp]]] = [[] for _ in range(len(moments) + 1)]
    # A slot that is refused goes to the table without those that came with its owner, and later ones.
    _refuse(owners, moment_of[owners] > 0, refused, moment_of, granted, of)
    for number in range(1, len(moments) + 1):
        if not refused[number]:
            continue
        table, waiting = without(number), np.concatenate(refused[number])
        owners[waiting] = table[waiting]
        if len(left := waiting[moment_of[table[waiting]] > 0]):
            is_asked = np.zeros(count + 1, np.bool_)
            is_asked[table[left]] = True
            _refuse(table, is_asked[table], refused, moment_of, granted, of, only=left)
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


def _refuse(
    table: Places,
    is_new: NDArray[np.bool_],
    refused: list[list[NDArray[np.intp]]],
    *state: NDArray[np.int64],
    only: NDArray[np.intp] | None = None,
) -> None:
    """Note, by the moment at which its owner came, which slots of newcomers are not granted yet.

    `is_new` says of each slot whether it is such a one; with `only`, no others are noted than these.
    """
    moment_of, granted, of = state
    slots = _IN_ORDER[is_new[_IN_ORDER]]
    if not len(slots):
        return
    order = np.argsort(table[slots], kind="stable")  # of 16 bits: in linear time
    slots = slots[order]
    owners = table[slots].astype(np.intp)
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    owned = np.diff(begins, append=len(owners))
    nth = np.arange(len(slots)) - np.repeat(begins, owned)
    is_refused = nth * of[owners] >= np.repeat(owned, owned) * granted[owners]
    slots, owners = slots[is_refused], owners[is_refused]
    if only is not None:
        chosen = np.isin(slots, only)
        slots, owners = slots[chosen], owners[chosen]
    came = moment_of[owners]
    for number in np.unique(came).tolist():
        refused[number].append(slots[came == number])
