# SPDX-License-Identifier: Apache-2.0
"""NAT: the VIP's address and port become the backend's in requests, and the backend's the VIP's in replies.

A reply is told by its source alone: which VIP a backend's address, port and protocol belong to is configuration. So no
record is needed, and a reply may come through a balancer that has not seen the request.
"""

from __future__ import annotations

import struct

from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward

from . import checksum
from .config import Config
from .fragment import FRAGMENT_SECONDS, key_of, remember
from .journey import Choice, Journey, Placement
from .limits import SECOND
from .packet import TCP, UDP, Fragmented, Packet
from .reasons import Reason, Stop
from .too_big import answer_too_big

__all__ = ["answers_directly", "find_reply", "rewritten_request", "send_reply", "serves"]

SOURCE_AT, DESTINATION_AT = {4: 12, 6: 8}, {4: 16, 6: 24}
HOP_LIMIT_AT = {4: 8, 6: 7}
HEADER_CHECKSUM_AT = 10
CHECKSUM_AT = {TCP: 16, UDP: 6}
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
ETHERNET = 14


def rewritten_request(packet: Packet, backend: BackendEntry) -> bytes:
    """Return the IP packet with the backend's address and port as its destination, one hop further.

    It was for the backend's VIP, which has one address: the control plane gives a backend no other one.
    """
    assert backend.nat is not None, "a NAT backend has what its packets are rewritten to"
    ip = _with_address(packet, packet.ip, DESTINATION_AT[packet.version], backend.address, backend.nat.vip)
    ip = _with_port(packet, ip, 2, packet.destination_port + backend.nat.shift)
    return _one_hop_further(packet, ip)


def find_reply(journey: Journey, packet: Packet, passed_for: Reason) -> BackendEntry | None:
    """Return the backend whose reply this is, None if it is none. It would be passed to the host for `passed_for`.

    RFC 3022, section 4.1, has a table of translations for that, filled by the packets; here it is the configuration. A
    non-first fragment has no ports, and belongs to the reply that its first one was. What is for somebody who has asked
    the backend itself is none, and so nothing is remembered of its first fragment.
    """
    if passed_for is Reason.PASS_FRAGMENT:
        return _find_fragment(journey, packet)
    if passed_for is not Reason.PASS_NO_VIP:
        return None
    source, port = packet.source, packet.source_port
    serving = [each for each in journey.config.backends.values() if serves(each, source, port, packet.protocol)]
    if not serving:
        return None
    by_port = [backend for backend in serving if backend.nat is not None and backend.nat.first_port]
    found: BackendEntry = (by_port or serving)[0]
    return None if answers_directly(found, packet.destination) else found


def send_reply(journey: Journey, packet: Packet, backend: BackendEntry, passed_for: Reason | None) -> tuple[bytes, int]:
    """Return the frame for the client and the ifindex it is sent out by; raise Stop if it is not sent.

    The kernel's routes say where the client is. If that is the host itself, it has asked from an address of its own,
    and the packet is passed for `passed_for` as it is.
    """
    assert backend.nat is not None, "a NAT backend has what its packets are rewritten to"
    way = journey.config.route_to(packet.destination)
    if way is None:
        raise Stop(passed_for or Reason.PASS_NO_VIP)
    journey.vip_id = backend.vip_id
    journey.choice = Choice(backend.id, Placement.REPLY)
    if packet.version == 4 and not checksum.is_right(packet.ip[: packet.transport_offset]):
        raise Stop(Reason.DROP_BAD_CHECKSUM)
    if packet.hop_limit <= 1:
        raise Stop(Reason.DROP_TTL)
    if len(packet.ip) > way.mtu:
        raise answer_too_big(journey, packet, way.mtu)
    if packet.fragmented is Fragmented.FIRST:
        remember(journey, packet, backend.id, backend.epoch, backend.vip_id)
    ip = _with_address(packet, packet.ip, SOURCE_AT[packet.version], backend.nat.vip, packet.source)
    ip = _with_port(packet, ip, 0, packet.source_port - backend.nat.shift)
    if not _is_ready(journey, way):
        raise Stop(Reason.PASS_NAT_REPLY, packet.link + ip + _padding(packet))
    _count(journey, backend)
    link = way.destination_mac + way.source_mac + ETHERTYPES[packet.version]
    return link + _one_hop_further(packet, ip) + _padding(packet), way.ifindex


def _is_ready(journey: Journey, way: NextHop) -> bool:
    """Whether the next hop's MAC is known, and frames can be sent out by its NIC."""
    can_leave = way.ifindex == journey.ifindex or way.ifindex in journey.config.interfaces
    return way.destination_mac != b"" and can_leave


