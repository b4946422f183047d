"""Echo requests to a VIP's address, answered by the balancer: the address lives nowhere else on the way to it."""

from __future__ import annotations

from . import checksum, ipv4, ipv6
from .checks import check_header, is_one_host
from .config import Config
from .packet import Packet
from .reasons import Reason, Stop
from .vips import has_vips

__all__ = ["answer_echo", "is_echo_request"]

REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
ECHO_HEADER = 8
TTL = 64


def is_echo_request(packet: Packet) -> bool:
    """Whether this is one in its plain form: no IPv4 options, no IPv6 extension headers in front of it."""
    plain = ipv4.HEADER if packet.version == 4 else ipv6.HEADER
    kind = bytes([REQUEST[packet.version], 0])
    return packet.transport_offset == plain and len(packet.payload) >= ECHO_HEADER and packet.payload[:2] == kind


def answer_echo(config: Config, packet: Packet) -> Stop:
    """Return the answer, or why there is none.

    RFC 792: "To form an echo reply message, the source and destination addresses are simply reversed, the type code
    changed to 0, and the checksum recomputed."
    """
    if not has_vips(config, packet.destination):
        return Stop(Reason.PASS_NOT_TCP_UDP)
    check_header(packet)
    if packet.source == packet.destination:
        return Stop(Reason.DROP_LAND)
    if not is_one_host(packet.source):
        return Stop(Reason.PASS_NOT_TCP_UDP)
    macs = packet.link[6:12] + packet.link[:6]
    header = _ipv4_header(packet) if packet.version == 4 else _ipv6_header(packet)
    answered = packet.frame[len(packet.link) + len(packet.ip) :]
    return Stop(Reason.ANSWER_ECHO, macs + packet.link[12:] + header + _reply(packet) + answered)


def _ipv4_header(packet: Packet) -> bytes:
    """Return the header with its addresses swapped, which its checksum does not see, and a new TTL."""
    ip = packet.ip
    protocol = ip[9]
    before, after = packet.hop_limit << 8 | protocol, TTL << 8 | protocol
    updated = checksum.updated_checksum(int.from_bytes(ip[10:12], "big"), before, after)
    return ip[:8] + bytes([TTL, protocol]) + updated.to_bytes(2, "big") + ip[16:20] + ip[12:16]


def _ipv6_header(packet: Packet) -> bytes:
    ip = packet.ip
    return ip[:7] + bytes([TTL]) + ip[24:40] + ip[8:24]


def _reply(packet: Packet) -> bytes:
    """Return the ICMP message as a reply. ICMPv6's checksum covers the addresses too, in whichever order.

    ICMP's type falls from 8 to 0, so that its checksum grows by as much. It is added: RFC 1624's equation gives 0 for
    what must be -0 where all of the message is 0, the one case in which the two are not the same.
    """
    payload = packet.payload
    found = int.from_bytes(payload[2:4], "big")
    if packet.version == 4:
        updated = checksum.sum_of_words(bytes([REQUEST[4], 0]) + payload[2:4])
    else:
        updated = checksum.updated_checksum(found, REQUEST[6] << 8, REPLY[6] << 8)
    return bytes([REPLY[packet.version], 0]) + updated.to_bytes(2, "big") + payload[4:]
