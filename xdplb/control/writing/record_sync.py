# SPDX-License-Identifier: Apache-2.0
"""The records of connections that go to the other balancers of a cluster, and those that come from them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from xdplb.control.events import DriftKind
from xdplb.control.flows.drain import REFRESHED_WITHIN, TOUCH_SECONDS, open_flows
from xdplb.control.flows.telling import of_shared, records_to_tell
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.threads import Worker
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import FLOW_FROM_PEER
from xdplb.dataplane.plane import DataPlane, SharedFlows
from xdplb.model.errors import XdplbError
from xdplb.model.shared_record import NO_RECORDS, SharedRecords, SharedState
from xdplb.peers.budget import Budget

__all__ = ["RecordSync", "SyncCounts"]

_GATHER_SECONDS = 0.003
"""Records that come about within this time go out together."""
_WAIT_SECONDS = 60.0
_MOST_AT_ONCE = 500
"""Records that are written before a flip may have its turn: about 2 ms."""
_MOST_WAITING = 100_000
_MOST_A_SECOND = 50_000
"""Records that peers may send. More are refused: to write them would take most of a core."""
_MOST_MADE_A_SECOND = 50_000
"""Records that peers are sent: as many as one takes. Whoever forges connections must not keep this process busy."""
_KEPT_SECONDS = 10.0
"""How long a record waits for its VIP and its backend: for a balancer that takes a change later."""
_RETRY_SECONDS = 0.5
_RECOUNT_SECONDS = 60.0
_ROOM = 0.5
"""Of the table of open flows, what the records of peers may take: then they evict none that are in use here."""
_SHORTEST_REFRESH_SECONDS = 1.0
_MOST_TOLD_A_SECOND = 20_000
"""Of connections that peers are told again of, which is not urgent."""
_TOLD = "connections that peers must know"
_WRITTEN = "records of peers"


@dataclass(slots=True)
class SyncCounts:
    """What has become of records since the start; read in any thread."""

    made: int = 0
    """Handed to `on_new`."""
    lost: int = 0
    """Not handed to `on_new`, since there were too many at once, or in a second: each time, `on_gap` is called."""
    inserted: int = 0
    """From peers, and written here."""
    known: int = 0
    """From peers, and nothing to do: the slot tells the same, or there is such a record."""
    refused: int = 0
    """From peers, and too many: more than may come in a second, or than there is room for."""
    unplaced: int = 0
    """From peers, and given up: no such VIP or backend here, and none has come within some seconds."""


class RecordSync:
    """Hands out the records that peers must have, and takes theirs.

    `on_new` gets the records of each few milliseconds, in a thread of its own and not in the control loop. `on_gap` is
    called in that thread too: records were lost, so that the peers must pull `unsettled`.
    """

    def __init__(self, plane: DataPlane, writer: Writer, drifts: Drifts, *, clock: Callable[[], float]) -> None:
        self.on_new: Callable[[SharedRecords], None] = lambda _: None
        self.on_gap: Callable[[], None] = lambda: None
        self.counts = SyncCounts()
        self._plane, self._writer, self._drifts, self._clock = plane, writer, drifts, clock
        self._scanner = Worker("xdplb-peer-scan")
        self._reader: SharedFlows | None = None
        self._thread: threading.Thread | None = None
        self._is_stopping = threading.Event()
        self._taken: deque[SharedRecords] = deque()
        self._waiting = 0
        self._came = asyncio.Event()
        self._unplaced: deque[tuple[float, SharedRecords]] = deque()
        self._tried_at = clock()
        self._tried_on: tuple[object, object] | None = None
        """The VIPs and backends when those without a place were tried last: with the same, there is still none."""
        self._allowance = Budget(_MOST_A_SECOND)
        self._held = 0
        """Records of peers that no packet has used here, at most: as counted, and those written since."""
        self._refreshed_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Have the program hand out records, and call `on_new` with them from now on."""
        await self._writer.compile(lambda: self._writer.applier.require(frozenset({Feature.SYNC})))
        self._reader = self._plane.open_shared()
        self._thread = threading.Thread(target=self._hand_out, args=(self._reader,), name="xdplb-records", daemon=True)
        self._thread.start()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._refresh())]

    async def stop(self) -> None:
        """Call `on_new` no more."""
        self._is_stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reader is not None:
            self._reader.wake()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._reader is not None:
            self._reader.close()
        await self._scanner.stop()

    def take(self, records: SharedRecords) -> None:
        """Take records of a peer, in the control loop: they are written soon, and this does not wait for it."""
        allowed = self._allow(len(records))
        self.counts.refused += len(records) - allowed
        if allowed:
            self._taken.append(records[:allowed])
            self._waiting += allowed
            self._came.set()

    async def unsettled(self) -> SharedState:
        """Return what a peer that starts must know, in the control loop."""
        slots = await self._writer.read_maps(self._writer.applier.moving)
        return SharedState(slots, await self._scanner(lambda: self._present(None)))

    async def take_over(self, state: SharedState) -> None:
        """Take a peer's slots and records over, in the control loop; return once packets go by them.

        To be called before this balancer serves, and after a gap.
        """
        for slots in state.slots:  # one VIP at a time: a flip has its turn between two of them
            await self._writer.with_maps(partial(self._writer.applier.take_over, slots))
        records = state.records[: self._room()]
        self.counts.refused += len(state.records) - len(records)
        for part in _parts(records):
            await self._write_some(part)

    # --- what peers are told

    def _hand_out(self, reader: SharedFlows) -> None:
        """Hand out what the program does, until told to stop; in a thread of its own."""
        lost = 0
        budget = Budget(_MOST_MADE_A_SECOND)
        while not self._is_stopping.is_set():
            too_many = 0
            if reader.wait(_WAIT_SECONDS):
                time.sleep(_GATHER_SECONDS)
                flows = reader.read()
                allowed = budget.take(len(flows), self._clock())
                too_many = len(flows) - allowed
                self._tell(of_shared(flows[:allowed], self._writer.applier.known.backends))
            now_lost = reader.lost()  # the ring was full, so that there was something to wake up for
            if too_many or now_lost != lost:
                self.counts.lost += too_many + now_lost - lost
                lost = now_lost
                self.on_gap()

    def _tell(self, records: SharedRecords) -> None:
        if len(records):
            self.counts.made += len(records)
            self.on_new(records)

    async def _refresh(self) -> None:
        """Tell peers again of what lives, forever: their slots must not settle while it is open here."""
        while True:
            await asyncio.sleep(_SHORTEST_REFRESH_SECONDS)
            period = self._refresh_period()
            now = self._clock()
            if period is None or (self._refreshed_at is not None and now - self._refreshed_at < period):
                continue
            since = None if self._refreshed_at is None else now - self._refreshed_at
            self._refreshed_at = now
            try:
                await self._scanner(partial(self._tell_again, since))
            except XdplbError as error:
                self._drifts.stands(DriftKind.MAP, _TOLD, f"{error}; it is tried again")
            else:
                self._drifts.well(DriftKind.MAP, _TOLD)

    def _tell_again(self, since: float | None) -> None:
        for part in _parts(self._present(since)):
            self._tell(part)
            if self._is_stopping.wait(_MOST_AT_ONCE / _MOST_TOLD_A_SECOND):
                return

    def _refresh_period(self) -> float | None:
        """Return how often peers are told again, in seconds; None if there is nothing to tell."""
        applier = self._writer.applier
        vips = applier.known.vips
        idle: list[float] = [vips[vip_id].idle_seconds for vip_id in applier.unsettled if vip_id in vips]
        idle += [vip.idle_seconds for vip in vips.values() if vip.shares_all]
        idle += [_RECOUNT_SECONDS / REFRESHED_WITHIN] if self._held else []
        return max(min(idle) * REFRESHED_WITHIN, _SHORTEST_REFRESH_SECONDS) if idle else None

    def _present(self, since: float | None) -> SharedRecords:
        """Return the records that peers must know, and are told of by nobody else; `since` seconds ago, None: all."""
        snapshot, known = self._writer.snapshot, self._writer.applier.known
        flows = self._plane.scan_flows()
        from_peers = flows.flags & FLOW_FROM_PEER != 0
        self._held = int(np.count_nonzero(from_peers))
        live = open_flows(flows, snapshot, has_peers=True)
        if since is not None:
            live &= ~from_peers & (flows.age <= since + TOUCH_SECONDS)
        vips = {
            vip_id: vip
            for vip_id, vip in known.vips.items()
            if vip.shares_all or vip.second_choice or not known.tables[vip_id].is_steady
        }
        return records_to_tell(flows, live, vips, known.tables, known.backends)

    # --- what peers tell

    async def _write(self) -> None:
        """Write what was taken, forever, some at a time; what has no place is tried again for a while."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self._unplaced else None):
                    await self._came.wait()
            self._came.clear()
            try:
                if self._unplaced and self._clock() >= self._tried_at + _RETRY_SECONDS:
                    await self._try_again()
                while self._taken:
                    await self._write_some(self._next())
            except XdplbError as error:
                self._drifts.stands(DriftKind.MAP, _WRITTEN, f"{error}; the next ones are tried")
            else:
                self._drifts.well(DriftKind.MAP, _WRITTEN)

    def _next(self) -> SharedRecords:
        """Return the next records to write: datagrams have few each, but many come at once."""
        parts, count = [NO_RECORDS], 0
        while self._taken and count < _MOST_AT_ONCE:
            records, room = self._taken.popleft(), _MOST_AT_ONCE - count
            if len(records) > room:
                self._taken.appendleft(records[room:])
            parts.append(records[:room])
            count += len(parts[-1])
        self._waiting -= count
        return np.concatenate(parts)

    async def _write_some(self, records: SharedRecords, kept_until: float | None = None) -> None:
        arrived = await self._writer.with_maps(lambda: self._writer.applier.take(records))
        self.counts.inserted += arrived.inserted
        self.counts.known += arrived.known + arrived.changed
        self._held += arrived.inserted
        if len(arrived.unplaced):
            self._keep(arrived.unplaced, kept_until or self._clock() + _KEPT_SECONDS)

    def _keep(self, records: SharedRecords, until: float) -> None:
        """Keep records that have no place yet."""
        waiting = sum(len(each) for _, each in self._unplaced)
        kept = records[: max(_MOST_WAITING - waiting, 0)]
        self.counts.unplaced += len(records) - len(kept)
        if len(kept):
            self._unplaced.append((until, kept))

    async def _try_again(self) -> None:
        """Give those a place that have waited, if there is one now; give up those that have waited for too long."""
        self._tried_at = now = self._clock()
        known = self._writer.applier.known
        before, self._tried_on = self._tried_on, (known.vips, known.backends)
        is_same = before is not None and before[0] is known.vips and before[1] is known.backends
        waiting, self._unplaced = self._unplaced, deque()
        for until, records in waiting:
            if now >= until:
                self.counts.unplaced += len(records)
                continue
            if is_same:
                self._unplaced.append((until, records))
                continue
            for part in _parts(records):
                await self._write_some(part, until)

    def _allow(self, count: int) -> int:
        """Return how many of so many records may be taken now."""
        wanted = max(min(count, self._room(), _MOST_WAITING - self._waiting), 0)
        return self._allowance.take(wanted, self._clock())

    def _room(self) -> int:
        """Return how many records of peers there is room for."""
        return max(int(self._plane.capacity.flows * _ROOM) - self._held - self._waiting, 0)


def _parts(records: SharedRecords) -> Iterator[SharedRecords]:
    """Yield the records, _MOST_AT_ONCE at a time."""
    for start in range(0, len(records), _MOST_AT_ONCE):
        yield records[start : start + _MOST_AT_ONCE]
