"""The pinned map that says which state the other maps belong to. No program uses it, so it is not in map_specs.py.

It stays where it is while other maps are replaced (takeover.py), and goes with the last of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .maps import BpfMap, MapType
from .pins import INSTANCE
from .plane import Mark

__all__ = ["read_mark", "write_mark"]

_LAYOUT = 1
_VALUE = np.dtype([("layout", "<u8"), ("instance", "<u8"), ("generation", "<u8")])


def read_mark(folder: Path) -> Mark | None:
    """Return what is pinned in `folder`, None where nothing is, or what a later xdplb wrote in another layout."""
    try:
        found = BpfMap.open(folder / INSTANCE)
    except FileNotFoundError:
        return None
    with found:
        if found.info.value_size != _VALUE.itemsize:
            return None
        value = np.frombuffer(found.read(0), _VALUE)[0]
    return Mark(int(value["instance"]), int(value["generation"])) if value["layout"] == _LAYOUT else None


def write_mark(folder: Path, mark: Mark) -> None:
    """Write it, in one update; the map is made where there is none, and pinned when it has its value."""
    value = np.array([(_LAYOUT, mark.instance, mark.generation)], _VALUE)
    try:
        found = BpfMap.open(folder / INSTANCE)
    except FileNotFoundError:
        with BpfMap.create(MapType.ARRAY, INSTANCE, value_size=_VALUE.itemsize) as made:
            made.update(0, value)
            made.pin(folder / INSTANCE)
        return
    with found:
        found.update(0, value)
