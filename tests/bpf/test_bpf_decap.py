# SPDX-License-Identifier: Apache-2.0
"""What the backends' program makes of IPIP, of GUE and of everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

from tests.bpf import packets
from tests.bpf.decapsulator import ADDRESS, ADDRESS6, Decapsulator
from tests.bpf.tunnels import COMBINATIONS, host, tcp6, unwrapped, wrapped
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS

pytestmark = pytest.mark.root

INNER, INNER6 = packets.tcp("PA"), tcp6()
NOT_ECT, ECT1, ECT0, CE = range(4)
VIP6 = "2001:db8:f::10"


@dataclass(frozen=True)
class Row:
    """`out` is the frame that the stack sees, None where it is dropped."""

    shows: str
    frame: bytes
    out: bytes | None
    counted: str = "DECAP_UNWRAPPED"


def unwraps(shows: str, inner: bytes, **outer: Any) -> Row:
    """Return the row of a frame whose inner packet comes out as it went in."""
    frame = wrapped(inner, **outer)
    return Row(shows, frame, unwrapped(frame, inner))


def stays(shows: str, frame: bytes, counted: str) -> Row:
    """Return the row of a frame that is passed as it is."""
    return Row(shows, frame, frame, counted)


def martian(shows: str, inner: bytes, **outer: Any) -> Row:
    """Return the row of a frame whose inner packet must not come out."""
    return Row(f"martian: {shows}", wrapped(inner, **outer), None, "DECAP_DROP_MARTIAN")


def discovery(hops: int, *, extension: bool = False, **ip: object) -> bytes:
    """Return a neighbour advertisement to the VIP."""
    header = IPv6(src="2001:db8:c::7", dst=VIP6, hlim=hops, **ip)
    return packets.in_frame(header / IPv6ExtHdrHopByHop() / ICMPv6ND_NA() if extension else header / ICMPv6ND_NA())


def short(frame: bytes, count: int) -> bytes:
    """Return the frame without its last bytes."""
    return frame[:-count]


def gue_bytes(first: int, protocol: int = 4, flags: int = 0) -> bytes:
    """Return a tunnelled packet with these bytes for GUE's header."""
    frame = bytearray(wrapped(INNER, gue=0))
    frame[42:46] = bytes([first, protocol]) + flags.to_bytes(2, "big")
    return bytes(frame)


def with_bytes(frame: bytes, at: int, value: bytes) -> bytes:
    """Return the frame with other bytes at a place, and nothing else adapted."""
    return frame[:at] + value + frame[at + len(value) :]


ROWS4 = [
    unwraps("TCP", INNER),
    unwraps("UDP", packets.udp()),
    unwraps("ICMP", packets.icmp()),
    unwraps("a fragment inside a whole packet", packets.fragments()[1]),
    unwraps("an outer header with options", INNER, options=packets.ip_options(4)),
    unwraps("... with all the options there can be", INNER, options=packets.ip_options(40)),
    unwraps("... and GUE's header, the longest there is", INNER6, gue=0, options=packets.ip_options(40)),
    unwraps("an inner header with options", packets.tcp("PA", options=packets.ip_options(12))),
    unwraps("outer DF, id and TTL do not matter", INNER, flags="DF", id=7, ttl=1),
    unwraps("the outer DSCP is not taken over", packets.tcp("PA", tos=0x28), tos=0xB8),
    Row(
        "padding stays behind",
        wrapped(packets.tcp("A", payload=b"")) + bytes(6),
        unwrapped(INNER, packets.tcp("A", payload=b"")) + bytes(6),
    ),
    stays("not encapsulated", INNER, "DECAP_PASS_OTHER"),
    stays("ARP", packets.arp(), "DECAP_PASS_OTHER"),
    stays("a frame of Ethernet alone", INNER[:14], "DECAP_PASS_MALFORMED"),
    stays("a tunnel to another host", wrapped(INNER, to="10.0.1.99"), "DECAP_PASS_OTHER"),
    stays("the first fragment of an outer packet", wrapped(INNER, flags="MF"), "DECAP_PASS_FRAGMENT"),
    stays("the last fragment of an outer packet", wrapped(INNER, frag=8), "DECAP_PASS_FRAGMENT"),
    stays("an IP header cut short", wrapped(INNER)[:33], "DECAP_PASS_MALFORMED"),
    stays("no room for an inner header", wrapped(INNER)[: 14 + 20 + 19], "DECAP_PASS_MALFORMED"),
    stays("an outer length beyond the frame", packets.with_ip(wrapped(INNER), len=1000), "DECAP_PASS_MALFORMED"),
    stays(
        "an outer length that cuts the inner packet", packets.with_ip(wrapped(INNER), len=60), "DECAP_PASS_MALFORMED"
    ),
    stays("an outer header of 16 bytes", packets.with_ip(wrapped(INNER), ihl=4), "DECAP_PASS_MALFORMED"),
    stays("an outer version 6", packets.with_ip(wrapped(INNER), version=6), "DECAP_PASS_MALFORMED"),
    stays("an inner version 5", wrapped(packets.with_ip(INNER, version=5)), "DECAP_PASS_MALFORMED"),
    stays("IPv6 inside what says IPv4", packets.with_ip(wrapped(INNER6), proto=4), "DECAP_PASS_MALFORMED"),
    stays("IPv4 inside what says IPv6", packets.with_ip(wrapped(INNER), proto=41), "DECAP_PASS_MALFORMED"),
    stays("an inner header of 16 bytes", wrapped(packets.with_ip(INNER, ihl=4)), "DECAP_PASS_MALFORMED"),
    stays("an inner length beyond the outer one", wrapped(packets.with_ip(INNER, len=900)), "DECAP_PASS_MALFORMED"),
    stays("an inner length shorter than its header", wrapped(packets.with_ip(INNER, len=8)), "DECAP_PASS_MALFORMED"),
    *(
        martian(address, packets.tcp("PA", destination=address))
        for address in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.18", "239.1.1.1", "240.0.0.1", "255.255.255.255")
    ),
    *(
        unwraps(f"inside, for {address}", packets.tcp("PA", destination=address))
        for address in ("1.0.0.0", "126.255.255.255", "128.0.0.1", "223.255.255.255")
    ),
]

