# SPDX-License-Identifier: Apache-2.0
"""The drain of this node: keeps it across restarts, and ends it when packets for the VIPs no longer come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from xdplb.control.events import Actor, Events, NodeDrainBegan, NodeDrained, NodeServes
from xdplb.control.state.node_drain import NodeDrain, state_of
from xdplb.control.writing.threads import Unbroken
from xdplb.control.writing.writer import Writer
from xdplb.model.errors import XdplbError
from xdplb.model.node import NodeState

__all__ = ["NodeWatch"]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How many packets the VIPs had got at a moment, and since when it was that many."""

    packets: int
    at: datetime
    still_since: datetime


class NodeWatch:
    """Says whether this node takes traffic. Used in the event loop; other threads may read its attributes.

    `on_change` is called, in the event loop, when its state has changed.
    """

    def __init__(
        self, name: str, writer: Writer, events: Events, *, now: Callable[[], datetime], period_seconds: float
    ) -> None:
        self.name = name
        self.drain: NodeDrain | None = None
        """Its drain, None if it serves. Replaced as a whole."""
        self.packets_per_second: float | None = None
        """How many packets for its VIPs come while it drains, None as long as that is not known."""
        self.on_change: Callable[[], None] = lambda: None
        self._writer, self._events, self._now, self._period_seconds = writer, events, now, period_seconds
        self._came = asyncio.Event()
        self._lock = asyncio.Lock()
        self._to_the_end = Unbroken()
        self._reading: _Reading | None = None

    @property
    def state(self) -> NodeState:
        """What it does with traffic."""
        return state_of(self.drain)

    async def open(self) -> None:
        """Go on as the last daemon stood."""
        self._become(await self._writer.saver.node_drain())

    async def begin(self, timeout_seconds: float, quiet_seconds: float, actor: Actor) -> None:
        """Drain this node. If it drains already, only the times change; if it has drained, nothing does.

        Raises StateError if that cannot be saved: nothing is changed then.
        """
        await self._to_the_end(self._begin(timeout_seconds, quiet_seconds, actor))

    async def _begin(self, timeout_seconds: float, quiet_seconds: float, actor: Actor) -> None:
        async with self._lock:
            before = self.drain
            if before is not None and before.ended is not None:
                return
            started = self._now() if before is None else before.started
            drain = NodeDrain(started, timeout_seconds, quiet_seconds)
            if drain == before:
                return
            await self._writer.saver.save_node_drain(drain)
            self._become(drain)
        if before is None:
            self._events.say(NodeDrainBegan(actor, self.name, timeout_seconds, quiet_seconds))

    async def end(self, actor: Actor) -> None:
        """Let this node serve again. Raises StateError if that cannot be saved: nothing is changed then."""
        await self._to_the_end(self._end(actor))

    async def _end(self, actor: Actor) -> None:
        async with self._lock:
            if self.drain is None:
                return
            await self._writer.saver.save_node_drain(None)
            self._become(None)
        self._events.say(NodeServes(actor, self.name))

    async def run(self) -> None:
        """Forever: follow a drain until no packets come any more, or until it times out."""
        while True:
            await self._came.wait()
            while self.state is NodeState.DRAINING:
                await self._look()
                await asyncio.sleep(self._period_seconds)
            self._came.clear()

    async def stop(self) -> None:
        """Return when nothing is being saved any more."""
        await self._to_the_end.all_done()

    def _become(self, drain: NodeDrain | None) -> None:
        self.drain = drain
        if drain is None or drain.ended is None:
            self._reading, self.packets_per_second = None, None
        self._came.set()
        self.on_change()

    async def _look(self) -> None:
        """Read the counters of the VIPs; end the drain if they stand still for long enough, or if it times out."""
        drain, now = self.drain, self._now()
        if drain is None or drain.ended is not None:
            return
        try:
            reading = await self._read(now)
        except XdplbError:  # then it times out
            reading = None
        is_quiet = reading is not None and (now - reading.still_since).total_seconds() >= drain.quiet_seconds
        if is_quiet or now >= drain.deadline:
            await self._to_the_end(self._conclude(drain, replace(drain, ended=now, timed_out=not is_quiet)))

    async def _read(self, now: datetime) -> _Reading:
        applier = self._writer.applier
        counters = await self._writer.read_maps(lambda: applier.vip_packets(applier.known.vips.keys()))
        packets, before = sum(each.packets for each in counters.values()), self._reading
        if before is None:
            reading = _Reading(packets, now, now)
        else:
            reading = _Reading(packets, now, before.still_since if packets == before.packets else now)
            seconds = (now - before.at).total_seconds()
            if seconds > 0:
                self.packets_per_second = max(0, packets - before.packets) / seconds
        self._reading = reading
        return reading

    async def _conclude(self, drain: NodeDrain, ended: NodeDrain) -> None:
        """End the drain, unless it is another one by now. It is tried again if that cannot be saved."""
        async with self._lock:
            if self.drain != drain:
                return
            try:
                await self._writer.saver.save_node_drain(ended)
            except XdplbError:  # the saver has told it
                return
            self._become(ended)
        assert ended.ended is not None
        seconds = round((ended.ended - ended.started).total_seconds(), 1)
        rate = round(self.packets_per_second or 0.0, 1)
        self._events.say(NodeDrained(self.name, seconds, ended.timed_out, rate))
