# SPDX-License-Identifier: Apache-2.0
"""What both answers have in common: the frame goes back to where it came from."""

from __future__ import annotations

from .packet import Packet

__all__ = ["TTL", "answer_link", "has_sender"]

TTL = 64
MAC_GROUP = 0x01  # in the first byte of a MAC: broadcast or multicast (IEEE 802, 8.2)
NO_MAC = bytes(6)


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
