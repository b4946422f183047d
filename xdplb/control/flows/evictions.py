"""How many flow records the kernel threw out of the flow table because it was full: no counter says so."""

from __future__ import annotations

from collections.abc import Mapping

from xdplb.dataplane.plane import VipCounters

__all__ = ["Evictions"]


class Evictions:
    """Adds up what was recorded and deleted since the first count: what is missing was evicted.

    The parts are read one after the other while packets flow, so that a count may come late, but never too high.
    """

    def __init__(self) -> None:
        self.evicted = 0
        self._balance: int | None = None
        self._made: Mapping[int, int] = {}

    @property
    def has_begun(self) -> bool:
        """Whether there is a first count to go from."""
        return self._balance is not None

    def begin(self, present: int, vips: Mapping[int, VipCounters]) -> None:
        """Count from here: `present` records, and then the counters of each VIP id."""
        self._balance = present
        self._made = {vip_id: counters.records for vip_id, counters in vips.items()}

    def made(self, vips: Mapping[int, VipCounters]) -> None:
        """Note the counters of each VIP id; to be called before a VIP goes, and before `present`."""
        if self._balance is None:
            return
        for vip_id, counters in vips.items():
            before = self._made.get(vip_id, 0)
            self._balance += counters.records - before if counters.records >= before else counters.records
        self._made = {vip_id: counters.records for vip_id, counters in vips.items()}

    def deleted(self, records: int) -> None:
        """Note that so many records were deleted on purpose."""
        if self._balance is not None:
            self._balance -= records

    def present(self, records: int) -> None:
        """Note how many records there are, and what that says."""
        if self._balance is not None:
            self.evicted = max(self.evicted, self._balance - records)
