# SPDX-License-Identifier: Apache-2.0
"""What kind of packet is it, and is it ours? Its class decides what each later stage does with it.

A new direction (a backend's reply through the balancer, for NAT) is a new class: it is told from the others here, and
gets a case in the stages of `process`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from xdplb.dataplane.plane import BackendEntry, VipEntry

from .config import Config
from .icmp import is_about_tunnel, is_ping, turned_round
from .packet import ICMP, ICMPV6, TCP, UDP, Fragmented, Packet
from .reasons import BadPacket, Reason, Stop
from .vip import find_vip, has_vips

__all__ = ["Classified", "PacketClass", "classify", "classify_malformed"]

ICMP_OF = {4: ICMP, 6: ICMPV6}


class PacketClass(Enum):
    """What a packet is to the balancer: enum packet_class of bpf/lib/classify.h."""

    REQUEST = "request"  # TCP or UDP of a client, with ports: a whole packet or a first fragment
    ICMP_ERROR = "icmp error"  # about a packet of a backend; addresses, ports and protocol are turned round
    PING = "ping"  # an echo request
    FRAGMENT = "fragment"  # a non-first fragment: no ports, it follows the first one
    REPLY = "reply"  # of a NAT backend, to a client; told from what is not ours by `nat.find_reply`
    NOT_OURS = "not ours"  # passed to the host
    TUNNEL_ERROR = "tunnel error"  # also passed to it: about a packet that the balancer may have sent to a backend


PASSED_FOR = {
    PacketClass.REQUEST: Reason.PASS_NO_VIP,
    PacketClass.ICMP_ERROR: Reason.PASS_NOT_TCP_UDP,
    PacketClass.PING: Reason.PASS_NOT_TCP_UDP,
    PacketClass.FRAGMENT: Reason.PASS_FRAGMENT,
    PacketClass.NOT_OURS: Reason.PASS_NOT_TCP_UDP,
    PacketClass.TUNNEL_ERROR: Reason.PASS_TUNNEL_ERROR,
}
"""Why a packet that its headers put into this class is passed to the host if it is not for a VIP."""


@dataclass(frozen=True, slots=True)
class Classified:
    """The packet, turned round if it is an ICMP error, its class, and the VIP if its flow names one.

    `passed_for` is why a packet that is not ours is passed to the host, None for any other. What would be passed may be
    a reply of the NAT backend `reply_of`.
    """

    packet: Packet
    packet_class: PacketClass
    vip: VipEntry | None = None
    passed_for: Reason | None = None
    reply_of: BackendEntry | None = None


def classify(config: Config, packet: Packet) -> Classified:
    """Return the packet's class: only what is for a VIP, or for an address that has VIPs, is ours."""
    as_it_came = packet
    packet, packet_class = _by_headers(packet)
    if packet_class in {PacketClass.NOT_OURS, PacketClass.TUNNEL_ERROR}:
        return Classified(packet, packet_class, passed_for=PASSED_FOR[packet_class])
    vip = None
    if packet_class in {PacketClass.REQUEST, PacketClass.ICMP_ERROR}:
        vip = find_vip(config, packet)
        is_ours = vip is not None
    else:
        is_ours = has_vips(config, packet.destination)
    if not is_ours and packet_class is PacketClass.ICMP_ERROR and is_about_tunnel(as_it_came):
        packet_class = PacketClass.TUNNEL_ERROR
    if not is_ours:
        return Classified(packet, PacketClass.NOT_OURS, passed_for=PASSED_FOR[packet_class])
    return Classified(packet, packet_class, vip)


def classify_malformed(config: Config, bad: BadPacket) -> Stop:
    """Return what to do with a packet that could not be parsed: it is ours to drop only if its address has VIPs."""
    return Stop(bad.reason if has_vips(config, bad.destination) else Reason.PASS_MALFORMED)


def _by_headers(packet: Packet) -> tuple[Packet, PacketClass]:
    """Return the class as far as the headers tell it, and the packet, turned round if it is an ICMP error."""
    if packet.fragmented is Fragmented.LATER:
        return packet, PacketClass.FRAGMENT if _may_have_transport(packet) else PacketClass.NOT_OURS
    if packet.protocol in {TCP, UDP}:
        return packet, PacketClass.REQUEST
    if packet.protocol == ICMP_OF[packet.version] and packet.fragmented is Fragmented.WHOLE:
        if is_ping(packet):
            return packet, PacketClass.PING
        if (error := turned_round(packet)) is not None:
            return error, PacketClass.ICMP_ERROR
        return packet, PacketClass.TUNNEL_ERROR if is_about_tunnel(packet) else PacketClass.NOT_OURS
    return packet, PacketClass.NOT_OURS


def _may_have_transport(packet: Packet) -> bool:
    """Whether a non-first fragment may be one of TCP or UDP. In IPv6, only the first one tells.

    RFC 8200, section 4.5: "Only the value from the Offset zero fragment packet is used for reassembly."
    """
    return packet.version == 6 or packet.protocol in {TCP, UDP}
