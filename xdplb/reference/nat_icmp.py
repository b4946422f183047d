# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about packets of NAT: what an error quotes is rewritten to what its receiver has sent.

RFC 3022, section 4.3: an error carries a part of the packet that it is about, and addresses and ports in there are
translated as well, with all checksums. RFC 5508, section 4.2, says the same of both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress

from .checksum import updated_words
from .icmp import ICMP_HEADER, quote_of
from .packet import UDP, Packet

__all__ = ["rewritten_message"]

ICMP_CHECKSUM_AT = 2
SOURCE_AT, DESTINATION_AT = {4: 12, 6: 8}, {4: 16, 6: 24}
SOURCE_PORT_AT, DESTINATION_PORT_AT = 0, 2
HEADER_CHECKSUM_AT = 10
TCP_CHECKSUM_AT, UDP_CHECKSUM_AT = 16, 6


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of an address and port in the quoted packet, and where they are."""

    before: IPAddress
    after: IPAddress
    shift: int
    address_at: int
    port_at: int


def rewritten_message(packet: Packet, backend: BackendEntry, *, to_backend: bool, with_outer: bool) -> bytes:
    """Return the ICMP message with what it quotes as its receiver knows it.

    A backend has sent the quoted packet to the client, from its own address and port; a client has sent it to the VIP.
    `with_outer` says whether the outer header has the same address and it is rewritten too: ICMPv6's checksum covers
    it (RFC 4443, section 2.3).
    """
    change = _change(packet.version, backend, to_backend=to_backend)
    header, transport = quote_of(packet)
    header = _replaced(header, change.address_at, change.before.packed)  # which it has: a backend has one VIP
    quote = _header(packet, header, change) + _transport(packet, transport, change)
    message = packet.payload[:ICMP_HEADER] + quote
    message = updated_words(message, ICMP_CHECKSUM_AT, header + transport, quote)
    if packet.version == 6 and with_outer:
        message = updated_words(message, ICMP_CHECKSUM_AT, change.before.packed, change.after.packed)
    return message


def _change(version: int, backend: BackendEntry, *, to_backend: bool) -> _Change:
    assert backend.nat is not None, "a NAT backend has what its packets are rewritten to"
    vip, shift = backend.nat.vip, backend.nat.shift
    if to_backend:
        return _Change(vip, backend.address, shift, SOURCE_AT[version], SOURCE_PORT_AT)
    return _Change(backend.address, vip, -shift, DESTINATION_AT[version], DESTINATION_PORT_AT)


def _header(packet: Packet, header: bytes, change: _Change) -> bytes:
    """Return the quoted IP header with its address rewritten, and IPv4's checksum."""
    before, after = change.before.packed, change.after.packed
    changed = _replaced(header, change.address_at, after)
    return changed if packet.version == 6 else updated_words(changed, HEADER_CHECKSUM_AT, before, after)


def _transport(packet: Packet, transport: bytes, change: _Change) -> bytes:
    """Return what is quoted of TCP or UDP with its port rewritten, and the checksum if that is quoted.

    RFC 792 has 8 bytes quoted: both ports, and UDP's checksum. TCP's is further on.
    """
    at = change.port_at
    before = transport[at : at + 2]
    after = ((int.from_bytes(before, "big") + change.shift) % 2**16).to_bytes(2, "big")
    changed = _replaced(transport, at, after)
    checksum_at = UDP_CHECKSUM_AT if packet.protocol == UDP else TCP_CHECKSUM_AT
    checksum = transport[checksum_at : checksum_at + 2]
    if len(checksum) < 2 or (packet.protocol == UDP and checksum == bytes(2)):
        return changed
    changed = updated_words(changed, checksum_at, change.before.packed + before, change.after.packed + after)
    if packet.protocol == UDP and changed[checksum_at : checksum_at + 2] == bytes(2):
        return _replaced(changed, checksum_at, b"\xff\xff")
    return changed


def _replaced(data: bytes, at: int, by: bytes) -> bytes:
    return data[:at] + by + data[at + len(by) :]
