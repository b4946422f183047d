"""VIPs that are in the way of what this host sends itself, as warnings. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from xdplb.control.edits.own_ports import own_ports
from xdplb.control.plan.impact import Concern, Warned
from xdplb.control.plan.sources import Sources
from xdplb.model.address import IPNetwork
from xdplb.model.vip import VipKey

__all__ = ["host_concerns"]


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
