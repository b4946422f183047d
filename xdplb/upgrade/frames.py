# SPDX-License-Identifier: Apache-2.0
"""Frames that a program is tried with: of one flow, ordinary and odd ones, each with what it is in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdplb.dataplane.remembered import FlowId
from xdplb.model.address import IPAddress
from xdplb.reference.checksum import internet_checksum
from xdplb.reference.packet import ICMP, ICMPV6, TCP, UDP, TcpFlag

__all__ = ["Sample", "arp", "datagram", "odd_ones", "of_flow", "segment"]

_TO, _FROM = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_MORE_FRAGMENTS, _DONT_FRAGMENT = 0x2000, 0x4000
_FRAGMENT, _HOP_BY_HOP, _ROUTING = 44, 0, 43
_FULL = 1514 - 14 - 20 - 20
_GRE = 47


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame to try; `words` says what it is, and where it is from."""

    frame: bytes
    words: str


def segment(flow: FlowId, flags: int, payload: bytes = b"") -> bytes:
    """Return a TCP segment."""
    ports = flow.source_port.to_bytes(2, "big") + flow.destination_port.to_bytes(2, "big")
    return ports + bytes(8) + bytes([5 << 4, flags]) + b"\xff\xff" + bytes(4) + payload


def datagram(flow: FlowId, payload: bytes = b"") -> bytes:
    """Return a UDP datagram."""
    ports = flow.source_port.to_bytes(2, "big") + flow.destination_port.to_bytes(2, "big")
    return ports + (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload


def of_flow(flow: FlowId, origin: str) -> Iterator[Sample]:
    """Yield ordinary packets of a flow, its first one first."""
    if flow.protocol == TCP:
        for name, flags in (
            ("SYN", TcpFlag.SYN),
            ("ACK", TcpFlag.ACK),
            ("FIN", TcpFlag.FIN | TcpFlag.ACK),
            ("RST", TcpFlag.RST),
        ):
            yield _sample(flow, name, _frame(flow, segment(flow, flags, b"data" if name == "ACK" else b"")), origin)
    else:
        for size in (0, 32, 600):
            yield _sample(flow, f"{size} bytes of", _frame(flow, datagram(flow, bytes(size))), origin)


def odd_ones(flow: FlowId, origin: str) -> Iterator[Sample]:
    """Yield packets of a flow that are checked, answered, passed or dropped for some reason of their own."""
    transport = segment(flow, TcpFlag.ACK, b"data") if flow.protocol == TCP else datagram(flow, b"data")
    for words, frame in _of_any_family(flow, transport):
        yield _sample(flow, words, frame, origin)
    of_family = _of_ipv4(flow, transport) if flow.source.version == 4 else _of_ipv6(flow, transport)
    for words, frame in of_family:
        yield _sample(flow, words, frame, origin)


def arp() -> Sample:
    """Return a frame that is not IP."""
    return Sample(_TO + _FROM + b"\x08\x06" + bytes(46), "ARP")


def _of_any_family(flow: FlowId, transport: bytes) -> Iterator[tuple[str, bytes]]:
    plain = _frame(flow, transport)
    if flow.protocol == TCP:
        for flags in (0, TcpFlag.SYN | TcpFlag.FIN, TcpFlag.SYN | TcpFlag.RST, TcpFlag.ALL):
            yield f"TCP flags {flags:#04x},", _frame(flow, segment(flow, flags))
        yield "a full segment of", _frame(flow, segment(flow, TcpFlag.ACK, bytes(_FULL)))
    yield "truncated,", plain[:-6]
    yield "truncated in the IP header,", plain[:24]
    yield "to a broadcast MAC,", b"\xff" * 6 + plain[6:]
    yield "with a VLAN tag,", plain[:12] + b"\x81\x00\x00\x07" + plain[12:]
    yield "padded,", plain + bytes(12)
    other = FlowId(flow.source, flow.source_port, flow.destination, flow.destination_port ^ 0x4001, flow.protocol)
    yield "to another port than", _frame(other, segment(other, TcpFlag.SYN) if flow.protocol == TCP else transport)
    land = FlowId(flow.destination, flow.source_port, flow.destination, flow.destination_port, flow.protocol)
    yield "from the VIP itself, like", _frame(land, transport)


def _of_ipv4(flow: FlowId, transport: bytes) -> Iterator[tuple[str, bytes]]:
    turned = FlowId(flow.destination, flow.destination_port, flow.source, flow.source_port, flow.protocol)
    quoted = _ipv4(turned, segment(turned, TcpFlag.ACK) if flow.protocol == TCP else datagram(turned))[:28]
    for kind, code in ((3, 4), (3, 1), (11, 0)):
        body = bytes([kind, code, 0, 0, 0, 0, 5, 0]) + quoted
        yield f"ICMP error {kind}/{code} about", _ethernet(4, _ipv4(flow, _summed(body), protocol=ICMP))
    ping = _ethernet(4, _ipv4(flow, _summed(b"\x08\0\0\0\0\x01\0\x01" + bytes(24)), protocol=ICMP))
    yield "a ping like", ping
    yield "a ping from a MAC that cannot be answered, like", ping[:6] + b"\xff" * 6 + ping[12:]
    yield "GRE instead of", _ethernet(4, _ipv4(flow, transport, protocol=_GRE))
    for ttl in (0, 1):
        yield f"with TTL {ttl},", _ethernet(4, _ipv4(flow, transport, ttl=ttl))
    yield "with a wrong header checksum,", _ethernet(4, _ipv4(flow, transport, wrong_sum=True))
    yield "with a total length that is too long,", _ethernet(4, _ipv4(flow, transport, longer=40))
    yield "with a record route option,", _ethernet(4, _ipv4(flow, transport, options=b"\x07\x07\x04" + bytes(5)))
    yield "with a source route,", _ethernet(4, _ipv4(flow, transport, options=b"\x83\x07\x04" + bytes(5)))
    number = flow.source_port
    yield "the first fragment of", _ethernet(4, _ipv4(flow, transport + bytes(44), cut=_MORE_FRAGMENTS, number=number))
    yield "a later fragment of", _ethernet(4, _ipv4(flow, bytes(40), cut=9, number=number))
    yield "a fragment without its first one, of", _ethernet(4, _ipv4(flow, bytes(40), cut=9, number=number ^ 1))
    yield "a fragment in the TCP header of", _ethernet(4, _ipv4(flow, bytes(40), cut=1, number=number))
    martian = FlowId(type(flow.source)("127.0.0.1"), flow.source_port, *_to(flow))
    yield "from a martian source, like", _frame(martian, transport)


def _of_ipv6(flow: FlowId, transport: bytes) -> Iterator[tuple[str, bytes]]:
    turned = FlowId(flow.destination, flow.destination_port, flow.source, flow.source_port, flow.protocol)
    quoted = _ipv6(turned, segment(turned, TcpFlag.ACK) if flow.protocol == TCP else datagram(turned))[:60]
    for kind, code in ((2, 0), (1, 3), (3, 0)):
        body = bytes([kind, code, 0, 0, 0, 0, 5, 0]) + quoted
        yield f"ICMPv6 error {kind}/{code} about", _ethernet(6, _ipv6(flow, body, protocol=ICMPV6))
    yield "a ping like", _ethernet(6, _ipv6(flow, b"\x80\0\0\0\0\x01\0\x01" + bytes(24), protocol=ICMPV6))
    for hops in (0, 1):
        yield f"with hop limit {hops},", _ethernet(6, _ipv6(flow, transport, ttl=hops))
    yield "with a payload length that is too long,", _ethernet(6, _ipv6(flow, transport, longer=40))
    proper = bytes([flow.protocol, 0, 1, 4, 0, 0, 0, 0])
    yield "with hop-by-hop options,", _ethernet(6, _ipv6(flow, proper + transport, protocol=_HOP_BY_HOP))
    yield (
        "with hop-by-hop options twice,",
        _ethernet(6, _ipv6(flow, bytes([_HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0]) + proper + transport, protocol=_HOP_BY_HOP)),
    )
    routing = bytes([flow.protocol, 0, 4, 1, 0, 0, 0, 0])
    yield "with a routing header,", _ethernet(6, _ipv6(flow, routing + transport, protocol=_ROUTING))
    number = flow.source_port.to_bytes(4, "big")
    for words, offset in (("the first fragment of", 1), ("a later fragment of", 72), ("a last fragment of", 8)):
        header = bytes([flow.protocol, 0]) + offset.to_bytes(2, "big") + number
        body = transport + bytes(44) if offset == 1 else bytes(40)
        yield words, _ethernet(6, _ipv6(flow, header + body, protocol=_FRAGMENT))
    martian = FlowId(type(flow.source)("::1"), flow.source_port, *_to(flow))
    yield "from a martian source, like", _frame(martian, transport)


def _to(flow: FlowId) -> tuple[IPAddress, int, int]:
    return flow.destination, flow.destination_port, flow.protocol


def _sample(flow: FlowId, what: str, frame: bytes, origin: str) -> Sample:
    return Sample(frame, f"{what} {_words(flow)} ({origin}, {len(frame)} bytes)")


def _words(flow: FlowId) -> str:
    protocol = {TCP: "TCP", UDP: "UDP"}.get(flow.protocol, f"protocol {flow.protocol}")
    source, destination = (
        f"[{address}]" if address.version == 6 else str(address) for address in (flow.source, flow.destination)
    )
    return f"{protocol} {source}:{flow.source_port} to {destination}:{flow.destination_port}"


def _frame(flow: FlowId, transport: bytes) -> bytes:
    version = flow.destination.version
    return _ethernet(version, _ipv4(flow, transport) if version == 4 else _ipv6(flow, transport))


def _ethernet(version: int, packet: bytes) -> bytes:
    return _TO + _FROM + _ETHERTYPES[version] + packet


def _ipv4(
    flow: FlowId,
    payload: bytes,
    *,
    protocol: int | None = None,
    ttl: int | None = None,
    options: bytes = b"",
    cut: int = _DONT_FRAGMENT,
    number: int = 0,
    longer: int = 0,
    wrong_sum: bool = False,
) -> bytes:
    """Return an IPv4 packet. `cut` is the field of flags and fragment offset, `longer` what its length claims more."""
    words = 5 + len(options) // 4
    total = words * 4 + len(payload) + longer
    kind = flow.protocol if protocol is None else protocol
    header = bytes([0x40 | words, 0]) + b"".join(each.to_bytes(2, "big") for each in (total, number, cut))
    header += (
        bytes([_hops_left(flow) if ttl is None else ttl, kind, 0, 0])
        + flow.source.packed
        + flow.destination.packed
        + options
    )
    checksum = internet_checksum(header) ^ wrong_sum
    return header[:10] + checksum.to_bytes(2, "big") + header[12:] + payload


def _ipv6(
    flow: FlowId, payload: bytes, *, protocol: int | None = None, ttl: int | None = None, longer: int = 0
) -> bytes:
    """Return an IPv6 packet; `protocol` is its next header."""
    kind = flow.protocol if protocol is None else protocol
    header = (
        b"\x60\0\0\0"
        + (len(payload) + longer).to_bytes(2, "big")
        + bytes([kind, _hops_left(flow) if ttl is None else ttl])
    )
    return header + flow.source.packed + flow.destination.packed + payload


def _hops_left(flow: FlowId) -> int:
    """Return a TTL as routers leave it."""
    return 33 + flow.source_port % 32


def _summed(message: bytes) -> bytes:
    """Return an ICMP message with its checksum."""
    return message[:2] + internet_checksum(message).to_bytes(2, "big") + message[4:]
