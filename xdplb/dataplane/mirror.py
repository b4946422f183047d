# SPDX-License-Identifier: Apache-2.0
"""Arrays that only the control plane writes, with a copy in memory of what it wrote: another writer's show by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .maps import BpfMap

__all__ = ["Mirror"]

_ROWS_A_LOOK = 4096  # 0.5 ms


class Mirror:
    """An array, of which `held` is the copy, one value a row. What is there at first counts as written."""

    def __init__(self, array: BpfMap, dtype: np.dtype[Any], *, theirs: tuple[str, ...] = ()) -> None:
        """`theirs` are the fields that packets change: they are not compared."""
        self.array, self._dtype, self._theirs = array, dtype, theirs
        self.read()

    def read(self) -> None:
        """Take what the array has now for what was written."""
        self.held = self._values(self.array.read_all()[1])

    def differs(self, keys: NDArray[np.uint32], values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return for each of these rows whether it would be another one."""
        return _differ(self._with_theirs(self.held[keys], values), values)

    def write_changes(self, keys: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write those of these rows that would be other ones."""
        changed = self.differs(keys, values)
        self.write(keys[changed], values[changed])

    def write(self, keys: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write these rows."""
        self.array.update_batch(keys, values)
        self.held[keys] = values

    def verify(self) -> Iterator[bool]:
        """Compare some rows at each step; say whether another process had changed them, and write those again."""
        for first in range(0, len(self.held), _ROWS_A_LOOK):
            found = self._values(self.array.read_rows(first, _ROWS_A_LOOK))
            right = self._with_theirs(self.held[first : first + len(found)].copy(), found)
            places = np.flatnonzero(_differ(right, found))
            self.array.update_batch((places + first).astype(np.uint32), right[places])
            yield len(places) > 0

    def _values(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        values: NDArray[Any] = np.ascontiguousarray(raw).view(self._dtype).reshape(-1)
        return values

    def _with_theirs(self, rows: NDArray[Any], found: NDArray[Any]) -> NDArray[Any]:
        """Put the fields that packets change into these rows, as they were found; return the rows."""
        for name in self._theirs:
            rows[name] = found[name]
        return rows


def _differ(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each row whether any byte of it differs."""
    rows, other_rows = (
        np.ascontiguousarray(part).view(np.uint8).reshape(len(part), part.itemsize) for part in (some, others)
    )
    return np.asarray((rows != other_rows).any(axis=1))
