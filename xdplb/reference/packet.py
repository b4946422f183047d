# SPDX-License-Identifier: Apache-2.0
"""What the balancer knows about a packet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.address import IPAddress

from .flow_state import FlowKey

__all__ = [
    "GUE_PORT",
    "ICMP",
    "ICMPV6",
    "IPV4_IN_IP",
    "IPV6_IN_IP",
    "TCP",
    "UDP",
    "Fragmented",
    "Packet",
    "TcpFlag",
]

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
"""Protocol numbers (IANA)."""

IPV4_IN_IP, IPV6_IN_IP = 4, 41  # RFC 2003, RFC 2473 and RFC 4213
GUE_PORT = 6080


class TcpFlag:
    """The flags of RFC 9293, section 3.1, that matter here."""

    FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
    ALL = 0x3F  # including PSH and URG, but not the two of ECN


class Fragmented(Enum):
    """Whether it is a whole packet, or which fragment."""

    WHOLE = "whole"
    FIRST = "first"
    LATER = "later"  # a non-first fragment: has no ports


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet in its frame. Numbers are in host order; ports are 0 if there are none.

    `link` is the Ethernet header with its tags, `ip` the IP packet without padding behind it, `payload` what follows
    the IP header and its extension headers. In an ICMP error that was classified, addresses, ports and protocol are
    those of the quoted packet turned round: as the client's packets of that flow have them.
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
    fragment_offset: int = 0  # in bytes
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    is_icmp_error: bool = False

    @property
    def tags(self) -> bytes:
        """The VLAN tags of the frame, 4 bytes each."""
        return self.link[12:-2]

    @property
    def sender(self) -> IPAddress:
        """The source in the IP header: of an ICMP error that was turned round, the router's address."""
        return IPv4Address(self.ip[12:16]) if self.version == 4 else IPv6Address(self.ip[8:24])

    @property
    def transport_offset(self) -> int:
        """Bytes of the IP header with its options or extension headers."""
        return len(self.ip) - len(self.payload)

    @property
    def is_syn(self) -> bool:
        """Whether it opens a connection: a SYN without ACK. A SYN-ACK is what a server sends."""
        return self.tcp_flags & (TcpFlag.SYN | TcpFlag.ACK) == TcpFlag.SYN

    @property
    def is_old_tcp(self) -> bool:
        """Whether it is TCP and not the first packet of its connection."""
        return self.protocol == TCP and not self.is_syn

    @property
    def flow(self) -> FlowKey:
        """The flow it belongs to."""
        return FlowKey(self.source, self.source_port, self.destination, self.destination_port, self.protocol)
