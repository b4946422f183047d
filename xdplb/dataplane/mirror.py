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

    def __init__(self, array: BpfMap, dtype: np.dtype[Any], *, ours: tuple[str, ...] = ()) -> None:
        """`ours` are the fields that are compared, if packets change the others; without any, all are."""
        self.array, self._dtype, self._ours = array, dtype, ours
        self.held = self.read()

    def read(self) -> NDArray[Any]:
        """Return what the array has now."""
        return self._values(self.array.read_all()[1])

    def write(self, keys: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write these rows."""
        self.array.update_batch(keys, values)
        self.held[keys] = values

    def verify(self) -> Iterator[bool]:
        """Compare some rows at each step; say whether another process had changed them, and write those again."""
        for first in range(0, len(self.held), _ROWS_A_LOOK):
            found = self._values(self.array.read_rows(first, _ROWS_A_LOOK))
            wanted = self.held[first : first + len(found)]
            places = np.flatnonzero(self._differs(found, wanted))
            if len(places):
                right = found[places]
                for name in self._ours or (wanted.dtype.names or ()):
                    right[name] = wanted[places][name]
                self.array.update_batch((places + first).astype(np.uint32), right)
            yield len(places) > 0

    def _values(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        values: NDArray[Any] = np.ascontiguousarray(raw).view(self._dtype).reshape(-1)
        return values

    def _differs(self, found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
        if not self._ours:
            rows, others = (
                np.ascontiguousarray(part).view(np.uint8).reshape(len(part), -1) for part in (found, wanted)
            )
            return np.asarray((rows != others).any(axis=1))
        return np.asarray(np.logical_or.reduce([found[name] != wanted[name] for name in self._ours]))
