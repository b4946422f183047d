# SPDX-License-Identifier: Apache-2.0
"""Packets that are too big for the way to their backend: dropped, and the sender is told the MTU.

XDP cannot fragment, so a packet without DF is answered like one with it.
"""

from __future__ import annotations

from .answer import QUOTED, afford, has_sender, icmp_answer
from .journey import Journey
from .packet import Fragmented, Packet
from .reasons import Reason, Stop

__all__ = ["answer_too_big"]

SHORTEST_ANSWERED = {4: 548, 6: 1281}
"""Shorter packets get no answer: every path must carry them (RFC 791: 576 bytes; RFC 8200, section 5: 1280)."""

LEAST_MTU6 = 1280


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
    if not is_answered or not afford(journey):
        return Stop(Reason.DROP_TOO_BIG)
    answer = icmp_answer(journey, packet, _head(packet, mtu), QUOTED[packet.version])
    return Stop(Reason.DROP_TOO_BIG) if answer is None else Stop(Reason.ANSWER_TOO_BIG, answer)


def _head(packet: Packet, mtu: int) -> bytes:
    """Return the message up to the quote: RFC 1191, section 4 ("fragmentation needed and DF set"); RFC 4443, 3.2."""
    if packet.version == 4:
        return bytes([3, 4, 0, 0, 0, 0]) + mtu.to_bytes(2, "big")
    return bytes([2, 0, 0, 0]) + max(mtu, LEAST_MTU6).to_bytes(4, "big")
