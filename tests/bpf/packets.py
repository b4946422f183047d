# SPDX-License-Identifier: Apache-2.0
"""Every packet of these tests is made here, by scapy: what goes in, and what has to come out byte for byte."""

from __future__ import annotations

from collections.abc import Sequence

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

__all__ = [
    "BALANCER_MAC",
    "CLIENT",
    "CLIENT6",
    "CLIENT_PORT",
    "IPIP_SOURCE",
    "IPIP_SOURCE6",
    "ROUTER_MAC",
    "VIP",
    "VIP6",
    "VIP_PORT",
    "arp",
    "backend_address",
    "backend_address6",
    "backend_mac",
    "fragments",
    "icmp",
    "in_frame",
    "ip_options",
    "ipip",
    "ipv6",
    "other_protocol",
    "tcp",
    "tcp6",
    "through_dr",
    "through_ipip",
    "udp",
    "udp6",
    "vlan",
    "with_inner",
    "with_ip",
]

CLIENT, CLIENT_PORT = "192.0.2.7", 40000
VIP, VIP_PORT = "203.0.113.10", 80
CLIENT6, VIP6 = "2001:db8:c::7", "2001:db8:f::10"
ROUTER_MAC, BALANCER_MAC = "02:00:00:00:01:01", "02:00:00:00:01:02"
IPIP_SOURCE, IPIP_SOURCE6 = "10.0.0.1", "2001:db8:a::1"
PAYLOAD = b"every byte counts"


def backend_mac(backend_id: int) -> str:
    """Return the MAC of a backend's next hop."""
    return f"02:00:00:00:02:{backend_id:02x}"


def backend_address(backend_id: int) -> str:
    """Return the address of a backend."""
    return f"10.0.1.{backend_id}"


def backend_address6(backend_id: int) -> str:
    """Return the address of a backend behind a tunnel in IPv6."""
    return f"2001:db8:b::{backend_id:x}"


def in_frame(packet: Packet) -> bytes:
    """Return `packet` as a frame from the router to the balancer."""
    return bytes(Ether(src=ROUTER_MAC, dst=BALANCER_MAC) / packet)


def tcp(
    flags: str = "A",
    *,
    source: str = CLIENT,
    source_port: int = CLIENT_PORT,
    destination: str = VIP,
    port: int = VIP_PORT,
    payload: bytes = PAYLOAD,
    **ip: object,
) -> bytes:
    """Return a TCP segment with these flags (scapy's letters); `ip` are fields of the IP header."""
    return in_frame(
        IP(src=source, dst=destination, **ip) / TCP(sport=source_port, dport=port, flags=flags) / Raw(payload)
    )


def udp(
    *,
    source: str = CLIENT,
    source_port: int = CLIENT_PORT,
    destination: str = VIP,
    port: int = VIP_PORT,
    payload: bytes = PAYLOAD,
    **ip: object,
) -> bytes:
    """Return a UDP datagram; `ip` are fields of the IP header."""
    return in_frame(IP(src=source, dst=destination, **ip) / UDP(sport=source_port, dport=port) / Raw(payload))


def tcp6(
    flags: str = "A",
    *,
    source: str = CLIENT6,
    source_port: int = CLIENT_PORT,
    destination: str = VIP6,
    port: int = VIP_PORT,
    payload: bytes = PAYLOAD,
    extensions: Sequence[Packet] = (),
    **ip: object,
) -> bytes:
    """Return a TCP segment over IPv6, behind these extension headers; `ip` are fields of the IP header."""
    segment = TCP(sport=source_port, dport=port, flags=flags) / Raw(payload)
    return in_frame(_behind(IPv6(src=source, dst=destination, **ip), extensions, segment))


def udp6(
    *,
    source: str = CLIENT6,
    source_port: int = CLIENT_PORT,
    destination: str = VIP6,
    port: int = VIP_PORT,
    payload: bytes = PAYLOAD,
    extensions: Sequence[Packet] = (),
    **ip: object,
) -> bytes:
    """Return a UDP datagram over IPv6, behind these extension headers; `ip` are fields of the IP header."""
    datagram = UDP(sport=source_port, dport=port) / Raw(payload)
    return in_frame(_behind(IPv6(src=source, dst=destination, **ip), extensions, datagram))


def _behind(packet: Packet, extensions: Sequence[Packet], last: Packet) -> Packet:
    for extension in extensions:
        packet = packet / extension
    return packet / last


def ip_options(count: int) -> list[IPOption]:
    """Return `count` one-byte options, up to 40, for the field `options` of an IP header."""
    return [IPOption_NOP() for _ in range(count)]


def icmp(destination: str = VIP) -> bytes:
    """Return an echo request."""
    return in_frame(IP(src=CLIENT, dst=destination) / ICMP() / Raw(PAYLOAD))


def other_protocol(number: int, destination: str = VIP) -> bytes:
    """Return an IPv4 packet of another protocol."""
    return in_frame(IP(src=CLIENT, dst=destination, proto=number) / Raw(PAYLOAD))


def arp() -> bytes:
    """Return a request for the VIP's MAC."""
    return bytes(Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=CLIENT, pdst=VIP))


def ipv6() -> bytes:
    """Return an IPv6 TCP segment."""
    return in_frame(IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(dport=VIP_PORT) / Raw(PAYLOAD))


def vlan() -> bytes:
    """Return a tagged segment for the VIP."""
    return in_frame(Dot1Q(vlan=5) / IP(src=CLIENT, dst=VIP) / TCP(dport=VIP_PORT) / Raw(PAYLOAD))


def fragments(destination: str = VIP) -> list[bytes]:
    """Return the first, a middle and the last fragment of a TCP segment."""
    whole = IP(src=CLIENT, dst=destination) / TCP(sport=CLIENT_PORT, dport=VIP_PORT) / Raw(bytes(100))
    return [in_frame(part) for part in whole.fragment(fragsize=40)]


def with_ip(frame: bytes, **fields: object) -> bytes:
    """Return the frame with fields of its IP header set and nothing else adapted but the header's checksum."""
    packet = Ether(frame)
    for name, value in fields.items():
        packet[IP].setfieldval(name, value)
    del packet[IP].chksum
    return bytes(packet)


def through_dr(frame: bytes, backend_id: int) -> bytes:
    """Return what DR makes of a frame: both MACs changed, nothing else."""
    addresses = Ether(dst=backend_mac(backend_id), src=BALANCER_MAC)
    return bytes(addresses)[:12] + frame[12:]


def through_ipip(frame: bytes, backend_id: int, source: str = IPIP_SOURCE) -> bytes:
    """Return what IPIP makes of a frame. scapy computes the outer header's checksum."""
    inner = Ether(frame)[IP]
    outer = IP(
        version=4,
        ihl=5,
        tos=inner.tos,
        len=inner.len + 20,
        id=0,
        flags="DF",
        frag=0,
        ttl=64,
        proto=4,
        src=source,
        dst=backend_address(backend_id),
    )
    return bytes(Ether(dst=backend_mac(backend_id), src=BALANCER_MAC, type=0x0800) / outer / Raw(frame[14:]))


def ipip(inner: bytes, *, destination: str, **outer: object) -> bytes:
    """Return an IPIP frame around the IP packet of the frame `inner`; `outer` are fields of the outer header."""
    return in_frame(IP(src=IPIP_SOURCE, dst=destination, proto=4, **outer) / Raw(inner[14:]))


def with_inner(frame: bytes, inner: bytes) -> bytes:
    """Return what unwrapping makes of an IPIP frame: its Ethernet header before the IP packet of `inner`."""
    return frame[:14] + inner[14:]
