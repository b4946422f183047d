# SPDX-License-Identifier: Apache-2.0
"""What leaves the balancer for a backend, made by scapy: MACs, tags and outer headers, of both families."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import numpy as np
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.bpf import packets
from xdplb.balance.hashing import flow_hash, flow_hash6
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward

__all__ = ["OVERHEAD", "backend_address", "hash_of", "tagged", "through"]

ETHERNET, TAG = 14, 4
TYPES = {4: 0x0800, 6: 0x86DD}
TAG_TYPES = {0x8100, 0x88A8}
PROTOCOLS = {4: 4, 6: 41}
UDP_PROTOCOL = 17
GUE_PORT, FIRST_SOURCE_PORT = 6080, 0xC000
SOURCES = {4: packets.IPIP_SOURCE, 6: packets.IPIP_SOURCE6}

OVERHEAD = {
    (Forward.DR, 4): 0,
    (Forward.DR, 6): 0,
    (Forward.IPIP, 4): 20,
    (Forward.IPIP, 6): 40,
    (Forward.GUE, 4): 28,
    (Forward.GUE, 6): 48,
}
"""Bytes in front of the packet, by how it is forwarded and the version of the backend's address."""


def backend_address(backend_id: int, version: int) -> str:
    """Return the address of a backend."""
    return packets.backend_address(backend_id) if version == 4 else packets.backend_address6(backend_id)


def hash_of(version: int, source_port: int = packets.CLIENT_PORT, *, source: str | None = None) -> int:
    """Return the hash of the client's flow from this port to the VIP's, as the control plane computes it."""
    address = int(ip_address(source or (packets.CLIENT if version == 4 else packets.CLIENT6)))
    if version == 4:
        return int(flow_hash(address, source_port, packets.VIP_PORT)[0])
    halves = np.array([address >> 64, address & 2**64 - 1], np.uint64)
    return int(flow_hash6(halves, source_port, packets.VIP_PORT)[0])


def tagged(frame: bytes, tags: Sequence[VlanTag]) -> bytes:
    """Return an untagged frame with these tags, the outer one first."""
    ethernet = Ether(frame)
    inner, kind = frame[ETHERNET:], ethernet.type
    for tag in reversed(tags):
        inner, kind = bytes(Dot1Q(vlan=tag.id, type=kind) / Raw(inner)), tag.type
    return bytes(Ether(src=ethernet.src, dst=ethernet.dst, type=kind) / Raw(inner))


def through(
    frame: bytes,
    backend_id: int,
    forward: Forward,
    outer: int = 4,
    *,
    tags: Sequence[VlanTag] = (),
    flow_hash: int | None = None,
    source: str | None = None,
) -> bytes:
    """Return what the balancer makes of a frame, whatever tags that has, for a backend behind a NIC with `tags`.

    `outer` is the version of the backend's address; `flow_hash` that of the flow, None for the one that `packets` makes
    unless told otherwise; `source` the outer header's.
    """
    packet = _without_ethernet(frame)
    version = packet[0] >> 4
    hashed = hash_of(version) if flow_hash is None else flow_hash
    if forward is not Forward.DR:
        version = outer
        addresses = (source or SOURCES[outer], backend_address(backend_id, outer))
        packet = bytes(_wrapped(packet, forward, addresses, hashed))
    ethernet = Ether(dst=packets.backend_mac(backend_id), src=packets.BALANCER_MAC, type=TYPES[version])
    return tagged(bytes(ethernet / Raw(packet)), tags)


def _without_ethernet(frame: bytes) -> bytes:
    start = ETHERNET
    while int.from_bytes(frame[start - 2 : start], "big") in TAG_TYPES:
        start += TAG
    return frame[start:]


def _wrapped(packet: bytes, forward: Forward, addresses: tuple[str, str], hashed: int) -> Packet:
    """Return the packet behind an outer header with this source and destination."""
    version = packet[0] >> 4
    length = int.from_bytes(packet[2:4], "big") if version == 4 else 40 + int.from_bytes(packet[4:6], "big")
    traffic_class = packet[1] if version == 4 else (packet[0] & 0xF) << 4 | packet[1] >> 4
    payload: Packet = Raw(packet)
    protocol = PROTOCOLS[version]
    if forward is Forward.GUE:
        length += 8
        port = FIRST_SOURCE_PORT | hashed & 0x3FFF
        payload = UDP(sport=port, dport=GUE_PORT, len=length, chksum=0) / payload
        protocol = UDP_PROTOCOL
    source, destination = addresses
    if ip_address(destination).version == 4:
        header = IP(tos=traffic_class, len=length + 20, id=0, flags="DF", ttl=64, proto=protocol)
        header.src, header.dst = source, destination
        return header / payload
    label = hashed & 0xFFFFF
    header = IPv6(tc=traffic_class, fl=label, plen=length, nh=protocol, hlim=64, src=source, dst=destination)
    return header / payload
