# SPDX-License-Identifier: Apache-2.0
"""The loops over all slots that are compiled when xdplb is installed (scripts/lib/build_loops.py), for use by ctypes.

Each has a twin in Python or numpy beside its caller, for hosts without a C compiler. Those that take milliseconds let
other threads run meanwhile. The others keep Python's lock: among busy threads it takes far longer to get it back.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_uint32, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray

__all__ = ["IS_COMPILED", "LOOPS", "address"]

_LONG = {
    "xdplb_fill": [c_void_p, c_uint32, c_void_p, c_void_p, c_void_p, c_uint32],
    "xdplb_turns": [c_void_p, c_uint32, c_int64, c_void_p, c_uint32],
}
_SHORT = {
    "xdplb_move": [c_void_p, c_void_p, c_void_p, c_uint32, c_void_p],
    "xdplb_places": [c_void_p, c_uint32, c_void_p, c_void_p, c_void_p],
    "xdplb_owners8": [c_void_p, c_void_p, c_uint32, c_void_p],
    "xdplb_owners16": [c_void_p, c_void_p, c_uint32, c_void_p],
    "xdplb_store": [c_void_p, c_void_p, c_uint32],
}


def address(array: NDArray[Any]) -> int:
    """Return where an array begins. A loop takes its arrays in one piece, which columns of another array are not."""
    if not array.flags.c_contiguous:
        raise ValueError("a compiled loop takes no array with gaps")
    start: int = array.ctypes.data
    return start


def _loops() -> Any:
    """Return the functions, None if they were not compiled."""
    path, loops = str(Path(__file__).with_name("_loops.so")), SimpleNamespace()
    try:
        for library, functions in ((ctypes.CDLL(path), _LONG), (ctypes.PyDLL(path), _SHORT)):
            for name, arguments in functions.items():
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, c_uint32
                setattr(loops, name, function)
    except (OSError, AttributeError):
        return None
    return loops


LOOPS = _loops()
"""The functions; None where they were not compiled."""

IS_COMPILED = LOOPS is not None
"""Whether the loops are in C."""
