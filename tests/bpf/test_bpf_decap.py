"""What the backends' program makes of IPIP and of everything else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.bpf import packets
from tests.bpf.decapsulator import ADDRESS, Decapsulator
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS

pytestmark = pytest.mark.root

INNER = packets.tcp("PA")
NOT_ECT, ECT1, ECT0, CE = range(4)


@dataclass(frozen=True)
class Row:
    """`out` is the frame that the stack sees, None where it is dropped."""

    shows: str
    frame: bytes
    out: bytes | None
    counted: str = "DECAP_UNWRAPPED"


def wrapped(inner: bytes = INNER, **outer: object) -> bytes:
    """Return `inner` in a tunnel to this host."""
    return packets.ipip(inner, destination=ADDRESS, **outer)


def unwraps(shows: str, inner: bytes, **outer: object) -> Row:
    """Return the row of a frame whose inner packet comes out as it went in."""
    frame = wrapped(inner, **outer)
    return Row(shows, frame, packets.with_inner(frame, inner))


def stays(shows: str, frame: bytes, counted: str) -> Row:
    """Return the row of a frame that is passed as it is."""
    return Row(shows, frame, frame, counted)


ROWS = [
    unwraps("TCP", INNER),
    unwraps("UDP", packets.udp()),
    unwraps("ICMP", packets.icmp()),
    unwraps("a fragment inside a whole packet", packets.fragments()[1]),
    unwraps("an outer header with options", INNER, options=packets.ip_options(4)),
    unwraps("... with all the options there can be", INNER, options=packets.ip_options(40)),
    unwraps("an inner header with options", packets.tcp("PA", options=packets.ip_options(12))),
    unwraps("outer DF, id and TTL do not matter", INNER, flags="DF", id=7, ttl=1),
    unwraps("the outer DSCP is not taken over", packets.tcp("PA", tos=0x28), tos=0xB8),
    Row(
        "padding stays behind",
        wrapped(packets.tcp("A", payload=b"")) + bytes(6),
        packets.with_inner(INNER, packets.tcp("A", payload=b"")) + bytes(6),
    ),
    stays("not encapsulated", INNER, "DECAP_PASS_OTHER"),
    stays("ARP", packets.arp(), "DECAP_PASS_OTHER"),
    stays("IPv6", packets.ipv6(), "DECAP_PASS_OTHER"),
    stays("a tunnel to another host", packets.ipip(INNER, destination="10.0.1.99"), "DECAP_PASS_OTHER"),
    stays("the first fragment of an outer packet", wrapped(flags="MF"), "DECAP_PASS_FRAGMENT"),
    stays("the last fragment of an outer packet", wrapped(frag=8), "DECAP_PASS_FRAGMENT"),
    stays("an IP header cut short", wrapped()[:33], "DECAP_PASS_MALFORMED"),
    stays("no room for an inner header", wrapped()[: 14 + 20 + 19], "DECAP_PASS_MALFORMED"),
    stays("an outer length beyond the frame", packets.with_ip(wrapped(), len=1000), "DECAP_PASS_MALFORMED"),
    stays("an outer length that cuts the inner packet", packets.with_ip(wrapped(), len=60), "DECAP_PASS_MALFORMED"),
    stays("an outer header of 16 bytes", packets.with_ip(wrapped(), ihl=4), "DECAP_PASS_MALFORMED"),
    stays("an outer version 6", packets.with_ip(wrapped(), version=6), "DECAP_PASS_MALFORMED"),
    stays("IPv6 inside", wrapped(packets.with_ip(INNER, version=6)), "DECAP_PASS_MALFORMED"),
    stays("an inner header of 16 bytes", wrapped(packets.with_ip(INNER, ihl=4)), "DECAP_PASS_MALFORMED"),
    stays("an inner length beyond the outer one", wrapped(packets.with_ip(INNER, len=900)), "DECAP_PASS_MALFORMED"),
    stays("an inner length shorter than its header", wrapped(packets.with_ip(INNER, len=8)), "DECAP_PASS_MALFORMED"),
    *(
        Row(f"inside, for {address}", wrapped(packets.tcp("PA", destination=address)), None, "DECAP_DROP_MARTIAN")
        for address in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.18", "239.1.1.1", "240.0.0.1", "255.255.255.255")
    ),
    *(
        unwraps(f"inside, for {address}", packets.tcp("PA", destination=address))
        for address in ("1.0.0.0", "126.255.255.255", "128.0.0.1", "223.255.255.255")
    ),
]

# RFC 6040, figure 4: rows are the inner field, columns the outer one, in the order NOT_ECT, ECT0, ECT1, CE.
ECN_OUT: dict[int, dict[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_frame(decapsulator: Decapsulator, row: Row) -> None:
    _check(decapsulator, row)


@pytest.mark.parametrize("inner", ECN_OUT)
@pytest.mark.parametrize("outer", [NOT_ECT, ECT0, ECT1, CE])
def test_ecn(decapsulator: Decapsulator, inner: int, outer: int) -> None:
    """The inner checksum is right after the change (scapy computes the one expected), with every DSCP."""
    result = ECN_OUT[inner][outer]
    for dscp in range(0, 256, 4):
        decapsulator.clear()
        frame = wrapped(packets.tcp("PA", tos=dscp | inner), tos=outer)
        if result is None:
            _check(decapsulator, Row("", frame, None, "DECAP_DROP_ECN"))
        else:
            out = packets.with_inner(frame, packets.tcp("PA", tos=dscp | result))
            _check(decapsulator, Row("", frame, out))


def test_ecn_with_every_checksum(decapsulator: Decapsulator) -> None:
    """One's complement has two zeros: the update (RFC 1624) gives what a whole computation gives."""
    for identification in range(0, 65536, 149):
        frame = wrapped(packets.tcp("A", tos=ECT0, id=identification), tos=CE)
        out = packets.with_inner(frame, packets.tcp("A", tos=CE, id=identification))
        assert decapsulator.send(frame).packet == out


def _check(decapsulator: Decapsulator, row: Row) -> None:
    result = decapsulator.send(row.frame)
    assert result.verdict == (XDP_DROP if row.out is None else XDP_PASS)
    if row.out is not None:
        assert result.packet == row.out
    assert decapsulator.counted() == {row.counted: 1}
