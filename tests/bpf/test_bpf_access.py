# SPDX-License-Identifier: Apache-2.0
"""Which sources an access list lets in: the program finds what the list says, and what the index's lookup finds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import IDLE_SECONDS, VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane import access_index
from xdplb.dataplane.libbpf import XDP_DROP, XDP_TX
from xdplb.dataplane.plane import VipCounters, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.vip import Protocol, VipKey

pytestmark = pytest.mark.root

OWNER = 1
IDS = {4: VIP_IDS[Protocol.TCP], 6: VIP6_IDS[Protocol.TCP]}
VIPS = {4: packets.VIP, 6: packets.VIP6}
OPEN_PORT = 8080
"""Of a VIP without an access list."""

NEITHER = AccessList()


def access(*, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> AccessList:
    """Return a list of these prefixes."""
    return AccessList(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)))


def set_up(balancer: Balancer, lists: dict[int, AccessList]) -> None:
    """Give the TCP VIPs these lists, by version; one more VIP of each version has none."""
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    balancer.plane.write_access({IDS[version]: of for version, of in lists.items()})
    balancer.plane.write_vips(
        [
            _vip(IDS[version] if port == packets.VIP_PORT else IDS[version] + 1, version, port)
            for version in VIPS
            for port in (packets.VIP_PORT, OPEN_PORT)
        ]
    )


def _vip(vip_id: int, version: int, port: int) -> VipEntry:
    return VipEntry(
        vip_id,
        VipKey(ip_address(VIPS[version]), port, Protocol.TCP),
        track_always=False,
        idle_seconds=IDLE_SECONDS,
        has_access_list=port == packets.VIP_PORT,
    )


def segment(source: IPAddress, port: int = packets.VIP_PORT) -> bytes:
    """Return a segment from this source."""
    transport = icmp_packets.transport_layer("tcp", packets.CLIENT_PORT, port)
    return packets.in_frame(icmp_packets.internet_layer(source.version, src=str(source)) / transport)


def is_let_in(balancer: Balancer, source: IPAddress) -> bool:
    """Whether the VIP takes a packet from there; if not, it is counted as denied."""
    before = balancer.plane.counters().reasons["drop_denied"]
    verdict = balancer.send(segment(source)).verdict
    denied = balancer.plane.counters().reasons["drop_denied"] - before
    assert (verdict, denied) in {(XDP_TX, 0), (XDP_DROP, 1)}
    return verdict == XDP_TX


MIXED4 = access(allow=["192.0.2.0/24", "10.0.0.0/8"], deny=["192.0.2.128/25", "192.0.2.200/32"])
MIXED6 = access(allow=["2001:db8::/32"], deny=["2001:db8:1::/48", "2001:db8:1:2:3:4:5:6/128"])


@pytest.mark.parametrize(
    ("shows", "of", "source", "let_in"),
    [
        ("denied", access(deny=["192.0.2.0/24"]), "192.0.2.7", False),
        ("not denied", access(deny=["192.0.2.0/24"]), "192.0.3.7", True),
        ("allowed", access(allow=["192.0.2.0/24"]), "192.0.2.7", True),
        ("allowed are others", access(allow=["192.0.2.0/24"]), "192.0.3.7", False),
        ("the longer prefix denies", MIXED4, "192.0.2.129", False),
        ("the shorter one allows the rest", MIXED4, "192.0.2.127", True),
        ("the longest of three", access(deny=["0.0.0.0/0", "192.0.2.7/32"], allow=["192.0.2.0/24"]), "192.0.2.8", True),
        ("an equal prefix denies", access(allow=["192.0.2.0/24"], deny=["192.0.2.0/24"]), "192.0.2.7", False),
        ("all", access(deny=["0.0.0.0/0"]), "223.255.255.254", False),
        ("the last address", access(deny=["223.255.255.255/32"]), "223.255.255.255", False),
        ("the one before it", access(deny=["223.255.255.255/32"]), "223.255.255.254", True),
        ("an empty list", NEITHER, "192.0.2.7", True),
        ("IPv6, denied", MIXED6, "2001:db8:1::7", False),
        ("IPv6, allowed", MIXED6, "2001:db8:2::7", True),
        ("IPv6, allowed are others", MIXED6, "2001:db9::7", False),
        ("IPv6, one address", access(deny=["2001:db8:1:2:3:4:5:6/128"]), "2001:db8:1:2:3:4:5:6", False),
        ("IPv6, the next one", access(deny=["2001:db8:1:2:3:4:5:6/128"]), "2001:db8:1:2:3:4:5:7", True),
        ("IPv6, all", access(deny=["::/0"]), "fd00::1", False),
    ],
)
def test_source(balancer: Balancer, shows: str, of: AccessList, source: str, let_in: bool) -> None:
    address = ip_address(source)
    set_up(balancer, {address.version: of})
    assert is_let_in(balancer, address) is let_in


def test_what_is_denied_is_not_counted_for_the_vip(balancer: Balancer) -> None:
    set_up(balancer, {4: access(deny=["192.0.2.0/24"])})
    assert not is_let_in(balancer, IPv4Address(packets.CLIENT))
    assert balancer.plane.counters().vips[IDS[4]] == VipCounters()


def test_each_vip_has_its_own_list(balancer: Balancer) -> None:
    set_up(balancer, {4: access(deny=["192.0.2.0/24"]), 6: access(deny=["192.0.2.0/24"])})
    assert not is_let_in(balancer, IPv4Address("192.0.2.7"))
    assert balancer.send(segment(IPv4Address("192.0.2.7"), OPEN_PORT)).verdict == XDP_TX
    assert is_let_in(balancer, IPv6Address("2001:db8::7"))


def test_errors_about_connections_are_let_in_whoever_sends_them(balancer: Balancer) -> None:
    set_up(balancer, {4: access(deny=["198.51.100.0/24"])})
    error = icmp_packets.error(4, icmp_packets.ERRORS[4]["host unreachable"], icmp_packets.quoted(4))
    assert balancer.send(error).packet == packets.through_dr(error, OWNER)


def random_networks(rng: random.Random, version: int, count: int) -> list[IPNetwork]:
    """Return prefixes of which many lie within each other and beside each other."""
    bits, kind = (32, IPv4Network) if version == 4 else (128, IPv6Network)
    lengths = [8, 16, 17, 20, 24, 28, 32] if version == 4 else [32, 48, 63, 64, 65, 96, 128]
    found = []
    for _ in range(count):
        length = rng.choice(lengths)
        value = (rng.choice([0x20, 0x21, 0x30]) << bits - 8) | rng.getrandbits(bits - 8) & rng.getrandbits(bits - 8)
        found.append(kind((value >> bits - length << bits - length, length)))
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_the_program_finds_what_the_index_says(balancer: Balancer, version: int) -> None:
    rng = random.Random(version)
    networks = random_networks(rng, version, 6000)
    of = AccessList(tuple(networks[::3]), tuple(networks[1::3] + networks[2::3]))
    set_up(balancer, {version: of})
    index = (access_index.build4 if version == 4 else access_index.build6)({0: of})
    for network in rng.sample(networks, 150):
        inside = network[rng.randrange(network.num_addresses)]
        for source in (inside, network[0], network[-1], network[-1] + 1):
            assert is_let_in(balancer, source) is not access_index.is_denied(index, source, 0), source
