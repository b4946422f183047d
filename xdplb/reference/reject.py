# SPDX-License-Identifier: Apache-2.0
"""Packets for a VIP that has no backend, and wants its clients to be told so at once, as a closed port would."""

from __future__ import annotations

from xdplb.dataplane.plane import VipEntry

from .answer import QUOTED, afford, answer_link, has_sender, icmp_answer, ip_header, pseudo_header, with_checksum
from .journey import Journey
from .packet import TCP, Fragmented, Packet, TcpFlag
from .parse_ipv4 import HEADER as HEADER4
from .parse_ipv6 import HEADER as HEADER6
from .reasons import Reason, Stop

__all__ = ["reject"]

PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
"""Type and code: RFC 792; RFC 4443, section 3.1."""

PLAIN_HEADER = {4: HEADER4, 6: HEADER6}
TCP_HEADER = 20
WORD = 4


def reject(journey: Journey, packet: Packet, vip: VipEntry) -> Stop:
    """Return the answer to a packet that no backend can get, or the drop if none is sent.

    RFC 1122, section 3.2.2: no ICMP error is sent about an ICMP error or a packet whose source is not one host. RFC
    9293, section 3.10.7.1: a RST is not answered either.
    """
    if not vip.rejects or not _is_answered(packet) or not afford(journey):
        return Stop(Reason.DROP_NO_BACKEND)
    answer = _reset(packet) if packet.protocol == TCP else _unreachable(journey, packet)
    return Stop(Reason.DROP_NO_BACKEND) if answer is None else Stop(Reason.ANSWER_REJECTED, answer)


def _is_answered(packet: Packet) -> bool:
    if packet.is_icmp_error or not has_sender(packet):
        return False
    if packet.protocol != TCP:
        return True
    # Where the segment ends, only a whole packet tells. As a ping, it is answered in its plain form.
    is_plain = packet.transport_offset == PLAIN_HEADER[packet.version]
    return is_plain and packet.fragmented is Fragmented.WHOLE and not packet.tcp_flags & TcpFlag.RST


def _reset(packet: Packet) -> bytes:
    """Return the answer to a segment for a closed port.

    RFC 9293, section 3.10.7.1: "If the ACK bit is off, sequence number zero is used, <SEQ=0><ACK=SEG.SEQ+SEG.LEN>
    <CTL=RST,ACK>. If the ACK bit is on, <SEQ=SEG.ACK><CTL=RST>".
    """
    segment = packet.payload
    if packet.tcp_flags & TcpFlag.ACK:
        numbers, flags = segment[8:12] + bytes(4), TcpFlag.RST
    else:
        length = len(segment) - (segment[12] >> 4) * 4
        length += bool(packet.tcp_flags & TcpFlag.SYN) + bool(packet.tcp_flags & TcpFlag.FIN)
        acknowledged = (int.from_bytes(segment[4:8], "big") + length) % (1 << 32)
        numbers, flags = bytes(4) + acknowledged.to_bytes(4, "big"), TcpFlag.RST | TcpFlag.ACK
    ports = segment[2:4] + segment[0:2]
    answer = ports + numbers + bytes([TCP_HEADER // 4 << 4, flags]) + bytes(6)
    pseudo = pseudo_header(packet, TCP, TCP_HEADER)
    return answer_link(packet) + ip_header(packet, TCP, TCP_HEADER) + with_checksum(answer, 16, pseudo)


def _unreachable(journey: Journey, packet: Packet) -> bytes | None:
    """Return a "port unreachable" that quotes whole words of 32 bits, as many as fit."""
    quoted = min(len(packet.ip), QUOTED[packet.version]) // WORD * WORD
    return icmp_answer(journey, packet, bytes(PORT_UNREACHABLE[packet.version]) + bytes(6), quoted)
