# SPDX-License-Identifier: Apache-2.0
"""Reading the flow table when needed: for drains, which count connections, and for pinned slots, which settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

import numpy as np

from xdplb.control.events import Events, FlowScanFailed
from xdplb.control.flows.drain import (
    DrainState,
    DrainView,
    FlowCounts,
    QuicSilence,
    count_flows,
    drain_view,
    load_of,
    open_flows,
)
from xdplb.control.flows.settle import Scan
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.snapshot import BoundBackend
from xdplb.control.writing.batches import batches
from xdplb.control.writing.drain_watch import DrainWatch
from xdplb.control.writing.threads import Worker
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import Counters, DataPlane
from xdplb.model.errors import XdplbError

__all__ = ["FlowWatch"]

T = TypeVar("T")

_SHARE_OF_TIME = 20
"""Long scans run less often, so that they take at most 1/20 of a core."""

_COUNT_SECONDS = 30.0


class FlowWatch:
    """Scans in its own thread, so that a health flip does not wait for a scan."""

    def __init__(
        self,
        plane: DataPlane,
        writer: Writer,
        events: Events,
        *,
        now: Callable[[], datetime],
        period_seconds: float,
    ) -> None:
        self._plane, self._writer, self._events, self._now = plane, writer, events, now
        self._period_seconds = period_seconds
        self._thread = Worker("xdplb-flows")
        self._counted_at: datetime | None = None
        self._took = 0.0
        self._drains = DrainWatch(writer, events, now, self.drain)
        self._silence = QuicSilence()
        self.counts: FlowCounts | None = None
        """The latest scan."""
        self.records = 0
        """How many records the flow table had at the last count, without those on probation."""

    async def open(self) -> None:
        """Read what was kept of drains, before the maps are brought to the state."""
        await self._drains.open()

    async def run(self) -> None:
        """Forever: scan as often as needed, but not so often that it takes much CPU."""
        while True:
            self._took = 0.0
            try:
                await self.turn()
            except XdplbError as error:
                self._events.say(FlowScanFailed(str(error)))
            except Exception as error:
                self._events.say(FlowScanFailed(repr(error)), trace=error)
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Return the seconds until the next turn: drains are cut at their deadline, however long a scan takes."""
        pause = max(self._period_seconds, _SHARE_OF_TIME * self._took)
        deadline = self._drains.next_deadline
        if deadline is None:
            return pause
        return min(pause, max(self._period_seconds / 20, (deadline - self._now()).total_seconds()))

    async def turn(self) -> None:
        """Scan if anything needs it, count records, and settle the slots that can be settled."""
        applier = self._writer.applier
        scan = await self._scan() if applier.needs_scan() or await self._drains.needs_scan() else None
        if scan is None:
            await self._count_at_times()
        else:
            await self._tell_loads(scan)
        if scan is not None and self.counts is not None:
            await self._drains.cut_overdue(self.counts.at)
        for part in batches(sorted(applier.unsettled)):  # between two parts, a flip may have its turn
            await self._writer.with_maps(partial(applier.settle, scan, part))
        await self._drains.conclude(self.counts)
        await self._drains.clear(lambda: self._timed(self._plane.scan_flows))

    async def stop(self) -> None:
        """Return when no scan is running any more."""
        await self._drains.stop()
        await self._thread.stop()

    def drain(self, backend: BoundBackend) -> DrainView | None:
        """Return the progress of a backend's drain, None if it is not draining."""
        if backend.drain is None:
            return None
        cut_at = self._writer.cuts.get(backend.id)
        shown = drain_view(backend, backend.drain, self.counts, self._now(), cut_at)
        if not shown.state.is_over and self._drains.has_drained(backend):
            return replace(shown, state=DrainState.DRAINED)
        return shown

    def certificate(self, backend: BoundBackend) -> Certificate | None:
        """Return what came of a backend's drain, or of its last one; None if it has had none."""
        return self._drains.certificate(backend)

    def of(self, backend: BoundBackend) -> int | None:
        """Return how many open connections of a backend the last scan saw, None without a recent scan."""
        counts = self.counts
        return None if counts is None or not counts.is_recent(self._now()) else counts.of(backend)

    def recorded(self) -> FlowCounts | None:
        """Return the latest scan if it is recent."""
        counts = self.counts
        return counts if counts is not None and counts.is_recent(self._now()) else None

    async def _scan(self) -> Scan:
        # These are read before the scan: a change during it must not make its result look newer than it is.
        snapshot, tables, at = self._writer.snapshot, self._writer.applier.tables, self._now()
        told = self._writer.applier.times_told
        counters = await self._note_made()
        last_packets = self._silence.note(snapshot, counters.backends, at)
        looks = self._drains.looks(counters.backends)

        def work() -> tuple[Scan, FlowCounts]:
            flows = self._plane.scan_flows()
            live = open_flows(flows, snapshot, has_peers=self._writer.applier.peers_late_seconds > 0)
            counts = count_flows(flows, live, snapshot, at, last_packets, counters=counters.backends)
            self._drains.note(flows, looks, at)
            return Scan(tables, flows, live, told), counts

        scan, self.counts = await self._timed(work)
        await self._note_present(int(np.count_nonzero(~scan.flows.probation)), at)
        return scan

    async def _count_at_times(self) -> None:
        now = self._now()
        if self._counted_at is None or (now - self._counted_at).total_seconds() >= _COUNT_SECONDS:
            await self._note_made()
            await self._note_present(await self._timed(self._plane.flow_count), now)

    async def _note_made(self) -> Counters:
        def work() -> Counters:
            counters = self._plane.counters()
            self._writer.applier.evictions.made(counters.vips)
            self._writer.traffic.note(counters.backends, self._now())
            self._writer.traffic.note_vips(counters.vips, self._now())
            return counters

        return await self._writer.read_maps(work)

    async def _note_present(self, records: int, at: datetime) -> None:
        self.records, self._counted_at = records, at
        evictions = self._writer.applier.evictions
        if evictions.has_begun:
            evictions.present(records)
        else:
            await self._writer.read_maps(lambda: evictions.begin(records, self._plane.counters().vips))

    async def _tell_loads(self, scan: Scan) -> None:
        """Correct the program's load counters of VIPs that choose by load: they drift when records vanish."""
        if vips := self._writer.applier.choosing_by_load():
            loads = load_of(scan.flows, scan.live, self._writer.snapshot, vips)
            await self._writer.with_maps(lambda: self._plane.write_loads(loads))

    async def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return await self._thread(work)
        finally:
            self._took = time.monotonic() - began
