# SPDX-License-Identifier: Apache-2.0
"""Which ICMP errors are read, and what they say; and that the socket's filter keeps just those about tunnels."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Packet, Raw

from xdplb.net.icmp_filter import attach_filter
from xdplb.net.icmp_message import ErrorKind, IcmpError, Quote, read_error

SMALLEST = bytes.fromhex(
    "4500003800070000400165c00a0000fe0a0000010304b26700000578450005dc00070000400460150a0000010a0001024500001c00000000"
)
"""A router's "fragmentation needed" that quotes 28 bytes, as RFC 792 has it."""

US, BACKEND, ROUTER = (
    {4: "10.0.0.1", 6: "2001:db8::2"},
    {4: "10.0.1.2", 6: "2001:db8:1::2"},
    {4: "10.0.0.254", 6: "fe80::9"},
)
INNER = {4: IP(src="192.0.2.7", dst="203.0.113.10") / TCP(), 6: IPv6(src="2001:db8:c::7", dst="2001:db8:f::10") / TCP()}
DATA = Raw(bytes(1000))


def outer(version: int, **fields: object) -> Packet:
    """Return our outer header, and behind it what scapy writes for `fields`."""
    return (IP if version == 4 else IPv6)(src=US[version], dst=BACKEND[version], **fields)


def quoted(version: int, inner: int, *, gue: bool = False) -> Packet:
    """Return a packet in a tunnel."""
    if gue:
        return outer(version) / UDP(sport=0xC123, dport=6080, chksum=0) / Raw(bytes(INNER[inner] / DATA))
    return outer(version) / INNER[inner] / DATA


def told(version: int, message: Packet, about: Packet, *, cut: int = 500, **fields: object) -> bytes:
    """Return a router's message about a packet, of which `cut` bytes are quoted."""
    ip = (IP if version == 4 else IPv6)(**{"src": ROUTER[version], "dst": US[version], **fields})
    return bytes(ip / message / Raw(bytes(about)[:cut]))


FRAGMENTATION_NEEDED = ICMP(type=3, code=4, nexthopmtu=1300)
TOO_BIG = {4: FRAGMENTATION_NEEDED, 6: ICMPv6PacketTooBig(mtu=1300)}

PAIRS = [(version, inner, gue) for version in (4, 6) for inner in (4, 6) for gue in (False, True)]


def read(data: bytes) -> IcmpError:
    error = read_error(data)
    assert error is not None
    return error


def test_the_smallest_is_read() -> None:
    assert read(SMALLEST) == IcmpError(
        ip_address("10.0.0.254"),
        ErrorKind.TOO_BIG,
        4,
        Quote(ip_address("10.0.0.1"), ip_address("10.0.1.2"), length=1500, protocol=4),
        mtu=1400,
    )


@pytest.mark.parametrize(("version", "inner", "gue"), PAIRS)
def test_every_tunnel_is_read(version: int, inner: int, gue: bool) -> None:
    packet = quoted(version, inner, gue=gue)
    error = read(told(version, TOO_BIG[version], packet))
    assert (error.kind, error.mtu, str(error.router)) == (ErrorKind.TOO_BIG, 1300, ROUTER[version])
    assert error.quote == Quote(
        ip_address(US[version]),
        ip_address(BACKEND[version]),
        length=len(packet),
        protocol=17 if gue else {4: 4, 6: 41}[inner],
        ports=(0xC123, 6080) if gue else None,
        inner=ip_address(INNER[inner].dst),
    )


@pytest.mark.parametrize(
    ("version", "message", "kind"),
    [
        (4, ICMP(type=3, code=1), ErrorKind.UNREACHABLE),
        (4, ICMP(type=3, code=13), ErrorKind.UNREACHABLE),
        (4, ICMP(type=11, code=0), ErrorKind.TIME_EXCEEDED),
        (4, ICMP(type=12, code=0), ErrorKind.PARAMETER_PROBLEM),
        (6, ICMPv6DestUnreach(code=3), ErrorKind.UNREACHABLE),
        (6, ICMPv6TimeExceeded(code=0), ErrorKind.TIME_EXCEEDED),
        (6, ICMPv6ParamProblem(code=1), ErrorKind.PARAMETER_PROBLEM),
    ],
)
def test_every_kind_is_read(version: int, message: Packet, kind: ErrorKind) -> None:
    error = read(told(version, message, quoted(version, 4)))
    assert (error.kind, error.code, error.mtu) == (kind, message.code, 0)


EXTENDED = [
    IPv6ExtHdrHopByHop(),
    IPv6ExtHdrDestOpt(),
    IPv6ExtHdrFragment(id=9),
    IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
]


@pytest.mark.parametrize("headers", EXTENDED, ids=lambda each: each.summary())
def test_extension_headers_in_the_quote_are_skipped(headers: Packet) -> None:
    error = read(told(6, TOO_BIG[6], outer(6) / headers / INNER[6] / DATA))
    assert (error.quote.protocol, str(error.quote.inner)) == (41, "2001:db8:f::10")


def test_headers_in_front_of_the_message_are_skipped() -> None:
    packet = quoted(6, 6)
    plain = told(6, TOO_BIG[6], packet)
    behind = IPv6(src=ROUTER[6], dst=US[6]) / IPv6ExtHdrHopByHop(nh=58) / Raw(plain[40:])
    assert read(bytes(behind)) == read(plain)
    with_options = told(4, FRAGMENTATION_NEEDED, quoted(4, 4), options=[IPOption(b"\x01\x01\x01\x01")])
    assert read(with_options).mtu == 1300


