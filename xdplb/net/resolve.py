"""From what the kernel knows to a next hop, or to the sentence that says why there is none. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from ipaddress import IPv4Address

from xdplb.model.next_hop import NextHop, Resolution

from .rtmessages import LinkInfo, Neighbour, NeighbourState, Route, RouteKind, Unreachable

__all__ = ["NeighbourKey", "neighbour_key", "resolve", "why_unreachable"]

NeighbourKey = tuple[int, IPv4Address]
"""The interface's index and the address asked for on it."""

_NO_ROUTE = {
    errno.ENETUNREACH: "there is no route to {0}",
    errno.EHOSTUNREACH: "the route to {0} is of type unreachable",
    errno.EINVAL: "the route to {0} is of type blackhole",
    errno.EACCES: "the route to {0} is of type prohibit",
}


def neighbour_key(address: IPv4Address, route: Route | Unreachable | None) -> NeighbourKey | None:
    """Return the neighbour whose MAC frames to `address` need, None where no neighbour is involved."""
    if not isinstance(route, Route) or route.kind != RouteKind.UNICAST or route.foreign_gateway:
        return None
    return route.ifindex, route.gateway or address


def resolve(
    address: IPv4Address,
    route: Route | None,
    links: Mapping[int, LinkInfo],
    neighbours: Mapping[NeighbourKey, Neighbour],
    refused: Mapping[NeighbourKey, int],
) -> Resolution:
    """Return the next hop for `address`, or the reason as a sentence for a backend's status.

    `refused` has the errno of neighbours that the kernel would not ask for.
    """
    key = neighbour_key(address, route)
    if key is None or route is None:
        return Resolution(None, _why_no_neighbour(address, route))
    link = links.get(route.ifindex)
    if link is None or not (link.up and link.carrier and link.ethernet):
        return Resolution(None, _why_not_link(address, link, route.ifindex))
    if route.source is None:
        return Resolution(None, f"{link.name} has no IPv4 address to reach {address} from")
    neighbour = neighbours.get(key)
    if neighbour is None or neighbour.mac is None or len(neighbour.mac) != 6:
        return Resolution(None, _why_not_neighbour(address, route, link, neighbour, refused.get(key, 0)))
    return Resolution(
        NextHop(
            destination_mac=neighbour.mac,
            source_mac=link.mac,
            interface=link.name,
            ifindex=link.ifindex,
            mtu=min(link.mtu, route.mtu or link.mtu),
            source=route.source,
            gateway=route.gateway,
        )
    )


def why_unreachable(address: IPv4Address, route: Unreachable, last_link: LinkInfo | None) -> str:
    """Return the sentence for an address without a route; `last_link` is the interface its last route had."""
    reason = _NO_ROUTE.get(route.error, "the kernel has no route to {0}").format(address)
    if last_link is not None and not (last_link.up and last_link.carrier):
        reason += f", since {last_link.name} {_state(last_link)}"
    return reason


def _state(link: LinkInfo) -> str:
    return "has no carrier" if link.up else "is down"


def _why_no_neighbour(address: IPv4Address, route: Route | None) -> str:
    if route is None:
        return f"the route to {address} has not been looked up yet"
    if route.kind == RouteKind.LOCAL:
        return f"{address} is an address of this host itself"
    if route.foreign_gateway:
        return f"the route to {address} has an IPv6 gateway, which this version does not support"
    return f"{address} is a broadcast or multicast address here"


def _why_not_link(address: IPv4Address, link: LinkInfo | None, ifindex: int) -> str:
    if link is None:
        return f"the interface to {address} (index {ifindex}) is gone"
    if not link.ethernet:
        return f"{address} is reached by {link.name}, which is not an Ethernet interface"
    return f"{link.name}, which leads to {address}, {_state(link)}"


def _why_not_neighbour(
    address: IPv4Address, route: Route, link: LinkInfo, neighbour: Neighbour | None, refused: int
) -> str:
    who = f"{address}" if route.gateway is None else f"the gateway {route.gateway} to {address}"
    if refused == errno.ENOBUFS:
        return f"the kernel's neighbour table has no room for {who}: raise net.ipv4.neigh.default.gc_thresh3"
    if refused:
        return f"the kernel refuses to send ARP to {who} on {link.name}: {os.strerror(refused)}"
    if neighbour is not None and neighbour.state & NeighbourState.FAILED:
        return f"{who} does not answer ARP on {link.name}"
    return f"waiting for an ARP answer from {who} on {link.name}"
