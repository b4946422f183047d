# SPDX-License-Identifier: Apache-2.0
"""Packets that are too big for the way to their backend: dropped, and the sender is told the MTU.

XDP cannot fragment, so a packet without DF is answered like one with it.
"""

from __future__ import annotations

from . import checksum, parse_ipv4, parse_ipv6
from .answer import TTL, answer_link, has_sender
from .journey import Journey
from .limits import charge
from .packet import ICMP, ICMPV6, Fragmented, Packet
from .reasons import Reason, Stop

__all__ = ["answer_too_big"]

ANSWER_COST = 10**6
ANSWER_AHEAD = 100 * 10**6
"""A CPU sends at most 1000 answers a second, and 100 at once (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4 f)."""

QUOTED = {4: 548, 6: 1232}
"""Bytes of the packet that an answer quotes, so that the answer itself fits every path.

RFC 1812, section 4.3.2.3: "the ICMP datagram SHOULD contain as much of the original datagram as possible without the
length of the ICMP datagram exceeding 576 bytes"; RFC 4443, section 2.4 c, sets the minimum IPv6 MTU instead.
"""

SHORTEST_ANSWERED = {4: 548, 6: 1281}
"""Shorter packets get no answer: every path must carry them (RFC 791: 576 bytes; RFC 8200, section 5: 1280)."""

LEAST_MTU6 = 1280
ICMP_HEADER = 8
OUTER_HEADER = {4: parse_ipv4.HEADER, 6: parse_ipv6.HEADER}


def answer_too_big(journey: Journey, packet: Packet, mtu: int) -> Stop:
    """Return the answer that says that `mtu` bytes would fit, or the drop if none is sent.

    RFC 1122, section 3.2.2: no ICMP error is sent about an ICMP error, a non-first fragment, or a packet whose source
    is not one host, which has been dropped before.
    """
    is_answered = (
        has_sender(packet)
        and packet.fragmented is not Fragmented.LATER
        and not packet.is_icmp_error
        and len(packet.ip) >= SHORTEST_ANSWERED[packet.version]
    )
    budget = charge(journey.state.answer_budgets.get(journey.cpu, 0), ANSWER_COST, journey.now, ANSWER_AHEAD)
    if not is_answered or budget is None:
        return Stop(Reason.DROP_TOO_BIG)
    journey.effects.answer_budgets[journey.cpu] = budget
    if ICMP_HEADER + OUTER_HEADER[packet.version] > journey.headroom:
        return Stop(Reason.DROP_TOO_BIG)
    answer = _ipv4_answer(packet, mtu) if packet.version == 4 else _ipv6_answer(packet, max(mtu, LEAST_MTU6))
    return Stop(Reason.ANSWER_TOO_BIG, answer_link(packet) + answer)


def _ipv4_answer(packet: Packet, mtu: int) -> bytes:
    """Return an ICMP "fragmentation needed and DF set" with the MTU of the next hop (RFC 1191, section 4)."""
    quote = packet.ip[: QUOTED[4]]
    message = _with_checksum(bytes([3, 4, 0, 0, 0, 0]) + mtu.to_bytes(2, "big") + quote, at=2)
    total = (parse_ipv4.HEADER + len(message)).to_bytes(2, "big")
    fragmentation = parse_ipv4.DF.to_bytes(2, "big")
    addresses = packet.destination.packed + packet.source.packed
    header = bytes([0x45, 0]) + total + bytes(2) + fragmentation + bytes([TTL, ICMP, 0, 0]) + addresses
    return _with_checksum(header, at=10) + message


def _ipv6_answer(packet: Packet, mtu: int) -> bytes:
    """Return an ICMPv6 "packet too big" (RFC 4443, section 3.2); its checksum covers a pseudo-header too (2.3)."""
    message = bytes([2, 0, 0, 0]) + mtu.to_bytes(4, "big") + packet.ip[: QUOTED[6]]
    length = len(message)
    addresses = packet.destination.packed + packet.source.packed
    pseudo = addresses + length.to_bytes(4, "big") + bytes([0, 0, 0, ICMPV6])
    summed = _with_checksum(pseudo + message, at=len(pseudo) + 2)[len(pseudo) :]
    return bytes([0x60, 0, 0, 0]) + length.to_bytes(2, "big") + bytes([ICMPV6, TTL]) + addresses + summed


def _with_checksum(data: bytes, at: int) -> bytes:
    """Return `data` with its checksum written at `at`, where it is 0."""
    return data[:at] + checksum.internet_checksum(data).to_bytes(2, "big") + data[at + 2 :]
