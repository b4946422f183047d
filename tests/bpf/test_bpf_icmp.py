# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about what a VIP has sent: each goes to the backend that has sent it, and all others to the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6Unknown,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import Balancer, Record, backend, slot
from tests.bpf.icmp_packets import about
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.layout import FLOW_ESTABLISHED, SLOT_PINNED
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.vip import Forward, Protocol

pytestmark = pytest.mark.root

VERSIONS = [4, 6]
ETHERNET, TOS, TTL, SOURCE, OPTIONS = 14, 1, 8, 12, 20
BACKENDS = 200
OWNER, PREVIOUS = 1, 2
ELSEWHERE = {4: "203.0.113.11", 6: "2001:db8:ffff::11"}
KINDS = [(version, name) for version in VERSIONS for name in icmp_packets.ERRORS[version]]


def error(version: int, **quoted: Any) -> bytes:
    """Return an error about a packet of the tests' flow, but for the fields given."""
    return about(version, icmp_packets.quoted(version, **quoted))


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


def spread(balancer: Balancer, *, forward: Forward = Forward.DR) -> None:
    """Give the slots to many backends in turn, so that another flow is on another backend."""
    owners = np.arange(TABLE_SIZE, dtype=np.uint32) % BACKENDS + 1
    balancer.set_up(owners, [backend(number, forward=forward) for number in range(1, BACKENDS + 1)])


def client_packet(version: int, protocol: str, source_port: int) -> bytes:
    """Return what the client sends in the flow that an error is about."""
    headers = icmp_packets.internet_layer(version)
    transport = icmp_packets.transport_layer(protocol, source_port, packets.VIP_PORT)
    return packets.in_frame(headers / transport / Raw(b"data"))


@pytest.mark.parametrize("length", [8, None])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("version", "name"), KINDS)
def test_goes_where_its_flow_goes(
    balancer: Balancer, version: int, name: str, protocol: str, length: int | None
) -> None:
    """The whole frame, also where no more than 8 bytes of TCP are quoted, and nothing is changed in it but the MACs."""
    spread(balancer)
    seen = set()
    for port in range(2000, 2040):
        macs = balancer.send(client_packet(version, protocol, port)).packet[:12]
        quote = icmp_packets.quoted(version, protocol=protocol, length=length, port=port)
        frame = icmp_packets.error(version, icmp_packets.ERRORS[version][name], quote)
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_TX, macs + frame[12:])
        seen.add(macs)
    assert len(seen) > 30


def cut(offset: int, length: int = 8) -> bytes:
    """Return what a router quotes of a datagram that its sender has cut: `length` bytes behind the fragment header."""
    client, vip = icmp_packets.addresses(6)
    header = icmp_packets.internet_layer(6, src=vip, dst=client) / IPv6ExtHdrFragment(offset=offset, m=1, id=7)
    transport = icmp_packets.transport_layer("udp", packets.VIP_PORT, packets.CLIENT_PORT)
    return bytes(header / transport / Raw(bytes(100)))[: 48 + length]


def test_about_a_datagram_that_was_cut_goes_where_its_flow_goes(balancer: Balancer) -> None:
    """IPv6 is cut by its sender alone, who must hear that the pieces still are too big. The first one has the ports."""
    spread(balancer)
    too_big = icmp_packets.ERRORS[6]["packet too big"]
    macs = balancer.send(client_packet(6, "udp", packets.CLIENT_PORT)).packet[:12]
    frame = icmp_packets.error(6, too_big, cut(offset=0))
    assert balancer.send(frame).packet == macs + frame[12:]
    for quote in (cut(offset=1), cut(offset=0, length=7), cut(offset=0, length=-1)):
        frame = icmp_packets.error(6, too_big, quote)
        assert balancer.send(frame).verdict == XDP_PASS
    assert stopped(balancer) == {"pass_not_tcp_udp": 3}


