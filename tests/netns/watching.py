# SPDX-License-Identifier: Apache-2.0
"""Next hops watched from the balancer of a lab."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from xdplb.model.address import IPAddress
from xdplb.model.next_hop import NextHop, Resolution
from xdplb.net import links
from xdplb.net.lab import Lab
from xdplb.net.next_hops import NextHops

__all__ = ["Watch", "mac_of", "watching"]


class Watch:
    """NextHops running on the balancer, and what its callback reported."""

    def __init__(self, source: NextHops) -> None:
        self.source = source
        self.told: set[IPAddress] = set()
        self._news = asyncio.Event()

    def on_change(self, changed: frozenset[IPAddress]) -> None:
        self.told |= changed
        self._news.set()

    def __getitem__(self, address: str) -> Resolution:
        return self.source.lookup(ip_address(address))

    def hop(self, address: str) -> NextHop:
        """Return the next hop; the test fails if there is none."""
        found = self[address].next_hop
        assert found is not None
        return found

    async def until(self, true: Callable[[], bool], seconds: float = 5) -> float:
        """Wait for callbacks until it is true; return the seconds that took."""
        start = time.monotonic()
        async with asyncio.timeout(seconds):
            while not true():
                self._news.clear()
                await self._news.wait()
        return time.monotonic() - start

    async def resolved(self, address: str, seconds: float = 5) -> float:
        return await self.until(lambda: self[address].next_hop is not None, seconds)

    async def unresolved(self, address: str, seconds: float = 5) -> float:
        return await self.until(lambda: self[address].next_hop is None, seconds)


def watching(lab: Lab, addresses: list[str], scenario: Callable[[Watch], Awaitable[None]]) -> None:
    """Run the scenario in the balancer's namespace while NextHops watches these addresses."""

    async def run() -> None:
        source = NextHops()
        watch = Watch(source)
        await source.start(watch.on_change)
        try:
            source.watch(frozenset(map(ip_address, addresses)))
            await scenario(watch)
        finally:
            await source.stop()

    lab.inside("balancer", lambda: asyncio.run(run()))


def mac_of(lab: Lab, host: str, name: str = "eth0") -> bytes:
    return lab.inside(host, lambda: links.link(name).mac)
