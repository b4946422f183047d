"""What both answers have in common: the frame goes back to where it came from."""

from __future__ import annotations

from .packet import Packet

__all__ = ["TTL", "answer_link"]

TTL = 64


def answer_link(packet: Packet) -> bytes:
    """Return the packet's Ethernet header with its MACs swapped; the tags stay."""
    destination, source = packet.link[:6], packet.link[6:12]
    return source + destination + packet.link[12:]
