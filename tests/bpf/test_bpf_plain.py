# SPDX-License-Identifier: Apache-2.0
"""The program without any feature: it balances IPv4 as the whole one does, and passes what it was not made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bpf import icmp_packets, leaving, packets
from tests.bpf.balancer import Balancer, backend, slot, vip_entry
from tests.bpf.conftest import CAPACITY
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.libbpf import XDP_PASS, XDP_TX
from xdplb.dataplane.pinned_maps import Maps
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

DR, IPIP = 1, 2
VIPS = {DR: f"{packets.VIP}:80/tcp", IPIP: f"{packets.VIP}:80/udp"}

NOT_MADE_FOR = {
    "IPv6": packets.tcp6("S"),
    "a ping of IPv6": icmp_packets.echo_request(6),
    "a tag": leaving.tagged(packets.tcp("S"), [VlanTag(5)]),
    "two tags": leaving.tagged(packets.tcp("S"), [VlanTag(5), VlanTag(6)]),
}


@pytest.fixture(scope="module")
def plain(pin_dir: Path) -> Balancer:
    """The program without features, and a VIP of TCP by DR and one of UDP by IPIP."""
    folder = pin_dir / "plain"
    folder.mkdir()
    plane = BccPlane(Maps.create(folder, CAPACITY))
    balancer = Balancer(plane, plane.compile_for(frozenset()))
    plane.write_backends([backend(DR), backend(IPIP, forward=Forward.IPIP)])
    for vip_id in VIPS:
        plane.write_table(vip_id, balancer.slots(slot(vip_id)))
    plane.write_vips([vip_entry(vip_id, key) for vip_id, key in VIPS.items()])
    return balancer


@pytest.mark.parametrize("name", NOT_MADE_FOR)
def test_passes_what_no_vip_needs(plain: Balancer, name: str) -> None:
    before = plain.plane.counters().reasons["pass_not_ip"]
    result = plain.send(NOT_MADE_FOR[name])
    assert (result.verdict, result.packet) == (XDP_PASS, NOT_MADE_FOR[name])
    assert plain.plane.counters().reasons["pass_not_ip"] == before + 1


def test_balances_ipv4(plain: Balancer) -> None:
    for frame, backend_id, forward in ((packets.tcp(), DR, Forward.DR), (packets.udp(), IPIP, Forward.IPIP)):
        result = plain.send(frame)
        assert (result.verdict, result.packet) == (XDP_TX, leaving.through(frame, backend_id, forward))


def test_answers_pings(plain: Balancer) -> None:
    request = icmp_packets.echo_request(4)
    result = plain.send(request)
    assert (result.verdict, result.packet) == (XDP_TX, icmp_packets.echo_reply(request))


def test_fragments_follow_the_first_one(plain: Balancer) -> None:
    for frame in packets.fragments():
        assert plain.send(frame).packet == leaving.through(frame, DR, Forward.DR)
