# SPDX-License-Identifier: Apache-2.0
"""The answer to a ping: VIPs are pinged at the balancer, where their addresses lead."""

from __future__ import annotations

from . import checksum
from .answer import TTL, answer_link, has_sender
from .icmp import ECHO_REPLY, ECHO_REQUEST
from .packet import Packet
from .reasons import Reason, Stop

__all__ = ["answer_ping"]


def answer_ping(packet: Packet) -> Stop:
    """Return the answer to an echo request, or the drop if there is nobody to send it to.

    RFC 792: "To form an echo reply message, the source and destination addresses are simply reversed, the type code
    changed to 0, and the checksum recomputed."
    """
    if not has_sender(packet):
        return Stop(Reason.DROP_SOURCE_MAC)
    header = _ipv4_header(packet) if packet.version == 4 else _ipv6_header(packet)
    padding = packet.frame[len(packet.link) + len(packet.ip) :]
    return Stop(Reason.ANSWER_ECHO, answer_link(packet) + header + _reply(packet) + padding)


def _ipv4_header(packet: Packet) -> bytes:
    """Return the header with a new TTL and its addresses swapped, which does not change the checksum."""
    ip = packet.ip
    protocol = ip[9]
    before, after = packet.hop_limit << 8 | protocol, TTL << 8 | protocol
    updated = checksum.updated_checksum(int.from_bytes(ip[10:12], "big"), before, after)
    return ip[:8] + bytes([TTL, protocol]) + updated.to_bytes(2, "big") + ip[16:20] + ip[12:16]


def _ipv6_header(packet: Packet) -> bytes:
    ip = packet.ip
    return ip[:7] + bytes([TTL]) + ip[24:40] + ip[8:24]


def _reply(packet: Packet) -> bytes:
    """Return the ICMP message as a reply. ICMPv6's checksum covers the addresses too, but not their order.

    ICMP's type falls from 8 to 0, so its checksum grows by 8. It is added rather than updated by RFC 1624's equation,
    which gives 0 where the rest of the message is all zeros and the checksum must be 0xffff.
    """
    payload = packet.payload
    found = int.from_bytes(payload[2:4], "big")
    if packet.version == 4:
        updated = checksum.sum_of_words(bytes([ECHO_REQUEST[4], 0]) + payload[2:4])
    else:
        updated = checksum.updated_checksum(found, ECHO_REQUEST[6] << 8, ECHO_REPLY[6] << 8)
    return bytes([ECHO_REPLY[packet.version], 0]) + updated.to_bytes(2, "big") + payload[4:]
