# SPDX-License-Identifier: Apache-2.0
"""Counting the flow records that the kernel evicted because the table was full. The kernel has no counter for it."""

from __future__ import annotations

from collections.abc import Mapping

from xdplb.control.state.differing import without
from xdplb.dataplane.plane import VipCounters

__all__ = ["Evictions"]


class Evictions:
    """Adds up records made and deleted since the first count. Those that are missing at a later count were evicted.

    The numbers are read one after the other under traffic, so an eviction may be counted late, but never too many.
    """

    def __init__(self) -> None:
        self.evicted = 0
        self._balance: int | None = None
        self._made: Mapping[int, int] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the first count was made."""
        return self._balance is not None

    def begin(self, present: int, vips: Mapping[int, VipCounters]) -> None:
        """Start counting: `present` records, counted before the counters of each VIP id were read."""
        self._balance = present
        self._made = {vip_id: counters.records for vip_id, counters in vips.items()}

    def made(self, vips: Mapping[int, VipCounters]) -> None:
        """Note the counters of all VIP ids. To be called before `present`."""
        if self._balance is not None:
            self._add(vips)
            self._made = {vip_id: counters.records for vip_id, counters in vips.items()}

    def gone(self, vips: Mapping[int, VipCounters]) -> None:
        """Note the counters of these VIP ids, right before the VIPs are removed."""
        if self._balance is not None:
            self._add(vips)
            self._made = without(self._made, self._made.keys() & vips.keys())

    def _add(self, vips: Mapping[int, VipCounters]) -> None:
        assert self._balance is not None
        for vip_id, counters in vips.items():
            before = self._made.get(vip_id, 0)
            # A counter that is lower than before was reset for a new VIP with this id.
            self._balance += counters.records - before if counters.records >= before else counters.records

    def added(self, records: int) -> None:
        """Note that this many records were written that the counters do not know of."""
        if self._balance is not None:
            self._balance += records

    def deleted(self, records: int) -> None:
        """Note that this many records were deleted on purpose."""
        if self._balance is not None:
            self._balance -= records

    def present(self, records: int) -> None:
        """Note how many records there are now: those that are missing were evicted."""
        if self._balance is not None:
            self.evicted = max(self.evicted, self._balance - records)
