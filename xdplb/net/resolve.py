# SPDX-License-Identifier: Apache-2.0
"""From the kernel's tables to a next hop, or to the sentence that says why there is none. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xdplb.model.address import IPAddress
from xdplb.model.next_hop import MAX_TAGS, Lack, NextHop, Resolution, VlanTag

from .rtmessages import AddressInfo, LinkInfo, Neighbour, NeighbourState, Route, RouteKind, Unreachable

__all__ = ["NeighbourKey", "Tables", "neighbour_key", "resolve", "why_unreachable"]

NeighbourKey = tuple[int, IPAddress]
"""The index of the interface, and the address that is asked for there."""

_NO_ROUTE = {
    errno.ENETUNREACH: "there is no route to {0}",
    errno.EHOSTUNREACH: "the route to {0} is of type unreachable",
    errno.EINVAL: "the route to {0} is of type blackhole",
    errno.EACCES: "the route to {0} is of type prohibit",
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The kernel's tables: links by index, neighbours, and the addresses that are tentative or duplicates (`unready`).

    `refused` has the errno for each neighbour that the kernel would not solicit.
    """

    links: Mapping[int, LinkInfo]
    neighbours: Mapping[NeighbourKey, Neighbour]
    refused: Mapping[NeighbourKey, int]
    unready: Collection[AddressInfo] = ()


def neighbour_key(address: IPAddress, route: Route | Unreachable | None) -> NeighbourKey | None:
    """Return the neighbour whose MAC frames to `address` need, None if they need none."""
    if not isinstance(route, Route) or route.kind != RouteKind.UNICAST:
        return None
    return route.ifindex, route.gateway or address


def resolve(address: IPAddress, route: Route | None, tables: Tables) -> Resolution:
    """Return the next hop for `address`, or the reason as a sentence for a backend's status."""
    key = neighbour_key(address, route)
    if key is None or route is None:
        return Resolution(None, _why_no_neighbour(address, route), pending=route is None)
    stack = _stack(tables.links, route.ifindex)
    reason = _why_not_stack(address, stack, route.ifindex)
    if reason:
        return Resolution(None, reason)
    link, nic = stack[0], stack[-1]
    if route.source is None or (route.source.version == 6 and route.source.is_link_local):
        return Resolution(None, _why_no_source(address, link, tables.unready), lacks=Lack.ADDRESS)
    neighbour = tables.neighbours.get(key)
    if neighbour is None or neighbour.mac is None or len(neighbour.mac) != 6:
        refused = tables.refused.get(key, 0)
        has_failed = neighbour is not None and bool(neighbour.state & NeighbourState.FAILED)
        reason = _why_not_neighbour(address, key, link, neighbour, refused)
        return Resolution(None, reason, route.source, pending=not refused and not has_failed)
    mtu = min(entry.mtu for entry in stack)
    return Resolution(
        NextHop(
            destination_mac=neighbour.mac,
            source_mac=link.mac,
            interface=nic.name,
            ifindex=nic.ifindex,
            mtu=min(mtu, route.mtu or mtu),
            source=route.source,
            gateway=route.gateway,
            tags=_tags(stack),
        )
    )


def why_unreachable(address: IPAddress, route: Unreachable, last_link: LinkInfo | None) -> str:
    """Return the reason for an address without a route; `last_link` is the interface of its last route."""
    reason = _NO_ROUTE.get(route.error, "the kernel has no route to {0}").format(address)
    if last_link is not None and not (last_link.up and last_link.carrier):
        reason += f", since {last_link.name} {_trouble(last_link)}"
    return reason


def _stack(links: Mapping[int, LinkInfo], ifindex: int) -> list[LinkInfo]:
    """Return the interface and, for a VLAN device, those below it down to the NIC, which may be missing."""
    stack: list[LinkInfo] = []
    while (link := links.get(ifindex)) is not None and len(stack) <= MAX_TAGS + 1:
        stack.append(link)
        if link.vlan is None:
            break
        ifindex = link.lower
    return stack


def _tags(stack: list[LinkInfo]) -> tuple[VlanTag, ...]:
    """Return the tags, the outer one first, which is that of the VLAN device next to the NIC."""
    return tuple(link.vlan for link in reversed(stack) if link.vlan is not None)


def _trouble(link: LinkInfo) -> str:
    return "has no carrier" if link.up else "is down"


def _why_no_neighbour(address: IPAddress, route: Route | None) -> str:
    if route is None:
        return f"the route to {address} has not been looked up yet"
    if route.kind == RouteKind.LOCAL:
        return f"{address} is an address of this host itself"
    if route.kind == RouteKind.ANYCAST:
        return f"{address} is the anycast address of the routers in this host's network"
    return f"{address} is a broadcast or multicast address here"


def _why_not_stack(address: IPAddress, stack: list[LinkInfo], ifindex: int) -> str:
    """Return what is wrong with the interface or those below it; empty if nothing is."""
    if not stack:
        return f"the interface to {address} (index {ifindex}) is gone"
    for link in stack:
        if not link.ethernet:
            return f"{address} is reached through {link.name}, which is not an Ethernet interface"
        if not (link.up and link.carrier):
            return f"{link.name}, which leads to {address}, {_trouble(link)}"
    if len(_tags(stack)) > MAX_TAGS:
        return f"{stack[0].name}, which leads to {address}, is a VLAN in more than one other VLAN"
    if stack[-1].vlan is not None:
        return f"{stack[-1].name}, which leads to {address}, is a VLAN on a NIC of another network namespace"
    return ""


def _why_no_source(address: IPAddress, link: LinkInfo, unready: Collection[AddressInfo]) -> str:
    family = f"IPv{address.version}"
    for found in unready:
        if found.ifindex == link.ifindex and found.address.version == address.version:
            if found.duplicate:
                return f"another host also has {found.address.ip} of {link.name}: it cannot be used to reach {address}"
            if not found.address.is_link_local:
                return f"{link.name} is still checking whether another host has its address {found.address.ip}"
    other = " other than link-local" if address.version == 6 else ""
    return f"{link.name} has no {family} address{other} to send to {address} from"


def _why_not_neighbour(
    address: IPAddress, key: NeighbourKey, link: LinkInfo, neighbour: Neighbour | None, refused: int
) -> str:
    asked = key[1]
    who = f"{address}" if asked == address else f"the gateway {asked} to {address}"
    table, protocol = ("ipv4", "ARP") if asked.version == 4 else ("ipv6", "neighbour discovery")
    if refused == errno.ENOBUFS:
        return f"the kernel's neighbour table is full, no room for {who}: raise net.{table}.neigh.default.gc_thresh3"
    if refused == errno.EINVAL and asked.version == 6:
        return f"{who} needs IPv6, which is disabled on {link.name} (net.ipv6.conf.{link.name}.disable_ipv6)"
    if refused:
        return f"the kernel refuses to ask for {who} by {protocol} on {link.name}: {os.strerror(refused)}"
    if neighbour is not None and neighbour.state & NeighbourState.FAILED:
        return f"{who} does not answer {protocol} on {link.name}"
    article = "an ARP answer" if asked.version == 4 else "an answer to neighbour discovery"
    return f"waiting for {article} from {who} on {link.name}"
