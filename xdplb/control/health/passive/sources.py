# SPDX-License-Identifier: Apache-2.0
"""Which sources have proven that they are there: they have answered a SYN-ACK, which a forged source does not get.

A source is an address, of IPv6 a /64. What it proves at one backend of a VIP counts for all of that VIP: at a backend
that is dead nobody can prove anything. One that is seen for the first time does not count, until it has answered some
backend, before or after.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProvenSources"]

_MOST = 1 << 16
_REMEMBERED_SECONDS = 600.0

Source = tuple[int, int]
"""A VIP's id, and a source as the maps have it."""


class ProvenSources:
    """The sources that have answered lately; those that did so longest ago go first when there are too many."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._at: dict[Source, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def note(self, vips: NDArray[np.integer], sources: NDArray[np.uint64], now: float) -> None:
        """Note that these have answered; columns of equal length."""
        for pair in set(zip(vips.tolist(), sources.tolist(), strict=True)):
            self._at.pop(pair, None)
            self._at[pair] = now
        while len(self._at) > self._most:
            del self._at[next(iter(self._at))]

    def forget(self, vips: Iterable[int]) -> None:
        """Forget all of these VIPs."""
        gone = frozenset(vips)
        self._at = {pair: at for pair, at in self._at.items() if pair[0] not in gone}

    def among(self, vips: NDArray[np.integer], sources: NDArray[np.uint64], now: float) -> NDArray[np.bool_]:
        """Return which of these have answered lately."""
        least = now - _REMEMBERED_SECONDS
        known = self._at
        pairs = zip(vips.tolist(), sources.tolist(), strict=True)
        return np.fromiter((known.get(pair, least) > least for pair in pairs), np.bool_, len(vips))
