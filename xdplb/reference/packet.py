"""A packet as far as the balancer looks into it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from xdplb.model.address import IPAddress

from .state import FlowKey

__all__ = ["ICMP", "ICMPV6", "TCP", "UDP", "Fragmented", "Packet", "TcpFlag"]

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
"""Protocol numbers (IANA)."""


class TcpFlag:
    """The flags of RFC 9293, section 3.1, that matter here."""

    FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
    ALL = 0x3F  # with PSH and URG, without the two of ECN


class Fragmented(Enum):
    """Whether it is all of a packet, or which part."""

    WHOLE = "whole"
    FIRST = "first"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet in its frame. Numbers are in host order; ports are 0 where there are none.

    `link` is Ethernet's header with its tags, `ip` the IP packet without padding behind it, `payload` what follows the
    IP header and its extension headers. For an ICMP error, addresses, ports and protocol are those of the packet it
    quotes, turned round: of the client's packets of that flow.
    """

    frame: bytes
    link: bytes
    version: int
    ip: bytes
    payload: bytes
    source: IPAddress
    destination: IPAddress
    protocol: int
    traffic_class: int
    hop_limit: int
    fragmented: Fragmented = Fragmented.WHOLE
    fragment_id: int = 0
    fragment_protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    is_icmp_error: bool = False

    @property
    def tags(self) -> bytes:
        """The VLAN tags of its frame, 4 bytes each."""
        return self.link[12:-2]

    @property
    def transport_offset(self) -> int:
        """Bytes of the IP header with its options or extension headers."""
        return len(self.ip) - len(self.payload)

    @property
    def is_syn(self) -> bool:
        """Whether it asks for a connection: a SYN alone, not a SYN-ACK, which a server sends."""
        return self.tcp_flags & (TcpFlag.SYN | TcpFlag.ACK) == TcpFlag.SYN

    @property
    def is_old_tcp(self) -> bool:
        """Whether it belongs to a connection that began before it."""
        return self.protocol == TCP and not self.is_syn

    @property
    def flow(self) -> FlowKey:
        """The flow it belongs to."""
        return FlowKey(self.source, self.source_port, self.destination, self.destination_port, self.protocol)
