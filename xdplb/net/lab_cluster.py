# SPDX-License-Identifier: Apache-2.0
"""A lab of a cluster: three balancers, two routers with a client each, backends, and a host for what all share.

    client1 ── router1 ──┐          ┌── balancer1  10.0.0.11 (2, 3: .12, .13)
     198.51.100.2        ├─ switch ─┼── backend1   10.0.0.21 (2, 3, 4: .22, .23, .24)
    client2 ── router2 ──┘          └── shared     10.0.0.31
     198.51.101.2

Every host's NIC is called eth0; the routers have eth1 to their clients. Router 1 is 10.0.0.1, router 2 is 10.0.0.2.
Each host also has an IPv6 address: 10.0.0.11 is 2001:db8::11. No router has a route to a VIP (203.0.113.0/24 and
2001:db8:f::/64) until somebody tells it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from . import ethtool
from .lab_hosts import Hosts, forward_packets

__all__ = [
    "ADDRESSES",
    "ADDRESSES6",
    "BACKENDS",
    "BALANCERS",
    "CLIENTS",
    "ROUTERS",
    "SHARED",
    "VIP",
    "VIP6",
    "ClusterLab",
]

VIP = IPv4Address("203.0.113.10")
VIP6 = IPv6Address("2001:db8:f::10")

ROUTERS = ("router1", "router2")
BALANCERS = ("balancer1", "balancer2", "balancer3")
BACKENDS = ("backend1", "backend2", "backend3", "backend4")
CLIENTS = ("client1", "client2")
SHARED = "shared"

_SWITCHED = {ROUTERS: 1, BALANCERS: 11, BACKENDS: 21, (SHARED,): 31}
"""The hosts at the switch, with the last number of the first one's address."""

_NUMBERS = {host: first + index for hosts, first in _SWITCHED.items() for index, host in enumerate(hosts)}

ADDRESSES = {host: IPv4Address(f"10.0.0.{number}") for host, number in _NUMBERS.items()}
ADDRESSES |= {client: IPv4Address(f"198.51.{100 + index}.2") for index, client in enumerate(CLIENTS)}
ADDRESSES6 = {host: IPv6Address(f"2001:db8::{number}") for host, number in _NUMBERS.items()}
ADDRESSES6 |= {client: IPv6Address(f"2001:db8:c{index}::2") for index, client in enumerate(CLIENTS)}


class ClusterLab(Hosts):
    """The topology above. It is created on entering the block and removed on leaving it, with all that runs in it."""

    def cut(self, host: str) -> None:
        """Pull a host's cable out of the switch."""
        self.configure("switch", f"link set {host} down")

    def join(self, host: str) -> None:
        """Put a host's cable back."""
        self.configure("switch", f"link set {host} up")

    def _build(self) -> None:
        self._create((*ADDRESSES, "switch"))
        self.configure("switch", *(f"link add {host} {self._veth(host, 'eth0')}" for host in _NUMBERS))
        self._bridge("switch", "ports", list(_NUMBERS))
        # A real NIC drops frames for another's address, and a veth gives them to XDP: also those that the switch floods
        # since their host is gone.
        self.configure("switch", *(f"link set {host} type bridge_slave flood off" for host in BALANCERS))
        for host in _NUMBERS:
            self._join(host, "eth0", str(ADDRESSES[host]), str(ADDRESSES6[host]))
        for index, (router, client) in enumerate(zip(ROUTERS, CLIENTS, strict=True)):
            self._connect(router, client, index)
        for host in (*BALANCERS, *BACKENDS, SHARED):
            self._route(host, "router1", "default", "::/0")
            self._route(host, "router2", "198.51.101.0/24", "2001:db8:c1::/64")
        if self._port_program is not None:
            for host in BALANCERS:
                self.attach("switch", host)

    def _connect(self, router: str, client: str, index: int) -> None:
        """Connect a client with its router, which is also its way to everything."""
        self.configure(router, f"link add eth1 {self._veth(client, 'eth0')}")
        inner, inner6 = f"198.51.{100 + index}.1", f"2001:db8:c{index}::1"
        self._join(router, "eth1", inner, inner6)
        self._join(client, "eth0", str(ADDRESSES[client]), str(ADDRESSES6[client]))
        self.configure(client, f"route add default via {inner}", f"route add ::/0 via {inner6}")
        self.inside(router, forward_packets)
        self.inside(client, lambda: ethtool.finish_checksums("eth0"))

    def _route(self, host: str, router: str, *prefixes: str) -> None:
        for prefix in prefixes:
            gateway = (ADDRESSES6 if ":" in prefix else ADDRESSES)[router]
            self.configure(host, f"route add {prefix} via {gateway}")
