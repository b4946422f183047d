"""Filling the free slots of a table: the backends take turns, and each walks on in its permutation to a free slot.

It is the inner loop of Maglev, some 700,000 steps for an empty table: 2 ms in C, and 50 ms in Python. The C is compiled
when xdplb is installed (scripts/lib/build_fill.py). Where there was no compiler, Python does the same.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IS_COMPILED", "Places", "Turns", "Walks", "fill"]

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
    # C takes its arrays in one piece, which columns of another array are not.
    filled, cursors = np.array(places, order="C"), np.array(begins, order="C")
    steps, turns = np.ascontiguousarray(steps), np.ascontiguousarray(turns)
    if _COMPILED is None:
        _fill_in_python(filled, cursors, steps, turns)
    else:
        _COMPILED(
            filled.ctypes.data, len(filled), cursors.ctypes.data, steps.ctypes.data, turns.ctypes.data, len(turns)
        )
    return filled


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


def _compiled() -> Any:
    """Return the compiled function, None if it was not compiled."""
    try:
        function = ctypes.CDLL(str(Path(__file__).with_name("_fill.so"))).xdplb_fill
    except (OSError, AttributeError):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    function.argtypes, function.restype = [pointer, number, pointer, pointer, pointer, number], None
    return function


_COMPILED = _compiled()

IS_COMPILED = _COMPILED is not None
"""Whether tables are filled by C."""
