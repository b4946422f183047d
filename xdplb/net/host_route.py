# SPDX-License-Identifier: Apache-2.0
"""A route of this host, as a setting that is changed and put back; and the routes beside it. In iproute2's words."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from xdplb.model.address import IPAddress, IPNetwork

from .ip_command import ip, succeeds

__all__ = ["ForeignRoute", "HostRoute", "NextHops", "foreign_routes", "next_hops", "on_link"]

NextHops = tuple[tuple[IPAddress, str], ...]
"""Gateways, each with the NIC that it is reached by."""

_LEFT_OUT = {"dead", "linkdown"}
_VALUED_LEFT_OUT = {"expires", "nhid"}
_HOP = re.compile(r" nexthop via (\S+) dev (\S+)(?: weight \d+)?")
_ONE_HOP = re.compile(r" via (\S+) dev (\S+)")
_OF_DHCP_OR_RA = re.compile(r" proto (?:dhcp|ra)\b")
_IPV6_METRIC = 1024


@dataclass(frozen=True, slots=True)
class HostRoute:
    """The route to a network in the main table, of one metric. Its value is empty if there is none."""

    network: IPNetwork
    metric: int

    @classmethod
    def to_change(cls, network: IPNetwork) -> HostRoute:
        """Return the route to have lead elsewhere: the preferred one.

        One that DHCP or a router's announcement has set would be set again. So it stays, and the route is one of a
        lower metric beside it.
        """
        present = _preferred(network)
        if present is None:
            return cls(network, 0 if network.version == 4 else _IPV6_METRIC)
        metric = _metric(present)
        return cls(network, metric - 1 if metric > 1 and _OF_DHCP_OR_RA.search(present) else metric)

    @property
    def key(self) -> str:
        """Such as `route 0.0.0.0/0 100`."""
        return f"route {self.network} {self.metric}"

    def read(self) -> str:
        """Return it as iproute2 prints it."""
        return next((text for text in _routes(self.network) if _metric(text) == self.metric), "")

    def write(self, value: str) -> None:
        """Set it, or remove it if the value is empty."""
        if value:
            ip("route", "replace", *value.split(), version=self.network.version)
        else:
            metric = ["metric", str(self.metric)] if self.metric else []
            ip("route", "del", str(self.network), *metric, version=self.network.version)

    def sentence(self, value: str) -> str:
        """Quote it."""
        name = "default route" if not self.network.prefixlen else f"route to {self.network}"
        version = " of IPv6" if self.network.version == 6 and not self.network.prefixlen else ""
        return f"the {name}{version} is `{value}`" if value else f"there is no {name}{version}{self._of_metric}"

    @property
    def _of_metric(self) -> str:
        return f" of metric {self.metric}" if self.metric not in {0, _IPV6_METRIC} else ""

    def through(self, hops: NextHops) -> str:
        """Return the value that leads it through these gateways, and leaves all else of it as it is."""
        rest = _ONE_HOP.sub("", _HOP.sub("", self.read())).split()[1:]
        if "dev" in rest:  # without a gateway
            del rest[rest.index("dev") : rest.index("dev") + 2]
        if "scope" in rest:
            del rest[rest.index("scope") : rest.index("scope") + 2]
        if not rest:
            metric = ["metric", str(self.metric)] if self.metric else []
            rest = [*metric, *(["pref", "medium"] if self.network.version == 6 else [])]
        name = "default" if not self.network.prefixlen else _short(self.network)
        if len(hops) == 1:
            (gateway, nic) = hops[0]
            return " ".join([name, "via", str(gateway), "dev", nic, *rest])
        several = [f"nexthop via {gateway} dev {nic} weight 1" for gateway, nic in hops]
        return " ".join([name, *rest, *several])


@dataclass(frozen=True, slots=True)
class ForeignRoute:
    """A route within a network that does not lead through the gateways asked about: to where, and how.

    `gateways` is empty if hosts there are reached directly.
    """

    network: IPNetwork
    gateways: str
    nic: str


def next_hops(value: str) -> frozenset[str]:
    """Return the gateways of a route, as text."""
    return frozenset(gateway for gateway, _ in (*_HOP.findall(value), *_ONE_HOP.findall(_HOP.sub("", value))))


def on_link(address: IPAddress, interface: str | None) -> str | None:
    """Return the NIC by which a host is reached without a gateway, None if it is not, or is this host itself."""
    if address.is_link_local:
        return interface
    words = ("route", "get", str(address), *(["oif", interface] if interface else []))
    if not succeeds(*words, version=address.version):
        return None
    (found,) = json.loads(ip("-json", *words, version=address.version))
    return None if "gateway" in found or found.get("type") == "local" else str(found["dev"])


def foreign_routes(network: IPNetwork, gateways: Collection[str]) -> Iterator[ForeignRoute]:
    """Yield the routes to networks within this one, and to itself if hosts are reached directly by it."""
    shown = ip("-json", "route", "show", "to", "root", str(network), "table", "main", version=network.version)
    for route in json.loads(shown):
        if route.get("type", "unicast") != "unicast":
            continue
        everywhere = "0.0.0.0/0" if network.version == 4 else "::/0"
        destination = ip_network(route["dst"].replace("default", everywhere))
        hops = route.get("nexthops", [route])
        theirs = [str(hop["gateway"]) for hop in hops if "gateway" in hop]
        if destination.is_link_local or (destination == network and theirs) or set(theirs) == set(gateways):
            continue
        yield ForeignRoute(destination, " and ".join(theirs), str(hops[0].get("dev", "")))


def _routes(network: IPNetwork) -> list[str]:
    """Return the routes to exactly this network, each in one line, the preferred one first."""
    shown = ip("-oneline", "route", "show", "exact", str(network), "table", "main", version=network.version)
    return sorted((_plain(line) for line in shown.splitlines() if line.strip()), key=_metric)


def _preferred(network: IPNetwork) -> str | None:
    return next(iter(_routes(network)), None)


def _plain(line: str) -> str:
    """Return a route without what the kernel says of its state, and would not take back."""
    words = [word for word in line.replace("\\", " ").split() if word not in _LEFT_OUT]
    for name in _VALUED_LEFT_OUT & set(words):
        at = words.index(name)
        del words[at : at + 2]
    return " ".join(words)


def _metric(text: str) -> int:
    found = re.search(r" metric (\d+)", text)
    return int(found[1]) if found else 0


def _short(network: IPNetwork) -> str:
    """Return a network as iproute2 prints it."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
