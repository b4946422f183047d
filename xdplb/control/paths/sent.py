# SPDX-License-Identifier: Apache-2.0
"""Whether an ICMP error is about a packet that xdplb may have sent. Pure.

Anyone can forge an error (RFC 5927), so what it quotes is compared: both addresses, the protocol, the ports, and, if
that much is quoted, the VIP of the packet inside.

The id, DF and TTL are not: they are the same in all our packets, so that whoever forges the rest knows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from xdplb.control.paths.tunnel import Tunnel, tunnel_of
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.vip import Forward
from xdplb.net.icmp_message import Quote
from xdplb.net.tunnel_settings import GUE_PORT

__all__ = ["SentPackets"]

_FIRST_SOURCE_PORT = 0xC000  # of GUE: forward_gue.h


class SentPackets:
    """Knows the outer headers that are written with what the maps hold."""

    def __init__(self, backends: Mapping[int, BackendEntry], vips: Mapping[int, VipEntry]) -> None:
        self._vips = vips
        self._entries: dict[Tunnel, list[BackendEntry]] = defaultdict(list)
        for entry in backends.values():
            tunnel = tunnel_of(entry.address, entry.forward, entry.inner_version)
            if tunnel is not None and entry.next_hop is not None:
                self._entries[tunnel].append(entry)

    def find(self, quote: Quote) -> Tunnel | None:
        """Return the tunnel that this packet was sent through, None if it was not sent by this balancer."""
        tunnel = Tunnel(quote.destination, quote.protocol)
        if tunnel.forward is Forward.GUE and not _is_gue(quote):
            return None
        may_have = any(self._may_have_sent(entry, quote) for entry in self._entries.get(tunnel, ()))
        return tunnel if may_have else None

    def _may_have_sent(self, entry: BackendEntry, quote: Quote) -> bool:
        assert entry.next_hop is not None
        source = entry.source or entry.next_hop.source
        if source.version != quote.source.version or (int(source) ^ int(quote.source)) & ~entry.source_mask:
            return False
        vip = self._vips.get(entry.vip_id)
        return quote.inner is None or (vip is not None and quote.inner in vip.key.network)


def _is_gue(quote: Quote) -> bool:
    return quote.ports is not None and quote.ports[0] >= _FIRST_SOURCE_PORT and quote.ports[1] == GUE_PORT
