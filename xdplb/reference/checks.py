"""May it pass? What is wrong with a packet in itself, whoever sent it. Judged only for packets of ours."""

from __future__ import annotations

from ipaddress import IPv4Address

from xdplb.model.address import IPAddress

from . import checksum
from .packet import TCP, Packet, TcpFlag
from .reasons import Reason, Stop

__all__ = ["check_header", "check_ip", "check_tcp_flags", "is_one_host"]

BROADCAST = IPv4Address("255.255.255.255")


def check_ip(packet: Packet) -> None:
    """Stop what may not be forwarded at all.

    RFC 8200, section 3: "When forwarding, the packet is discarded if Hop Limit was zero when received or is decremented
    to zero"; RFC 1812, section 5.3.1, says the same of IPv4's TTL. A packet from its own destination ("land") would
    have the backend answer itself.
    """
    check_header(packet)
    if packet.hop_limit <= 1:
        raise Stop(Reason.DROP_TTL)
    if packet.source == packet.destination:
        raise Stop(Reason.DROP_LAND)


def check_header(packet: Packet) -> None:
    """Stop an IPv4 packet whose header was damaged on its way; IPv6 leaves that to the layers around it."""
    if packet.version == 4 and not checksum.is_right(packet.ip[: packet.transport_offset]):
        raise Stop(Reason.DROP_BAD_CHECKSUM)


def check_tcp_flags(packet: Packet) -> None:
    """Stop what no TCP sends: a SYN that also ends the connection (RFC 9293, section 3.10.7.2), or no flag at all."""
    if packet.protocol != TCP:
        return
    ends = packet.tcp_flags & (TcpFlag.FIN | TcpFlag.RST)
    if (packet.tcp_flags & TcpFlag.SYN and ends) or not packet.tcp_flags & TcpFlag.ALL:
        raise Stop(Reason.DROP_TCP_FLAGS)


def is_one_host(source: IPAddress) -> bool:
    """Whether an answer to this source would reach one host.

    RFC 1122, section 3.2.2: no ICMP error is sent about "a datagram whose source address does not define a single
    host"; no echo is answered either.
    """
    return not (source.is_multicast or source.is_unspecified or source == BROADCAST)