def chain(*kinds: type[Packet]) -> list[Packet]:
    """Return extension headers of these kinds."""
    return [kind() for kind in kinds]


LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))])
QUOTED_CHAINS: dict[str, list[Packet]] = {
    "destination options": chain(IPv6ExtHdrDestOpt),
    "hop-by-hop options": chain(IPv6ExtHdrHopByHop),
    "a routing header that has arrived": [IPv6ExtHdrRouting(segleft=0, addresses=["2001:db8:ff::1"])],
    "an atomic fragment": [IPv6ExtHdrFragment(id=7)],
    "a first fragment": [IPv6ExtHdrFragment(id=7, m=1)],
    "a first fragment behind options": [IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(id=7, m=1)],
    "options in a first fragment": [IPv6ExtHdrFragment(id=7, m=1), IPv6ExtHdrDestOpt()],
    "long options": [LONG],
    "all of them": [IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(segleft=0), LONG, IPv6ExtHdrFragment(id=7, m=1)],
    "six": chain(IPv6ExtHdrHopByHop, *[IPv6ExtHdrDestOpt] * 5),
}
NOT_FOUND: dict[str, list[Packet]] = {
    "seven": [IPv6ExtHdrDestOpt() for _ in range(7)],
    "a later fragment": [IPv6ExtHdrFragment(id=7, offset=1)],
    "a later fragment behind options": [IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(id=7, offset=1)],
    "a routing header with segments left": [IPv6ExtHdrRouting(segleft=1, addresses=["2001:db8:ff::1"])],
    "hop-by-hop options out of place": chain(IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop),
}


def behind(extensions: list[Packet], protocol: str, length: int = 8) -> bytes:
    """Return what a router quotes of a packet of the VIP with extension headers, and `length` bytes behind them."""
    client, vip = icmp_packets.addresses(6)
    headers = icmp_packets.internet_layer(6, src=vip, dst=client)
    for extension in extensions:
        headers = headers / extension
    transport = icmp_packets.transport_layer(protocol, packets.VIP_PORT, packets.CLIENT_PORT) / Raw(bytes(40))
    whole = bytes(headers / transport)
    return whole[: len(whole) - len(transport) + length]


@pytest.mark.parametrize("kind", icmp_packets.ERRORS[6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("name", QUOTED_CHAINS)
def test_the_flow_is_found_behind_quoted_extension_headers(
    balancer: Balancer, name: str, protocol: str, kind: str
) -> None:
    """Path MTU discovery needs it. Of the transport, 8 bytes are enough; with fewer, it is the host's."""
    spread(balancer)
    macs = balancer.send(client_packet(6, protocol, packets.CLIENT_PORT)).packet[:12]
    frame = icmp_packets.error(6, icmp_packets.ERRORS[6][kind], behind(QUOTED_CHAINS[name], protocol))
    assert balancer.send(frame).packet == macs + frame[12:]
    for length in (7, 0, -1, -8):
        cut_off = behind(QUOTED_CHAINS[name], protocol, length)
        assert balancer.send(icmp_packets.error(6, icmp_packets.ERRORS[6][kind], cut_off)).verdict == XDP_PASS


@pytest.mark.parametrize("name", NOT_FOUND)
def test_behind_others_it_is_not(balancer: Balancer, name: str) -> None:
    spread(balancer)
    frame = icmp_packets.error(6, icmp_packets.ERRORS[6]["packet too big"], behind(NOT_FOUND[name], "tcp"))
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_PASS, frame)
    assert stopped(balancer) == {"pass_not_tcp_udp": 1}


def test_the_smallest_one_behind_options(balancer: Balancer) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    frame = bytes.fromhex(
        "02000000010202000000010186dd6000000000403a4020010db8000c0000000000000000000720010db8000f0000000000000000"
        "001002000157000005006000000000103c4020010db8000f0000000000000000001020010db8000c0000000000000000000706000104"
        "0000000000509c4000000001"
    )
    assert balancer.send(frame).packet == packets.through_dr(frame, OWNER)


@pytest.mark.parametrize("version", VERSIONS)
def test_is_counted_but_opens_nothing(balancer: Balancer, version: int) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)], track_always=True)
    frame = error(version)
    assert balancer.send(frame).verdict == XDP_TX
    counters = balancer.plane.counters()
    assert (counters.backends[OWNER].packets, counters.backends[OWNER].bytes) == (1, len(frame))
    (vip,) = [vip for vip in counters.vips.values() if vip.packets]
    assert (vip.packets, vip.bytes, vip.new_flows, vip.at_risk, vip.records) == (1, len(frame), 0, 0, 0)
    assert balancer.plane.flow_count() == 0
    assert stopped(balancer) == {}


