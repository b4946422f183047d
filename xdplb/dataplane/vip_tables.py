# SPDX-License-Identifier: Apache-2.0
"""The tables of VIPs, an inner map each, which are changed in place while packets use them.

A slot is one aligned word of 32 bits and is written by one store, so a packet finds the old slot or the new one, and
each of the two is valid whatever the others are. So nothing is copied, and there is no grace period to wait for. Who
must know that no packet uses an old slot any more waits for one with `wait_for_packets` (grace.py), once for all.

A table is mapped into this process only while it is read or written: thousands would count as the daemon's memory.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, suppress

import numpy as np

from xdplb.balance.compiled import LOOPS, address

from . import layout
from .inner_maps import open_inner, put_without_waiting
from .map_specs import VIP_TABLE
from .maps import BpfMap
from .plane import Slots

__all__ = ["VipTables", "mapped"]

_AT_ONCE = 128  # descriptors that are open at a time


class VipTables:
    """The tables by VIP id, in the map of maps `outer`."""

    def __init__(self, outer: BpfMap) -> None:
        self._outer = outer

    def read(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        found = open_inner(self._outer, vip_id)
        if found is None:
            return None
        with found:
            return mapped(found).copy()

    def write(self, vip_id: int, slots: Slots) -> None:
        """Write the slots that differ. A VIP without a table gets one."""
        found = open_inner(self._outer, vip_id)
        if found is None:
            self.add([vip_id])
            found = open_inner(self._outer, vip_id)
            assert found is not None
        with found:
            _store(mapped(found, writable=True), np.ascontiguousarray(slots))

    def restore(self, vip_id: int, slots: Slots) -> bool:
        """Compare a VIP's table with what was written; write it again where it differs, and say whether it did."""
        found = open_inner(self._outer, vip_id)
        if found is not None:
            with found, suppress(OSError, ValueError):  # an array of another process may not be mapped, or be smaller
                if np.array_equal(mapped(found), slots):
                    return False
                _store(mapped(found, writable=True), np.ascontiguousarray(slots))
                return True
            self.delete(vip_id)
        self.write(vip_id, slots)
        return True

    def add(self, vip_ids: Collection[int]) -> None:
        """Give an empty table to those of these VIPs that have none."""
        missing = [vip_id for vip_id in vip_ids if self._outer.lookup(vip_id) is None]
        for start in range(0, len(missing), _AT_ONCE):
            with ExitStack() as opened:
                chunk = missing[start : start + _AT_ONCE]
                put_without_waiting(self._outer, {vip_id: opened.enter_context(VIP_TABLE.create()) for vip_id in chunk})

    def delete(self, vip_id: int) -> None:
        """Remove a VIP's table, and wait until no packet uses it; no error if it has none."""
        self._outer.delete(vip_id)


def mapped(found: BpfMap, *, writable: bool = False) -> Slots:
    """Return the slots of an open table as they lie in the kernel. They are unmapped when the array is gone."""
    return np.frombuffer(found.mapped(writable=writable), np.uint32, layout.TABLE_SIZE)


def _store(table: Slots, slots: Slots) -> None:
    if LOOPS is not None:
        LOOPS.xdplb_store(address(table), address(slots), len(slots))
        return
    changed = np.flatnonzero(table != slots)
    table[changed] = slots[changed]