def test_what_follows_the_packet_does_not_count() -> None:
    assert read(SMALLEST + b"padding of the frame") == read(SMALLEST)


def altered(at: int, value: int, packet: bytes = SMALLEST) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(SMALLEST[:55], id="cut short"),
        pytest.param(altered(11, 0), id="the header's checksum"),
        pytest.param(altered(23, 0), id="the message's checksum"),
        pytest.param(altered(6, 0x20), id="a fragment"),
        pytest.param(told(4, ICMP(type=8), quoted(4, 4)), id="a ping"),
        pytest.param(told(4, ICMP(type=4), quoted(4, 4)), id="source quench"),
        pytest.param(told(4, ICMP(type=5), quoted(4, 4)), id="a redirect"),
        pytest.param(
            told(4, FRAGMENTATION_NEEDED, quoted(4, 4), dst="10.0.0.9"), id="to another than the quoted source"
        ),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), src="127.0.0.1"), id="from loopback"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), src="224.0.0.1"), id="from a group"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), src="0.0.0.0"), id="from nobody"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), cut=19), id="too short a quote"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, outer(4, frag=9) / DATA), id="about a later fragment"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(6, 4)), id="about another version"),
        pytest.param(told(6, ICMPv6EchoRequest(), quoted(6, 4)), id="IPv6: a ping"),
        pytest.param(told(6, ICMPv6PacketTooBig(mtu=1300, cksum=1), quoted(6, 4)), id="IPv6: the checksum"),
        pytest.param(told(6, TOO_BIG[6], quoted(6, 4), src="ff02::1"), id="IPv6: from a group"),
        pytest.param(told(6, TOO_BIG[6], quoted(6, 4), dst="2001:db8::9"), id="IPv6: to another"),
        pytest.param(told(6, TOO_BIG[6], outer(6) / IPv6ExtHdrFragment(offset=9) / DATA), id="IPv6: a later fragment"),
    ],
)
def test_what_is_no_error_to_us_is_not_read(packet: bytes) -> None:
    assert read_error(packet) is None


def kept(packet: bytes, tag: bytes = b"") -> bool:
    """Return whether the filter keeps a packet, behind a VLAN tag if there is one: on a socket that needs no NIC."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach_filter(receiver, packet[0] >> 4, tagged=bool(tag))
        sender.send(tag + packet)
        receiver.settimeout(0)
        try:
            return receiver.recv(65535) == tag + packet
        except BlockingIOError:
            return False


@pytest.mark.parametrize(("version", "inner", "gue"), PAIRS)
def test_the_filter_keeps_errors_about_tunnels(version: int, inner: int, gue: bool) -> None:
    assert kept(told(version, TOO_BIG[version], quoted(version, inner, gue=gue)))
    assert kept(told(version, TOO_BIG[version], quoted(version, inner, gue=gue), cut=48))


@pytest.mark.parametrize("headers", EXTENDED, ids=lambda each: each.summary())
def test_the_filter_keeps_those_with_extension_headers(headers: Packet) -> None:
    assert kept(told(6, TOO_BIG[6], outer(6) / headers / INNER[6]))


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(bytes(IP() / TCP()), id="TCP"),
        pytest.param(bytes(IP() / UDP(dport=6080)), id="GUE"),
        pytest.param(told(4, ICMP(type=8), quoted(4, 4)), id="a ping"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, IP() / TCP()), id="about TCP"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, IP() / UDP(dport=53)), id="about UDP"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), cut=9), id="too short"),
        pytest.param(told(4, FRAGMENTATION_NEEDED, quoted(4, 4), flags="MF"), id="a fragment"),
        pytest.param(bytes(IPv6() / TCP()), id="IPv6: TCP"),
        pytest.param(told(6, ICMPv6EchoRequest(), quoted(6, 4)), id="IPv6: a ping"),
        pytest.param(told(6, TOO_BIG[6], IPv6() / TCP()), id="IPv6: about TCP"),
        pytest.param(told(6, TOO_BIG[6], IPv6() / UDP(dport=53)), id="IPv6: about UDP"),
    ],
)
def test_the_filter_drops_the_rest(packet: bytes) -> None:
    assert not kept(packet)


def test_the_filter_looks_behind_options() -> None:
    quote = outer(4, options=[IPOption(b"\x01\x01\x01\x01")]) / UDP(sport=0xC123, dport=6080)
    assert kept(told(4, FRAGMENTATION_NEEDED, quote, options=[IPOption(b"\x01\x01\x01\x01")]))


@pytest.mark.parametrize(("version", "ethertype"), [(4, "0800"), (6, "86dd")])
def test_the_filter_looks_behind_a_tag(version: int, ethertype: str) -> None:
    tag = bytes.fromhex("0007" + ethertype)
    for gue in (False, True):
        assert kept(told(version, TOO_BIG[version], quoted(version, 4, gue=gue)), tag)
    assert not kept(told(version, TOO_BIG[version], quoted(version, 4)), bytes.fromhex("00070806"))
    assert not kept(told(version, TOO_BIG[version], (IP if version == 4 else IPv6)() / TCP()), tag)
