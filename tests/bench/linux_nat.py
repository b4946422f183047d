# SPDX-License-Identifier: Apache-2.0
"""NAT by the kernel itself, for the bench of forwarding: nftables with conntrack, in the balancer's namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench import traffic
from tests.bench.services import BACKENDS
from tests.bench.wire import Wire

__all__ = ["MAC", "REPLYING", "SPREAD", "route_frames", "set_up_nftables"]

MAC = "02:00:00:00:00:01"
"""Where frames of the bench are sent to: the kernel takes none for another address."""

SPREAD, REPLYING = 60_000, 60_001
"""Ports of the VIP: connections to one are spread over all backends, those to the other have the first backend."""

_ROUTER, _ROUTER_MAC = "192.0.2.2", "02:00:00:00:00:02"
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/in0/rp_filter": "0",
}
_CONNTRACK = {
    "netfilter/nf_conntrack_checksum": "0",  # frames of the bench have no right one
    "netfilter/nf_conntrack_udp_timeout": "3600",
    "netfilter/nf_conntrack_udp_timeout_stream": "3600",
}
_RULES = """\
table ip bench {{
  chain requests {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {vip} udp dport {spread} dnat ip to jhash ip saddr . udp sport mod {count} map {{ {backends} }}
    ip daddr {vip} udp dport {replying} dnat ip to {first}:{port}
  }}
}}
"""


def route_frames(wire: Wire) -> None:
    """Have the balancer route everything out by its out0."""
    wire.configure(
        "balancer",
        f"link set in0 address {MAC}",
        "address add 192.0.2.1/24 dev out0",
        f"neighbour add {_ROUTER} lladdr {_ROUTER_MAC} dev out0 nud permanent",
        f"route add default via {_ROUTER}",
    )
    wire.inside("balancer", lambda: _set(_SYSCTLS))


def set_up_nftables(wire: Wire, port: int) -> None:
    """Have the balancer's kernel do DNAT to this port of the backends. Needs nft, which `scripts/bench` installs."""
    first = IPv4Address(traffic.NAT_BACKENDS[4])
    rules = _RULES.format(
        vip=traffic.VIPS[4],
        spread=SPREAD,
        replying=REPLYING,
        count=BACKENDS,
        backends=", ".join(f"{number} : {first + number} . {port}" for number in range(BACKENDS)),
        first=first,
        port=port,
    )
    wire.inside("balancer", lambda: _run(["nft", "-f", "-"], rules))
    wire.inside("balancer", lambda: _set(_CONNTRACK))


def _run(command: Sequence[str], given: str) -> None:
    subprocess.run(command, input=given, text=True, check=True)


def _set(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        (Path("/proc/sys/net") / name).write_text(value)