ROWS6 = [
    stays("IPv6, not encapsulated", INNER6, "DECAP_PASS_OTHER"),
    stays("a tunnel over IPv6 to another host", wrapped(INNER, to="2001:db8:1::4"), "DECAP_PASS_OTHER"),
    stays("one to the IPv4 address in IPv6's clothes", wrapped(INNER, to="::ffff:10.0.1.4"), "DECAP_PASS_OTHER"),
    stays("an outer header of IPv6 cut short", wrapped(INNER, to=ADDRESS6)[:53], "DECAP_PASS_MALFORMED"),
    stays("no room for an inner header of IPv6", wrapped(INNER6)[: 14 + 20 + 39], "DECAP_PASS_MALFORMED"),
    stays("a payload beyond the frame", short(wrapped(INNER, to=ADDRESS6), 1), "DECAP_PASS_MALFORMED"),
    stays("... of the packet inside", wrapped(with_bytes(INNER6, 18, b"\xff\xff")), "DECAP_PASS_MALFORMED"),
    stays("an inner packet of IPv6 cut short", short(wrapped(INNER6), 1), "DECAP_PASS_MALFORMED"),
    stays("an outer version 4", with_bytes(wrapped(INNER, to=ADDRESS6), 14, b"\x40"), "DECAP_PASS_MALFORMED"),
    stays(
        "a fragment of an outer packet",
        packets.in_frame(IPv6(dst=ADDRESS6) / IPv6ExtHdrFragment(m=1, nh=41) / Raw(INNER6[14:])),
        "DECAP_PASS_FRAGMENT",
    ),
    stays(
        "a tunnel behind an extension header",
        packets.in_frame(IPv6(dst=ADDRESS6) / IPv6ExtHdrHopByHop(nh=41) / Raw(INNER6[14:])),
        "DECAP_PASS_OTHER",
    ),
    unwraps("no payload inside", packets.in_frame(IPv6(src="2001:db8:c::7", dst=VIP6, nh=59))),
    unwraps("the DSCP of an outer header of IPv6 is not taken over", tcp6(tc=0x28), to=ADDRESS6, tos=0xB8),
    *(
        martian(address, tcp6(address))
        for address in ("::", "::1", "::ffff:192.0.2.1", "fe80::1", "febf::1", "ff02::1", "ff0e::1")
    ),
    martian("a link-local source", tcp6(source="fe80::7")),
    *(unwraps(f"inside, for {address}", tcp6(address)) for address in ("::2", "fec0::1", "fe7f::1", "64:ff9b::1")),
    martian("neighbour discovery", discovery(255)),
    martian("... behind an extension header", discovery(255, extension=True)),
    martian("... cut short", packets.in_frame(IPv6(src="2001:db8:c::7", dst=VIP6, hlim=255, nh=58))),
    unwraps("neighbour discovery that a router sent on, which no host heeds", discovery(254)),
    unwraps("a ping with as many hops", packets.in_frame(IPv6(dst=VIP6, hlim=255) / ICMPv6EchoRequest())),
    unwraps("TCP with as many hops", tcp6(hlim=255)),
]

