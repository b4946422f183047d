# SPDX-License-Identifier: Apache-2.0
"""May it pass? What is wrong with a packet in itself, whoever sent it. Checked only for packets that are ours."""

from __future__ import annotations

from . import checksum
from .martian import is_martian
from .packet import TCP, Fragmented, Packet, TcpFlag
from .reasons import Reason, Stop

__all__ = ["check_packet", "check_ping"]


def check_packet(packet: Packet) -> None:
    """Stop what may not be sent to a backend, whichever VIP it is for.

    RFC 8200, section 3: "When forwarding, the packet is discarded if Hop Limit was zero when received or is decremented
    to zero"; RFC 1812, section 5.3.1, says the same of IPv4's TTL. A packet from its own destination ("land") would
    make the backend answer itself.
    """
    _check_header(packet)
    if packet.hop_limit <= 1:
        raise Stop(Reason.DROP_TTL)
    _check_source(packet)
    _check_tcp_flags(packet)


def check_ping(packet: Packet) -> None:
    """Stop a ping that is not answered. One with a TTL of 1 is: it has arrived."""
    _check_header(packet)
    _check_source(packet)


def _check_header(packet: Packet) -> None:
    """Stop an IPv4 packet whose header was damaged on its way; IPv6 leaves that to the layers around it."""
    if packet.version == 4 and not checksum.is_right(packet.ip[: packet.transport_offset]):
        raise Stop(Reason.DROP_BAD_CHECKSUM)


def _check_source(packet: Packet) -> None:
    """Stop what cannot have been sent by whom it says: of an ICMP error, neither the client it names nor the router."""
    for source in (packet.source, packet.sender):
        if is_martian(source):
            raise Stop(Reason.DROP_MARTIAN)
        if packet.destination == source:
            raise Stop(Reason.DROP_LAND)


def _check_tcp_flags(packet: Packet) -> None:
    """Stop what no TCP sends: a SYN that also ends the connection (RFC 9293, section 3.10.7.2), or no flag at all.

    Non-first fragments and the packets that ICMP errors are about have no flags.
    """
    if packet.protocol != TCP or packet.fragmented is Fragmented.LATER or packet.is_icmp_error:
        return
    ends = packet.tcp_flags & (TcpFlag.FIN | TcpFlag.RST)
    if (packet.tcp_flags & TcpFlag.SYN and ends) or not packet.tcp_flags & TcpFlag.ALL:
        raise Stop(Reason.DROP_TCP_FLAGS)