def _count(journey: Journey, backend: BackendEntry) -> None:
    journey.effects.counts["vip", backend.vip_id, "replies"] += 1
    journey.effects.counts["backend", backend.id, "replies"] += 1


def serves(backend: BackendEntry, address: IPAddress, port: int, protocol: int) -> bool:
    """Whether what comes from this address and port by this protocol is a NAT backend's reply."""
    nat = backend.nat
    if backend.forward is not Forward.NAT or nat is None or backend.address != address:
        return False
    is_all = nat.first_port == 0 and nat.protocols != ()
    return protocol in nat.protocols and (is_all or nat.first_port <= port <= nat.last_port)


def answers_directly(backend: BackendEntry, client: IPAddress) -> bool:
    """Whether this client has asked the backend itself, and would not recognise an answer of the VIP."""
    return backend.nat is not None and any(client in network for network in backend.nat.direct)


def _find_fragment(journey: Journey, packet: Packet) -> BackendEntry | None:
    first = journey.state.fragments.get(key_of(packet))
    if first is None or journey.now > first.last_seen + FRAGMENT_SECONDS * SECOND:
        return None
    backend = _backend(journey.config, first.backend)
    if backend is None or backend.epoch != first.epoch or backend.address != packet.source:
        return None
    return backend


def _backend(config: Config, backend_id: int) -> BackendEntry | None:
    backend = config.backends.get(backend_id)
    return backend if backend is not None and backend.forward is Forward.NAT else None


def _padding(packet: Packet) -> bytes:
    return packet.frame[len(packet.link) + len(packet.ip) :]


def _one_hop_further(packet: Packet, ip: bytes) -> bytes:
    """Return the packet with a TTL or hop limit of one less: the balancer routes it (RFC 1812, section 5.3.1)."""
    at = HOP_LIMIT_AT[packet.version]
    after = ip[:at] + bytes([ip[at] - 1]) + ip[at + 1 :]
    return _with_header_checksum(packet, after, ip[8:10], after[8:10])


def _with_address(packet: Packet, ip: bytes, at: int, after: IPAddress, before: IPAddress) -> bytes:
    """Return the packet with another address at this place, and the checksums that cover it.

    The first fragment's TCP or UDP checksum is that of the whole packet: other fragments have none.
    """
    changed = ip[:at] + after.packed + ip[at + len(after.packed) :]
    changed = _with_header_checksum(packet, changed, before.packed, after.packed)
    return _with_transport_checksum(packet, changed, before.packed, after.packed)


def _with_port(packet: Packet, ip: bytes, at: int, port: int) -> bytes:
    """Return the packet with another port at this place of its TCP or UDP header, and its checksum."""
    if packet.fragmented is Fragmented.LATER:
        return ip
    place = packet.transport_offset + at
    before, after = ip[place : place + 2], (port % 2**16).to_bytes(2, "big")
    return _with_transport_checksum(packet, ip[:place] + after + ip[place + 2 :], before, after)


def _with_header_checksum(packet: Packet, ip: bytes, before: bytes, after: bytes) -> bytes:
    """Return the packet with the checksum of the IPv4 header after these words in it have changed."""
    if packet.version == 6:
        return ip
    return _updated(ip, HEADER_CHECKSUM_AT, before, after)


def _with_transport_checksum(packet: Packet, ip: bytes, before: bytes, after: bytes) -> bytes:
    """Return the packet with the checksum of TCP or UDP after these words that it covers have changed.

    RFC 768: "An all zero transmitted checksum value means that the transmitter generated no checksum", and "If the
    computed checksum is zero, it is transmitted as all ones".
    """
    if packet.fragmented is Fragmented.LATER:
        return ip
    at = packet.transport_offset + CHECKSUM_AT[packet.protocol]
    if packet.protocol == UDP and ip[at : at + 2] == bytes(2):
        return ip
    changed = _updated(ip, at, before, after)
    if packet.protocol == UDP and changed[at : at + 2] == bytes(2):
        return changed[:at] + b"\xff\xff" + changed[at + 2 :]
    return changed


def _updated(data: bytes, at: int, before: bytes, after: bytes) -> bytes:
    """Return `data` with the checksum at this place updated, word by word (RFC 1624)."""
    value = int.from_bytes(data[at : at + 2], "big")
    words = f"!{len(before) // 2}H"
    for old, new in zip(struct.unpack(words, before), struct.unpack(words, after), strict=True):
        value = checksum.updated_checksum(value, old, new)
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]
