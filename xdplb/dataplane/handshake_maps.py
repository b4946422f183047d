# SPDX-License-Identifier: Apache-2.0
"""The sampled connections in the kernel: which are sampled, what was noted of them, and the counters of backends.

The maps are there only in a program that samples. They are arrays, mapped into this process as long as they are read:
that takes some microseconds, and no system call for each entry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from . import layout
from .maps import BpfMap
from .pinned_maps import Maps

__all__ = ["HandshakeMaps"]


class HandshakeMaps:
    """Reads and writes the maps of sampled connections, where there are any."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps

    def write_shares(self, shares: Mapping[int, int]) -> None:
        """Set which connections of these VIPs are sampled."""
        found = self._maps.handshake_shares
        if found is not None and shares:
            found.update_batch(np.array(list(shares), np.uint32), np.array(list(shares.values()), np.uint32))

    def read(self, since: int) -> NDArray[np.void]:
        """Return what was noted of the connections that began at `since` (ns, CLOCK_MONOTONIC) or later."""
        found = self._maps.handshakes
        if found is None:
            return np.zeros(0, layout.HANDSHAKE)
        places = _mapped(found, layout.HANDSHAKE)
        recent = places[places["syn_at"] >= since]
        return recent[recent["hash"] > layout.HANDSHAKE_BUSY]

    def counters(self, backend_ids: Collection[int]) -> NDArray[np.void]:
        """Return the counters of these backends, in their order."""
        found = self._maps.handshake_stats
        if found is None:
            return np.zeros(len(backend_ids), layout.HANDSHAKE_COUNTERS)
        return _mapped(found, layout.HANDSHAKE_COUNTERS)[np.fromiter(backend_ids, np.intp, len(backend_ids))]


def _mapped(found: BpfMap, entry: np.dtype[np.void]) -> NDArray[np.void]:
    """Return an array as it lies in the kernel."""
    return np.frombuffer(found.mapped(), entry, found.info.max_entries)
