# SPDX-License-Identifier: Apache-2.0
"""The pinned map that says which state the other maps belong to. No program uses it, so it is not in map_specs.py.

It stays where it is while other maps are replaced (takeover.py), and goes with the last of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np

from .libbpf import Fd
from .maps import BpfMap, MapType
from .pins import INSTANCE
from .plane import Mark

__all__ = ["MarkMap"]

_LAYOUT = 1
_VALUE = np.dtype([("layout", "<u8"), ("instance", "<u8"), ("generation", "<u8")])


class MarkMap:
    """The map, open: it can be written whatever becomes of its pin."""

    def __init__(self, found: BpfMap) -> None:
        self._map = found
        self._held = found.read(0)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the one pinned in `folder`. FileNotFoundError where there is none."""
        return cls(BpfMap.open(folder / INSTANCE))

    @classmethod
    def open_or_create(cls, folder: Path) -> Self:
        """Open the one pinned in `folder`, or pin one there that says nothing yet."""
        try:
            return cls.open(folder)
        except FileNotFoundError:
            made = BpfMap.create(MapType.ARRAY, INSTANCE, value_size=_VALUE.itemsize)
            made.pin(folder / INSTANCE)
            return cls(made)

    @property
    def fd(self) -> Fd:
        """The descriptor of the map."""
        return self._map.fd

    def read(self) -> Mark | None:
        """Return what was written last, None if nothing was, or if a later xdplb wrote it in another layout."""
        if self._map.info.value_size != _VALUE.itemsize:
            return None
        value = np.frombuffer(self._map.read(0), _VALUE)[0]
        return Mark(int(value["instance"]), int(value["generation"])) if value["layout"] == _LAYOUT else None

    def write(self, mark: Mark) -> None:
        """Write it, in one update."""
        value = np.array([(_LAYOUT, mark.instance, mark.generation)], _VALUE)
        self._map.update(0, value)
        self._held = value.tobytes()

    def restore(self) -> bool:
        """Write it again if another process has changed it; return whether it had."""
        changed = self._map.read(0) != self._held
        if changed:
            self._map.update(0, self._held)
        return changed