def test_goes_through_a_tunnel_with_its_own_tos(balancer: Balancer) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER, forward=Forward.IPIP)])
    quote = icmp_packets.quoted(4)
    frame = icmp_packets.error(4, ICMP(type=3, code=4, nexthopmtu=1400), quote, tos=0xC0)
    assert balancer.send(frame).packet == packets.through_ipip(frame, OWNER)


@pytest.mark.parametrize("value", [slot(OWNER, PREVIOUS), slot(OWNER, SLOT_PINNED)])
def test_goes_by_the_record_of_its_flow(balancer: Balancer, value: int) -> None:
    """As a packet of the flow would; but the record is not touched by it."""
    balancer.set_up(value, [backend(OWNER), backend(PREVIOUS), backend(3)])
    record = Record(3, FLOW_ESTABLISHED, age=20)
    balancer.write_record(Protocol.TCP, record)
    frame = error(4)
    assert balancer.send(frame).packet == packets.through_dr(frame, 3)
    assert balancer.record(Protocol.TCP) == record


@dataclass(frozen=True)
class Old:
    """What an old packet of a flow would be sent to, and so an error about it."""

    shows: str
    slots: int
    protocol: str
    goes_to: int
    previous_is_usable: bool = True


OLD = [
    Old("a moving slot", slot(OWNER, PREVIOUS), "tcp", PREVIOUS),
    Old("a moving slot whose previous owner is down", slot(OWNER, PREVIOUS), "tcp", OWNER, previous_is_usable=False),
    Old("UDP, which moves with its slot", slot(OWNER, PREVIOUS), "udp", OWNER),
    Old("a pinned slot", slot(OWNER, SLOT_PINNED), "tcp", OWNER),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("old", OLD, ids=lambda old: old.shows)
def test_goes_where_an_old_packet_goes(balancer: Balancer, old: Old, version: int) -> None:
    balancer.set_up(old.slots, [backend(OWNER), backend(PREVIOUS, usable=old.previous_is_usable)])
    frame = error(version, protocol=old.protocol)
    assert balancer.send(frame).packet == packets.through_dr(frame, old.goes_to)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backend_that_is_down_is_not_sent_to(balancer: Balancer, version: int) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER, usable=False)])
    balancer.send(error(version))
    assert stopped(balancer) == {"drop_backend_down": 1}


@pytest.mark.parametrize(("version", "field"), [(4, "ttl"), (6, "hlim")])
def test_an_error_must_be_fit_to_be_sent_on(balancer: Balancer, version: int, field: str) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    for hops, verdict in ((0, XDP_DROP), (1, XDP_DROP), (2, XDP_TX)):
        assert balancer.send(about(version, icmp_packets.quoted(version), **{field: hops})).verdict == verdict
    assert stopped(balancer) == {"drop_ttl": 2}


@pytest.mark.parametrize("count", [0, 8, 40])
def test_an_error_whose_header_was_damaged(balancer: Balancer, count: int) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    right = about(4, icmp_packets.quoted(4), options=packets.ip_options(count))
    assert balancer.send(right).verdict == XDP_TX
    places = [TOS, TTL, SOURCE, *([OPTIONS] if count else [])]
    for at in places:
        damaged = bytearray(right)
        damaged[ETHERNET + at] ^= 0x10
        assert balancer.send(bytes(damaged)).verdict == XDP_DROP
    assert stopped(balancer) == {"drop_bad_checksum": len(places)}


