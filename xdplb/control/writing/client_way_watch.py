# SPDX-License-Identifier: Apache-2.0
"""The ways to nearly all clients, for replies of NAT backends: the data plane is told when the host's routes change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from xdplb.control.writing.writer import Writer
from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import DataPlane
from xdplb.model.errors import XdplbError
from xdplb.model.next_hop import ClientWay
from xdplb.net.next_hops import NextHopSource

__all__ = ["ClientWayWatch"]

_AGAIN_SECONDS = 1.0


class ClientWayWatch:
    """Tells the data plane of the ways, as long as there is NAT. To be used in the event loop."""

    def __init__(self, plane: DataPlane, writer: Writer, next_hops: NextHopSource) -> None:
        self._plane, self._writer, self._next_hops = plane, writer, next_hops
        self._is_wanted = False
        self._written: Mapping[int, ClientWay] | None = None
        """What the data plane was told, None while that is not known."""
        self._disturbed = asyncio.Event()

    def disturb(self) -> None:
        """Look soon: routes, next hops, NICs or VIPs have changed."""
        self._disturbed.set()

    async def run(self) -> None:
        """Forever: tell the data plane soon when something has changed."""
        while True:
            self._disturbed.clear()
            try:
                await self._tell()
            except XdplbError:  # whoever cannot write one map can write none, and says so
                self._written = None
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            await self._disturbed.wait()

    async def _tell(self) -> None:
        is_wanted = Feature.NAT in self._plane.features
        if is_wanted is not self._is_wanted:
            self._is_wanted, self._written = is_wanted, None
            self._next_hops.watch_clients(wanted=is_wanted)
        ways = self._ways()
        if is_wanted and ways is not None and ways != self._written:
            await self._writer.with_maps(lambda: self._plane.write_client_ways(ways))
            self._written = ways

    def _ways(self) -> Mapping[int, ClientWay] | None:
        """Return those by NICs that the program is on, None if they are not known yet."""
        ways = self._next_hops.client_ways()
        attached = {attachment.ifindex for attachment in self._writer.applier.attachments}
        return None if ways is None else {key: way for key, way in ways.items() if way.next_hop.ifindex in attached}
