# SPDX-License-Identifier: Apache-2.0
"""VLAN tags, up to two: kept, set, added and taken away, with every forward."""

from __future__ import annotations

import pytest

from tests.bpf import leaving, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_PASS, XDP_TX
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

BACKEND = 1
ETHERNET, TAG = 14, 4
FORWARDS = [(Forward.DR, 4), (Forward.IPIP, 4), (Forward.IPIP, 6), (Forward.GUE, 4), (Forward.GUE, 6)]

TAGS: dict[str, tuple[VlanTag, ...]] = {
    "no tag": (),
    "a tag": (VlanTag(5),),
    "a service tag": (VlanTag(4094, 0x88A8),),
    "two tags": (VlanTag(100), VlanTag(7)),
    "QinQ": (VlanTag(100, 0x88A8), VlanTag(7)),
}


def frame_of(version: int) -> bytes:
    """Return an untagged segment for the VIP."""
    return packets.tcp("PA") if version == 4 else packets.tcp6("PA")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("out", TAGS)
@pytest.mark.parametrize(("forward", "outer"), FORWARDS)
def test_frames_leave_with_the_tags_of_the_next_hop(
    balancer: Balancer, forward: Forward, outer: int, out: str, version: int
) -> None:
    """Whatever tags they came in with."""
    entry = backend(BACKEND, forward=forward, version=outer, inner_version=version, tags=TAGS[out])
    balancer.set_up(slot(BACKEND), [entry])
    frames = [leaving.tagged(frame_of(version), tags) for tags in TAGS.values()]
    for frame in frames:
        result = balancer.send(frame)
        assert result.verdict == XDP_TX
        assert result.packet == leaving.through(frame, BACKEND, forward, outer, tags=TAGS[out])
    assert balancer.plane.counters().backends[BACKEND].bytes == sum(map(len, frames))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("forward", "outer"), FORWARDS)
def test_frames_keep_their_tags(balancer: Balancer, forward: Forward, outer: int, version: int) -> None:
    """Of the next hop's own tags nothing is seen."""
    kept = backend(BACKEND, forward=forward, version=outer, inner_version=version, tags=TAGS["a tag"], keep_tags=True)
    balancer.set_up(slot(BACKEND), [kept])
    for tags in TAGS.values():
        frame = leaving.tagged(frame_of(version), tags)
        assert balancer.send(frame).packet == leaving.through(frame, BACKEND, forward, outer, tags=tags)


def test_the_priority_of_a_kept_tag_stays(balancer: Balancer) -> None:
    balancer.set_up(slot(BACKEND), [backend(BACKEND, keep_tags=True)])
    frame = bytearray(leaving.tagged(frame_of(4), TAGS["a tag"]))
    frame[ETHERNET] |= 0xE0
    assert balancer.send(bytes(frame)).packet[ETHERNET] == 0xE0


@pytest.mark.parametrize("length", range(ETHERNET, ETHERNET + 2 * TAG))
def test_a_frame_cut_short_in_its_tags_is_no_ip(balancer: Balancer, length: int) -> None:
    balancer.set_up(slot(BACKEND), [backend(BACKEND)])
    frame = leaving.tagged(frame_of(4), TAGS["QinQ"])[:length]
    assert balancer.send(frame).verdict == XDP_PASS
    assert balancer.plane.counters().reasons["pass_not_ip"] == 1


def test_a_third_tag_is_passed(balancer: Balancer) -> None:
    balancer.set_up(slot(BACKEND), [backend(BACKEND)])
    frame = leaving.tagged(frame_of(4), (VlanTag(1), VlanTag(2), VlanTag(3)))
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_PASS, frame)
    assert balancer.plane.counters().reasons["pass_not_ip"] == 1


def test_tags_take_nothing_from_the_mtu(balancer: Balancer) -> None:
    """The MTU of a NIC is that of the IP packet; its driver has room for two tags beside."""
    balancer.set_up(slot(BACKEND), [backend(BACKEND, tags=TAGS["QinQ"], mtu=1500)])
    frame = packets.tcp("PA", payload=bytes(1460))
    assert balancer.send(frame).verdict == XDP_TX
