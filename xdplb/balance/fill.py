# SPDX-License-Identifier: Apache-2.0
"""Filling the free slots of a table: the backends take turns, and each walks on in its permutation to a free slot.

It is the inner loop of Maglev, some 700,000 steps for an empty table: 2 ms in C, and 50 ms in Python.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from .compiled import LOOPS, address

__all__ = ["Places", "Turns", "Walks", "fill", "turns_least_loaded"]

Places = NDArray[np.uint16]
"""For each slot its owner, counted from 1; 0 if it is free."""

Turns = NDArray[np.uint16]
"""The backends in turn, counted from 0."""

Walks = NDArray[np.uint32]
"""For each backend where its permutation begins, or how far a step in it is."""


def fill(places: Places, begins: Walks, steps: Walks, turns: Turns) -> Places:
    """Return `places` with a slot for each turn: the first free one of begin, begin + step, … modulo the table's size.

    There must be as many free slots as turns, and the size must be a prime, or a walk would not come to its end.
    """
    filled, cursors = np.array(places, order="C"), np.array(begins, order="C")
    steps, turns = np.ascontiguousarray(steps), np.ascontiguousarray(turns)
    if LOOPS is None:
        _fill_in_python(filled, cursors, steps, turns)
    else:
        LOOPS.xdplb_fill(address(filled), len(filled), address(cursors), address(steps), address(turns), len(turns))
    return filled


def turns_least_loaded(lacks: NDArray[np.int64], backends: NDArray[np.int64], total: int, count: int) -> Turns:
    """Return whose turn it is `count` times: the one that lacks most slots of its share; of equals the first.

    `backends` are those that take turns, at least one, and `lacks` what each lacks at first, in units of 1/total of a
    slot, so that they are exact integers.
    """
    if LOOPS is None:
        return _turns_in_python(lacks, backends, total, count)
    heap, turns = np.ascontiguousarray(np.column_stack([-lacks, backends])), np.empty(count, np.uint16)
    LOOPS.xdplb_turns(address(heap), len(heap), total, address(turns), count)
    return turns


def _fill_in_python(places: Places, cursors: Walks, steps: Walks, turns: Turns) -> None:
    # Lists and bytes are several times faster to index than arrays.
    taken, table, size = bytearray((places != 0).astype(np.uint8)), places.tolist(), len(places)
    at, each = cursors.tolist(), steps.tolist()
    for backend in turns.tolist():
        slot, step = at[backend], each[backend]
        while taken[slot]:
            slot += step
            if slot >= size:
                slot -= size
        taken[slot], table[slot] = 1, backend + 1
        at[backend] = slot
    places[:] = table


def _turns_in_python(lacks: NDArray[np.int64], backends: NDArray[np.int64], total: int, count: int) -> Turns:
    # What each owns beyond its share, in the same units; negative if it lacks some.
    heap = list(zip((-lacks).tolist(), backends.tolist(), strict=True))
    heapq.heapify(heap)
    turns = np.empty(count, np.uint16)
    for turn in range(count):
        surplus, backend = heap[0]
        heapq.heapreplace(heap, (surplus + total, backend))
        turns[turn] = backend
    return turns