@pytest.mark.parametrize("tags", [[5], [5, 6]])
@pytest.mark.parametrize("version", VERSIONS)
def test_tagged(balancer: Balancer, version: int, tags: list[int]) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    assert balancer.send(icmp_packets.tagged(error(version), tags)).verdict == XDP_TX


def test_options_in_the_quoted_header(balancer: Balancer) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    for count in (4, 40):
        frame = error(4, options=packets.ip_options(count))
        assert balancer.send(frame).packet == packets.through_dr(frame, OWNER)


def test_the_first_fragment_quoted(balancer: Balancer) -> None:
    """It has the ports."""
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    frame = error(4, flags="MF")
    assert balancer.send(frame).packet == packets.through_dr(frame, OWNER)


@dataclass(frozen=True)
class Row:
    """An ICMP packet that is the host's."""

    shows: str
    frame: bytes


def rows_of(version: int) -> list[Row]:
    """Return what is the host's in both families."""
    whole = icmp_packets.quoted(version)
    other = icmp_packets.quoted(10 - version)
    cut = len(whole) - 8
    return [
        Row("about another port", error(version, vip_port=81)),
        Row("7 bytes of TCP quoted", error(version, length=7)),
        Row("nothing but the IP header quoted", error(version, length=0)),
        Row("less than an IP header quoted", about(version, whole[: cut - 1])),
        Row("nothing quoted", about(version, b"")),
        Row("the other version of IP quoted", about(version, other)),
        Row("about another address", about(version, icmp_packets.quoted(version, src=ELSEWHERE[version]))),
        Row("to another address than it is about", about(version, whole, dst=ELSEWHERE[version])),
        Row(
            "to and about another address",
            about(version, icmp_packets.quoted(version, src=ELSEWHERE[version]), dst=ELSEWHERE[version]),
        ),
        Row("about what the client sent", about(version, icmp_packets.quoted_of_client(version))),
    ]


ROWS4 = [
    *rows_of(4),
    Row("a later fragment quoted", error(4, frag=1)),
    Row("a quoted header of 16 bytes", error(4, ihl=4)),
    Row("options quoted, and less than 8 bytes behind them", error(4, options=packets.ip_options(8), length=7)),
    Row("another protocol quoted", error(4, proto=132)),
    Row("ICMP quoted", error(4, proto=1)),
    Row("a fragment itself", about(4, icmp_packets.quoted(4), flags="MF")),
    Row("the quote behind the IP length", packets.with_ip(error(4), len=20 + 8 + 20 + 7)),
    *(
        Row(f"ICMP type {number}", icmp_packets.error(4, ICMP(type=number), icmp_packets.quoted(4)))
        for number in (0, 4, 5, 9, 13, 17, 40, 255)
    ),
]

ROWS6 = [
    *rows_of(6),
    Row("another protocol quoted", error(6, nh=132)),
    Row("an extension header quoted, which is longer than the quote", error(6, nh=60)),
    Row("a neighbour solicitation", icmp_packets.error(6, ICMPv6ND_NS(tgt=packets.VIP6), b"")),
    *(
        Row(f"ICMPv6 type {number}", icmp_packets.error(6, ICMPv6Unknown(type=number), icmp_packets.quoted(6)))
        for number in (0, 5, 100, 127, 129, 255)
    ),
]


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"IPv{4 if row in ROWS4 else 6}: {row.shows}") for row in [*ROWS4, *ROWS6]]
)
def test_is_the_hosts(balancer: Balancer, row: Row) -> None:
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    result = balancer.send(row.frame)
    assert (result.verdict, result.packet) == (XDP_PASS, row.frame)
    assert stopped(balancer) == {"pass_not_tcp_udp": 1}
