# SPDX-License-Identifier: Apache-2.0
"""Packets in tunnels to a backend's host, made by scapy: every combination of families, directly and in GUE."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.bpf import packets
from tests.bpf.decapsulator import ADDRESS, ADDRESS6

__all__ = ["COMBINATIONS", "GUE_PORT", "host", "tcp6", "unwrapped", "wrapped"]

GUE_PORT = 6080
SOURCES = {4: "10.0.0.1", 6: "2001:db8::1"}
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
PROTOCOLS = {4: 4, 6: 41}

COMBINATIONS = [(inner, outer, gue) for inner in (4, 6) for outer in (4, 6) for gue in (None, 0, 1)]
"""Versions of the packet inside and of the outer header, and GUE's variant, None without GUE."""


def tcp6(destination: str = "2001:db8:f::10", *, source: str = "2001:db8:c::7", **ip: object) -> bytes:
    """Return the frame of a TCP segment over IPv6; `ip` are fields of the IP header."""
    inner = packets.tcp("PA")[34:]
    return packets.in_frame(IPv6(src=source, dst=destination, nh=6, **ip) / Raw(inner))


def wrapped(
    inner: bytes,
    *,
    to: str = ADDRESS,
    gue: int | None = None,
    port: int = GUE_PORT,
    checksum: int | None = 0,
    **outer: object,
) -> bytes:
    """Return the packet of the frame `inner` in a tunnel to the address `to`; `outer` are its outer IP fields.

    `checksum` is that of UDP; None: the right one.
    """
    version = inner[14] >> 4
    payload: Packet = Raw(inner[14:])
    protocol = PROTOCOLS.get(version, 4)
    if gue is not None:
        header = struct.pack(">BBH", 0, protocol, 0) if gue == 0 else b""
        payload = UDP(sport=0xC123, dport=port, chksum=checksum) / Raw(header + bytes(payload))
        protocol = 17
    family = ip_address(to).version
    if family == 4:
        return packets.in_frame(IP(**{"src": SOURCES[4], "dst": to, "proto": protocol, **outer}) / payload)
    if "tos" in outer:
        outer["tc"] = outer.pop("tos")
    return packets.in_frame(IPv6(**{"src": SOURCES[6], "dst": to, "nh": protocol, **outer}) / payload)


def host(outer: int) -> str:
    """Return the address of the host of this family."""
    return ADDRESS if outer == 4 else ADDRESS6


def _inner_type(inner: bytes) -> int:
    """Return the Ethernet type of the packet inside."""
    return ETHERTYPES[inner[14] >> 4]


def unwrapped(frame: bytes, inner: bytes) -> bytes:
    """Return what the stack shall see: the frame's addresses, the type of the packet inside, and that."""
    ethernet = Ether(frame[:14])
    return bytes(Ether(dst=ethernet.dst, src=ethernet.src, type=_inner_type(inner))) + inner[14:]
