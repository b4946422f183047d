# SPDX-License-Identifier: Apache-2.0
"""How many packets and new connections come in a second for all VIPs, for whoever compares balancers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from xdplb.control.writing.writer import Writer
from xdplb.model.errors import XdplbError

__all__ = ["RateWatch", "Rates"]

_PERIOD_SECONDS = 5.0
_WANTED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Rates:
    """In a second, of the last seconds."""

    packets: float = 0.0
    connections: float = 0.0


@dataclass(frozen=True, slots=True)
class _Reading:
    packets: int
    connections: int
    at: float


class RateWatch:
    """Reads the counters of all VIPs every few seconds, as long as somebody asks for the rates."""

    def __init__(self, writer: Writer, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer, self._clock = writer, clock
        self._rates, self._last = Rates(), _Reading(0, 0, clock())
        self._asked = float("-inf")

    def now(self) -> Rates:
        """Return the rates, in any thread; the first time, they are not known yet, and 0."""
        self._asked = self._clock()
        return self._rates

    async def run(self) -> None:
        """Forever: read them as long as somebody asks."""
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            if self._clock() - self._asked < _WANTED_SECONDS:
                await self.look()

    async def look(self) -> None:
        """Read the counters once."""
        applier, before = self._writer.applier, self._last
        try:
            counters = await self._writer.read_maps(lambda: applier.vip_packets(applier.known.vips.keys()))
        except XdplbError:  # whoever writes the maps tells it
            return
        packets = sum(each.packets for each in counters.values())
        connections = sum(each.new_flows for each in counters.values())
        self._last = _Reading(packets, connections, self._clock())
        seconds = self._last.at - before.at
        if seconds > 0 and packets >= before.packets:  # a VIP that is removed takes its counts with it
            self._rates = Rates(
                (packets - before.packets) / seconds, max(0, connections - before.connections) / seconds
            )
