# SPDX-License-Identifier: Apache-2.0
"""What all answers have in common: the frame goes back to where it came from, and there are not too many."""

from __future__ import annotations

from . import checksum, parse_ipv4, parse_ipv6
from .journey import Journey
from .limits import charge
from .packet import ICMP, ICMPV6, Packet

__all__ = [
    "QUOTED",
    "TTL",
    "afford",
    "answer_link",
    "has_sender",
    "icmp_answer",
    "ip_header",
    "pseudo_header",
    "with_checksum",
]

TTL = 64
MAC_GROUP = 0x01  # in the first byte of a MAC: broadcast or multicast (IEEE 802, 8.2)
NO_MAC = bytes(6)

ANSWER_COST = 10**6
ANSWER_AHEAD = 100 * 10**6
"""A CPU sends at most 1000 answers a second, and 100 at once (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4 f)."""

QUOTED = {4: 548, 6: 1232}
"""Bytes of the packet that an answer quotes at most, so that the answer itself fits every path.

RFC 1812, section 4.3.2.3: "the ICMP datagram SHOULD contain as much of the original datagram as possible without the
length of the ICMP datagram exceeding 576 bytes"; RFC 4443, section 2.4 c, sets the minimum IPv6 MTU instead.
"""

ICMP_HEADER = 8
OUTER_HEADER = {4: parse_ipv4.HEADER, 6: parse_ipv6.HEADER}


def has_sender(packet: Packet) -> bool:
    """Whether the frame came from a MAC that an answer can be sent to.

    A group is no station: IEEE 802.3, section 3.2.3, has the bit 0 in every source. Nor is the address of zeros, and
    what comes from the balancer's own MAC would come back to it.
    """
    destination, source = packet.link[:6], packet.link[6:12]
    return not source[0] & MAC_GROUP and source not in {NO_MAC, destination}


def answer_link(packet: Packet) -> bytes:
    """Return the packet's Ethernet header with its MACs swapped; the tags stay."""
    destination, source = packet.link[:6], packet.link[6:12]
    return source + destination + packet.link[12:]


def afford(journey: Journey) -> bool:
    """Whether this CPU may answer now; if so, charge its budget."""
    budget = charge(journey.state.answer_budgets.get(journey.cpu, 0), ANSWER_COST, journey.now, ANSWER_AHEAD)
    if budget is None:
        return False
    journey.effects.answer_budgets[journey.cpu] = budget
    return True


def icmp_answer(journey: Journey, packet: Packet, head: bytes, quoted: int) -> bytes | None:
    """Return the frame with an ICMP or ICMPv6 error that begins with these 8 bytes, and quotes so many of the packet.

    None if there is no room for its headers in front of the packet. ICMPv6's checksum covers a pseudo-header too (RFC
    4443, section 2.3).
    """
    if ICMP_HEADER + OUTER_HEADER[packet.version] > journey.headroom:
        return None
    message = head + packet.ip[:quoted]
    if packet.version == 4:
        return answer_link(packet) + ip_header(packet, ICMP, len(message)) + with_checksum(message, at=2)
    header = ip_header(packet, ICMPV6, len(message))
    return (
        answer_link(packet) + header + with_checksum(message, at=2, before=pseudo_header(packet, ICMPV6, len(message)))
    )


def ip_header(packet: Packet, protocol: int, length: int) -> bytes:
    """Return the IP header of an answer with `length` bytes behind it: from the packet's destination to its source."""
    addresses = packet.destination.packed + packet.source.packed
    if packet.version == 6:
        return bytes([0x60, 0, 0, 0]) + length.to_bytes(2, "big") + bytes([protocol, TTL]) + addresses
    total = (parse_ipv4.HEADER + length).to_bytes(2, "big")
    fragmentation = parse_ipv4.DF.to_bytes(2, "big")
    return with_checksum(
        bytes([0x45, 0]) + total + bytes(2) + fragmentation + bytes([TTL, protocol, 0, 0]) + addresses, 10
    )


def pseudo_header(packet: Packet, protocol: int, length: int) -> bytes:
    """Return what the checksum of an answer's transport covers besides itself (RFC 9293, 3.1; RFC 8200, 8.1)."""
    addresses = packet.destination.packed + packet.source.packed
    if packet.version == 6:
        return addresses + length.to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    return addresses + bytes([0, protocol]) + length.to_bytes(2, "big")


def with_checksum(data: bytes, at: int, before: bytes = b"") -> bytes:
    """Return `data` with its checksum, which covers `before` too, written at `at`, where it is 0."""
    return data[:at] + checksum.internet_checksum(before + data).to_bytes(2, "big") + data[at + 2 :]
