# SPDX-License-Identifier: Apache-2.0
"""A lab of network namespaces: a client, a router, a balancer and backends, all on one machine.

    client ── router ──┬── switch ──┬── balancer (eth0) ── side (by the balancer's eth1)
     198.51.100.2      │            ├── dr1   10.0.0.11
                       │            └── dr2   10.0.0.12
                       ├── ipip1  10.0.1.11
                       └── ipip2  10.0.1.12

Every host's NIC is called eth0. The VIPs (203.0.113.0/24) are routed to the balancer, which is 10.0.0.2. Each host also
has an IPv6 address: 10.0.1.11 is 2001:db8:1::11, the VIPs are in 2001:db8:f::/64. The router is fe80::1 on its NICs.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from . import ethtool
from .lab_home import kept_labs, reap
from .lab_hosts import Hosts, forward_packets

__all__ = ["ADDRESSES", "ADDRESSES6", "VIP", "VIP6", "Lab", "kept_labs", "reap"]

VIP = IPv4Address("203.0.113.10")
VIP6 = IPv6Address("2001:db8:f::10")

ADDRESSES = {
    host: IPv4Address(address)
    for host, address in {
        "client": "198.51.100.2",
        "router": "10.0.0.1",
        "balancer": "10.0.0.2",
        "dr1": "10.0.0.11",
        "dr2": "10.0.0.12",
        "ipip1": "10.0.1.11",
        "ipip2": "10.0.1.12",
        "side": "10.0.2.11",
    }.items()
}

ADDRESSES6 = {
    host: IPv6Address(address)
    for host, address in {
        "client": "2001:db8:c::2",
        "router": "2001:db8::1",
        "balancer": "2001:db8::2",
        "dr1": "2001:db8::11",
        "dr2": "2001:db8::12",
        "ipip1": "2001:db8:1::11",
        "ipip2": "2001:db8:1::12",
        "side": "2001:db8:2::11",
    }.items()
}


class Lab(Hosts):
    """The topology above. It is created on entering the block and removed on leaving it, with all that runs in it."""

    def _build(self) -> None:
        self._create((*ADDRESSES, "switch"))
        self._wire("router", {"client": "client", "segment": "switch", "ipip1": "ipip1", "ipip2": "ipip2"})
        self._wire("switch", {"balancer": "balancer", "dr1": "dr1", "dr2": "dr2"})
        self.configure("balancer", f"link add eth1 {self._veth('side', 'eth0')}")
        self.configure("router", f"link add side {self._veth('side', 'eth1')}")
        self._bridge("switch", "ports", ["router", "balancer", "dr1", "dr2"])
        self._bridge("router", "tunnels", ["ipip1", "ipip2"])
        self._address()
        self.inside("router", forward_packets)
        self.inside("client", lambda: ethtool.finish_checksums("eth0"))
        if self._port_program is not None:
            self.attach("switch", "balancer")
            self.attach("side", "eth0")

    def _wire(self, centre: str, ports: dict[str, str]) -> None:
        """Connect ports of `centre` with hosts' eth0; a port to the switch ends there in one named after `centre`."""
        peers = {port: centre if host == "switch" else "eth0" for port, host in ports.items()}
        self.configure(centre, *(f"link add {port} {self._veth(host, peers[port])}" for port, host in ports.items()))

    def _address(self) -> None:
        router = {"client": "198.51.100.1", "segment": "10.0.0.1", "tunnels": "10.0.1.1", "side": "10.0.3.1"}
        router6 = {"client": "2001:db8:c::1", "segment": "2001:db8::1", "tunnels": "2001:db8:1::1"}
        router6["side"] = "2001:db8:3::1"
        for nic, address in router.items():
            self._join("router", nic, address, router6[nic])
            self.configure("router", f"address add fe80::1/64 dev {nic} nodad")
        for host in ("client", "balancer", "dr1", "dr2", "ipip1", "ipip2", "side"):
            self._join(host, "eth0", str(ADDRESSES[host]), str(ADDRESSES6[host]))
        self._join("balancer", "eth1", "10.0.2.1", "2001:db8:2::1")
        self._join("side", "eth1", "10.0.3.11", "2001:db8:3::11")
        self.configure("router", f"route add 203.0.113.0/24 via {ADDRESSES['balancer']}")
        self.configure("router", f"route add 2001:db8:f::/64 via {ADDRESSES6['balancer']}")
        gateways = {"client": "client", "balancer": "segment", "dr1": "segment", "dr2": "segment"}
        gateways |= {"ipip1": "tunnels", "ipip2": "tunnels", "side": "side"}
        for host, nic in gateways.items():
            egress = "eth1" if host == "side" else "eth0"
            self.configure(host, f"route add default via {router[nic]}")
            self.configure(host, f"route add ::/0 via fe80::1 dev {egress}")
