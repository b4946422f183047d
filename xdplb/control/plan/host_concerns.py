# SPDX-License-Identifier: Apache-2.0
"""VIPs that are in the way of what this host sends itself, as warnings. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from xdplb.control.edits.own_ports import own_ports
from xdplb.control.plan.impact import Concern, Warned
from xdplb.control.plan.sources import Sources
from xdplb.model.address import IPNetwork, address_order
from xdplb.model.host import Host, OwnSocket
from xdplb.model.vip import VipKey

__all__ = ["host_concerns", "over_own_addresses", "socket_concerns"]


def host_concerns(vips: Collection[VipKey], sources: Sources, tunnel_sources: Sequence[IPNetwork]) -> Iterator[Warned]:
    """Yield a warning for each of these VIPs that takes answers to this host, or an address that it must send from."""
    for found in own_ports(vips, sources.host):
        yield Warned(Concern.HOST_PORTS, found.vip, detail=f"{found}; {found.remedy}")
    over = {key for keys in sources.over.values() for key in keys}
    for key in vips:
        if key in over and (lone := sources.lone(key)) is not None:
            yield Warned(Concern.HOST_SOURCE, key, detail=str(lone))
    for network in tunnel_sources:
        for key in vips:
            if key.address.version == network.version and key.network.overlaps(network):
                yield Warned(Concern.TUNNEL_SOURCE, key, detail=str(network))


def over_own_addresses(vips: Collection[VipKey], host: Host) -> list[VipKey]:
    """Return those of these VIPs that have an address of the host."""
    return [key for key in vips if any(key.has(own.address) for own in host.addresses)]


def socket_concerns(vips: Collection[VipKey], host: Host, sockets: Sequence[OwnSocket]) -> Iterator[Warned]:
    """Yield a warning for each of these VIPs that takes the packets of the host's own services or their connections."""
    for key in vips:
        taken = [found for found in sockets if _is_taken(key, host, found)]
        if not taken:
            continue
        ports = sorted({found.port for found in taken})
        peers = sorted({found.peer for found in taken if found.peer is not None}, key=address_order)
        connected = sum(found.peer is not None for found in taken)
        detail = f"port {ports[0]}" if len(ports) == 1 else f"{len(ports)} ports, such as {ports[0]}"
        if connected:
            several = "an open connection" if connected == 1 else f"{connected} open connections"
            detail += f", with {several} from {peers[0]}" + (" and others" if len(peers) > 1 else "")
        yield Warned(Concern.OWN_SERVICE, key, detail=detail)


def _is_taken(key: VipKey, host: Host, found: OwnSocket) -> bool:
    """Return whether a VIP takes the packets of a socket. Answers to what the host itself opens are told elsewhere."""
    if found.port not in key.ports or not set(found.protocol.numbers) <= set(key.protocol.numbers):
        return False
    if any(found.port in ports for ports in host.ephemeral):
        return False
    if int(found.address) == 0:
        return found.address.version in {6, key.address.version}
    return key.has(found.address)
