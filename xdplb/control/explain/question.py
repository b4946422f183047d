# SPDX-License-Identifier: Apache-2.0
"""The packet that a question is about: from the user's text to a frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from xdplb.control.answers.packet_words import check_client_family
from xdplb.control.edits.find import find_key
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.remembered import FlowId
from xdplb.model.address import IPAddress, parse_address, parse_port
from xdplb.model.errors import InvalidError
from xdplb.model.key import VipKey
from xdplb.reference.checksum import internet_checksum

__all__ = ["PacketKind", "Question", "frame_of", "question"]

CLIENT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([^:]*)")

TCP = 6
SYN, ACK = 0x02, 0x10
TTL = 64
IPV4_DF = b"\x40\x00"
MACS = bytes.fromhex("020000000002 020000000001")


class PacketKind(StrEnum):
    """Which packet of its flow is meant."""

    SYN = "syn"  # opens a connection
    ESTABLISHED = "established"  # of an open connection: an ACK
    DATAGRAM = "datagram"  # any UDP packet


@dataclass(frozen=True, slots=True)
class Question:
    """A packet: its flow, and its kind."""

    flow: FlowId
    kind: PacketKind

    @property
    def destination(self) -> VipKey:
        """The destination, written as a VIP with one address and port."""
        protocol = "tcp" if self.flow.protocol == TCP else "udp"
        address = f"[{self.flow.destination}]" if self.flow.destination.version == 6 else str(self.flow.destination)
        return VipKey.parse(f"{address}:{self.flow.destination_port}/{protocol}")


def question(snapshot: Snapshot, client: str, vip: str, packet: PacketKind | None) -> Question:
    """Return the packet from `client` (address and port) to `vip`.

    `vip` names a VIP that has one address and port, or spells out any address, port and protocol. Raises InvalidError
    if either is malformed, NotFoundError if `vip` is neither.
    """
    source, port = _client(client)
    to = _destination(snapshot, vip)
    check_client_family(source.version, to)
    protocol = to.protocol.numbers[0]
    kind = packet or (PacketKind.SYN if protocol == TCP else PacketKind.DATAGRAM)
    if (kind is PacketKind.DATAGRAM) is (protocol == TCP):
        raise InvalidError.field("/query/packet", f"a packet to {to} cannot be {kind}", hint="omit packet")
    return Question(FlowId(source, port, to.address, to.port, protocol), kind)


def frame_of(question: Question) -> bytes:
    """Return the packet in an untagged frame. The TCP or UDP checksum is 0, since nothing reads it."""
    flow = question.flow
    ports = flow.source_port.to_bytes(2, "big") + flow.destination_port.to_bytes(2, "big")
    if flow.protocol == TCP:
        flags = SYN if question.kind is PacketKind.SYN else ACK
        transport = ports + bytes(8) + bytes([5 << 4, flags]) + b"\xff\xff" + bytes(4)
    else:
        transport = ports + (8).to_bytes(2, "big") + bytes(2)
    addresses = flow.source.packed + flow.destination.packed
    if flow.source.version == 6:
        length = len(transport).to_bytes(2, "big")
        return MACS + b"\x86\xdd\x60\0\0\0" + length + bytes([flow.protocol, TTL]) + addresses + transport
    total = (20 + len(transport)).to_bytes(2, "big")
    header = b"\x45\0" + total + bytes(2) + IPV4_DF + bytes([TTL, flow.protocol, 0, 0]) + addresses
    header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
    return MACS + b"\x08\0" + header + transport


def _client(text: str) -> tuple[IPAddress, int]:
    match = CLIENT.fullmatch(text)
    if match is None:
        raise InvalidError.field(
            "/query/client",
            f"{text!r} is not a client's address and port",
            hint="write it like 192.0.2.7:40000 or [2001:db8::9]:40000",
        )
    port = parse_port(match[3], "/query/client")
    if port == 0:
        raise InvalidError.field("/query/client", "no client has port 0", hint="use a port from 1 to 65535")
    return parse_address(match[1] or match[2], "/query/client"), port


def _destination(snapshot: Snapshot, ref: str) -> VipKey:
    """Return the destination: the VIP named `ref`, or what `ref` spells out (as TCP for a VIP of tcp+udp)."""
    named = snapshot.desired.places.names.get(ref)
    try:
        key = named or VipKey.parse(ref)
    except InvalidError:  # in its form, or in a part
        key = find_key(snapshot.desired, ref, "/query/vip")  # raises NotFoundError, which suggests the closest match
    if not key.is_exact:
        raise InvalidError.field(
            "/query/vip",
            f"{key} has several addresses or ports; a packet goes to only one of them",
            hint=f"name one, such as {_one_of(key)}",
        )
    return key


def _one_of(key: VipKey) -> str:
    address = key.address if key.is_one_address else next(iter(key.network.hosts()), key.address)
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{key.ports[0]}/{'udp' if key.protocol == 'udp' else 'tcp'}"