ROWS_GUE = [
    stays("another UDP port", wrapped(INNER, gue=1, port=6081), "DECAP_PASS_OTHER"),
    stays("GUE to another host", wrapped(INNER, gue=1, to="10.0.1.99"), "DECAP_PASS_OTHER"),
    stays("GUE, a fragment", wrapped(INNER, gue=1, flags="MF"), "DECAP_PASS_FRAGMENT"),
    stays("UDP cut short", wrapped(INNER, gue=1)[:41], "DECAP_PASS_MALFORMED"),
    stays("UDP of nothing", with_bytes(wrapped(INNER, gue=1), 38, b"\x00\x08"), "DECAP_PASS_MALFORMED"),
    stays("UDP longer than IP", with_bytes(wrapped(INNER, gue=1), 38, b"\xff\xff"), "DECAP_PASS_MALFORMED"),
    stays("UDP that cuts the inner packet", with_bytes(wrapped(INNER, gue=1), 39, b"\x30"), "DECAP_PASS_MALFORMED"),
    stays("GUE's header cut short", wrapped(INNER, gue=0)[:45], "DECAP_PASS_MALFORMED"),
    stays("a control message", gue_bytes(0x20), "DECAP_PASS_MALFORMED"),
    stays("optional fields", gue_bytes(0x01, flags=0x8000), "DECAP_PASS_MALFORMED"),
    stays("flags", gue_bytes(0x00, flags=0x0001), "DECAP_PASS_MALFORMED"),
    stays("GUE of neither IPv4 nor IPv6", gue_bytes(0x00, protocol=47), "DECAP_PASS_MALFORMED"),
    stays("a version of GUE that is none", gue_bytes(0x80), "DECAP_PASS_MALFORMED"),
    stays("an IP version 5", with_bytes(wrapped(INNER, gue=1), 42, b"\x55"), "DECAP_PASS_MALFORMED"),
    martian("in GUE", packets.tcp("PA", destination="127.0.0.1"), gue=1),
]

# RFC 6040, figure 4: rows are the inner field, columns the outer one, in the order NOT_ECT, ECT0, ECT1, CE.
ECN_OUT: dict[int, dict[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}


def inside(version: int, tos: int = 0) -> bytes:
    """Return a packet of this version with this TOS or traffic class."""
    return packets.tcp("PA", tos=tos) if version == 4 else tcp6(tc=tos, fl=0xABCDE)


@pytest.mark.parametrize("row", [*ROWS4, *ROWS6, *ROWS_GUE], ids=lambda row: row.shows)
def test_frame(decapsulator: Decapsulator, row: Row) -> None:
    _check(decapsulator, row)


@pytest.mark.parametrize(("inner", "outer", "gue"), COMBINATIONS)
def test_every_combination(decapsulator: Decapsulator, inner: int, outer: int, gue: int | None) -> None:
    """... with padding, of a packet at the end of a cut frame, and to somebody else."""
    _check(decapsulator, unwraps("", inside(inner), to=host(outer), gue=gue))
    decapsulator.clear()
    other = {ADDRESS: "10.0.1.99", ADDRESS6: "2001:db8:1::99"}[host(outer)]
    _check(decapsulator, stays("", wrapped(inside(inner), to=other, gue=gue), "DECAP_PASS_OTHER"))
    decapsulator.clear()
    _check(decapsulator, stays("", short(wrapped(inside(inner), to=host(outer), gue=gue), 1), "DECAP_PASS_MALFORMED"))


@pytest.mark.parametrize("inner", ECN_OUT)
@pytest.mark.parametrize("outer", [NOT_ECT, ECT0, ECT1, CE])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_ecn(decapsulator: Decapsulator, inner: int, outer: int, combination: tuple[int, int, int | None]) -> None:
    """The inner checksum is right after the change (scapy computes the one expected), whatever the DSCP."""
    inner_version, outer_version, gue = combination
    result = ECN_OUT[inner][outer]
    for dscp in (0, 0x28, 0xFC):
        decapsulator.clear()
        frame = wrapped(inside(inner_version, dscp | inner), to=host(outer_version), gue=gue, tos=outer)
        if result is None:
            _check(decapsulator, Row("", frame, None, "DECAP_DROP_ECN"))
        else:
            _check(decapsulator, Row("", frame, unwrapped(frame, inside(inner_version, dscp | result))))


def test_ecn_with_every_checksum(decapsulator: Decapsulator) -> None:
    """One's complement has two zeros: the update (RFC 1624) gives what a whole computation gives."""
    for identification in range(0, 65536, 149):
        frame = wrapped(packets.tcp("A", tos=ECT0, id=identification), tos=CE)
        out = unwrapped(frame, packets.tcp("A", tos=CE, id=identification))
        assert decapsulator.send(frame).packet == out


def _check(decapsulator: Decapsulator, row: Row) -> None:
    result = decapsulator.send(row.frame)
    assert result.verdict == (XDP_DROP if row.out is None else XDP_PASS)
    if row.out is not None:
        assert result.packet == row.out
    assert decapsulator.counted() == {row.counted: 1}
