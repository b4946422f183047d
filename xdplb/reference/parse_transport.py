# SPDX-License-Identifier: Apache-2.0
"""The ports and flags of TCP (RFC 9293, section 3.1) and UDP (RFC 768)."""

from __future__ import annotations

from dataclasses import replace

from .packet import TCP, UDP, Fragmented, Packet
from .reasons import BadPacket

__all__ = ["UDP_HEADER", "with_ports"]

TCP_HEADER = 20
UDP_HEADER = 8
DATA_OFFSET_AT, FLAGS_AT = 12, 13


def with_ports(packet: Packet) -> Packet:
    """Return the packet with its ports and flags. Non-first fragments and other protocols have none."""
    if packet.fragmented is Fragmented.LATER:
        return packet
    if packet.protocol == TCP:
        return _with_tcp(packet)
    return _with_udp(packet) if packet.protocol == UDP else packet


def _with_tcp(packet: Packet) -> Packet:
    payload = packet.payload
    if len(payload) < TCP_HEADER or not TCP_HEADER <= (payload[DATA_OFFSET_AT] >> 4) * 4 <= len(payload):
        raise BadPacket(packet.destination)
    return replace(_with_port_numbers(packet), tcp_flags=payload[FLAGS_AT])


def _with_udp(packet: Packet) -> Packet:
    """Return the packet with ports. In a first fragment, the UDP length is that of the whole datagram."""
    payload = packet.payload
    length = int.from_bytes(payload[4:6], "big")
    is_whole = packet.fragmented is Fragmented.WHOLE
    if len(payload) < UDP_HEADER or length < UDP_HEADER or (is_whole and length > len(payload)):
        raise BadPacket(packet.destination)
    return _with_port_numbers(packet)


def _with_port_numbers(packet: Packet) -> Packet:
    source, destination = packet.payload[0:2], packet.payload[2:4]
    return replace(
        packet, source_port=int.from_bytes(source, "big"), destination_port=int.from_bytes(destination, "big")
    )
