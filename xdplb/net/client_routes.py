# SPDX-License-Identifier: Apache-2.0
"""Which of the host's routes leads to nearly all clients, and which addresses are not on it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from itertools import pairwise

from xdplb.model.address import IPAddress, IPNetwork

from .rtmessages import MAIN_TABLES, HostRoute, Rule

__all__ = ["MOST_OTHERS", "CommonRoute", "common_route", "merged"]

MOST_OTHERS = 8
"""As many prefixes as packets are compared with: CLIENT_OTHERS of layout.h."""

_DEFAULT_TABLE = 253
_ALL = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_NO_HOSTS = {
    4: (ip_network("0.0.0.0/8"), ip_network("127.0.0.0/8"), ip_network("224.0.0.0/3")),
    6: (ip_network("::/64"), ip_network("ff00::/8")),
}
"""No client has one of these, and packets to them are told by themselves: check_is_martian of check.h."""

_RULES = {4: MAIN_TABLES, 6: frozenset(place for place in MAIN_TABLES if place[1] != _DEFAULT_TABLE)}
_LINK_LOCAL = ip_network("fe80::/10")
_PROBED = {
    4: ("1.1.1.1", "9.9.9.9", "198.18.0.1", "100.64.0.1", "172.31.255.1", "10.255.255.1"),
    6: ("2606:4700:4700::1111", "2001:4860:4860::8888", "2001:2::1", "fd00::1"),
}
"""Addresses that may be on the common route. They are looked up in the routing table and sent nothing."""


@dataclass(frozen=True, slots=True)
class CommonRoute:
    """A default route, the prefixes that other routes have, and an address that is on it."""

    route: HostRoute
    others: tuple[IPNetwork, ...]
    probe: IPAddress


def common_route(version: int, routes: Sequence[HostRoute], rules: Collection[Rule]) -> CommonRoute | None:
    """Return the route of this IP version that all addresses take but those in a few prefixes; None if none does.

    None also where what a packet comes from, or by, may decide about its route: with rules beside the kernel's own
    three, routes for some sources or types of service, or several next hops.
    """
    own = [rule for rule in rules if rule.version == version]
    if not all(rule.is_plain for rule in own) or {rule.place for rule in own} != _RULES[version]:
        return None
    mine = [route for route in routes if route.network.version == version]
    defaults = [route for route in mine if route.network == _ALL[version]]
    best = [route for route in defaults if route.metric == min(each.metric for each in defaults)]
    if len(best) != 1 or not best[0].is_simple or any(route.is_conditional for route in defaults):
        return None
    (common,) = best
    others = merged([route.network for route in mine if route not in defaults and not _agree(route, common)], version)
    free = (ip_address(text) for text in _PROBED[version])
    probe = next((address for address in free if not any(address in network for network in others)), None)
    return None if probe is None else CommonRoute(common, others, probe)


def _agree(route: HostRoute, common: HostRoute) -> bool:
    """Whether a route leads packets the way of the common one."""
    ways = ((one.kind, one.ifindex, one.gateway, one.mtu) for one in (route, common))
    return route.is_simple and not route.is_conditional and len(set(ways)) == 1


def merged(networks: Iterable[IPNetwork], version: int, most: int = MOST_OTHERS) -> tuple[IPNetwork, ...]:
    """Return at most so many prefixes that have all addresses of these: where there are more, shorter ones around some.

    Of IPv6, packets compare the first 64 bits. Addresses that no host has are left out, unless one is around them.
    """
    wide = [one.supernet(new_prefix=64) if version == 6 and one.prefixlen > 64 else one for one in networks]
    if version == 6:
        wide.append(_LINK_LOCAL)
    asked = [one for one in wide if not any(one.subnet_of(odd) for odd in _NO_HOSTS[version])]  # type: ignore[arg-type]
    left: list[IPNetwork] = sorted(collapse_addresses(asked))  # type: ignore[type-var]
    while len(left) > most:
        around = [_around(one, other) for one, other in pairwise(left)]
        longest = max(around, key=lambda network: network.prefixlen)
        left = sorted(collapse_addresses([*left, longest]))  # type: ignore[type-var]
    return tuple(left)


def _around(one: IPNetwork, other: IPNetwork) -> IPNetwork:
    """Return the longest prefix around both."""
    first, second = int(one.network_address), int(other.network_address)
    bits = one.max_prefixlen
    length = min(one.prefixlen, other.prefixlen, bits - (first ^ second).bit_length())
    start = first >> (bits - length) << (bits - length)
    return IPv4Network((start, length)) if one.version == 4 else IPv6Network((start, length))
