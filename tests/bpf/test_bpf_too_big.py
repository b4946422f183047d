# SPDX-License-Identifier: Apache-2.0
"""Packets that do not fit on their way: their sender learns the MTU from the VIP, at a bounded rate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_DROP, XDP_TX
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

VERSIONS = [4, 6]
MTU = 1400
IPIP_OVERHEAD = 20
BURST = 100
"""Answers a CPU makes at once; then one each millisecond."""


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Stay on one CPU: each has a budget of its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def set_up(balancer: Balancer, forward: Forward = Forward.IPIP, mtu: int = MTU) -> None:
    """Send everything to one backend behind a NIC of this MTU."""
    balancer.set_up(slot(1), [backend(1, forward=forward, mtu=mtu)])


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("forward", "fits"), [(Forward.DR, MTU), (Forward.IPIP, MTU - IPIP_OVERHEAD)])
@pytest.mark.parametrize("version", VERSIONS)
def test_answered_byte_for_byte(balancer: Balancer, version: int, forward: Forward, fits: int, protocol: str) -> None:
    """What fits exactly is sent on; one byte more is answered with the MTU that would have been right."""
    set_up(balancer, forward)
    assert balancer.send(icmp_packets.segment(version, fits, protocol=protocol)).verdict == XDP_TX
    assert stopped(balancer) == {}
    for length in (fits + 1, fits + 2, 1500, 3000):
        frame = icmp_packets.segment(version, length, protocol=protocol)
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_TX, icmp_packets.too_big(frame, fits))
    assert stopped(balancer) == {"answer_too_big": 4}
    assert balancer.plane.counters().backends[1].packets == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_each_sender_gets_its_own_answer(balancer: Balancer, version: int) -> None:
    """Addresses, ids and data that differ go through the checksums' sums, also where they carry."""
    set_up(balancer)
    source = {4: "223.255.255.%d", 6: "fdff:ffff:ffff:ffff:ffff:ffff:ffff:%x"}
    for number in range(1, 90):
        frame = icmp_packets.segment(version, 1400 + number, src=source[version] % number)
        assert balancer.send(frame).packet == icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD)


@pytest.mark.parametrize("tags", [[5], [5, 6]])
@pytest.mark.parametrize("version", VERSIONS)
def test_tags_stay(balancer: Balancer, version: int, tags: list[int]) -> None:
    set_up(balancer)
    frame = icmp_packets.segment(version, 1500)
    answer = icmp_packets.tagged(icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD), tags)
    assert balancer.send(icmp_packets.tagged(frame, tags)).packet == answer


@pytest.mark.parametrize("version", VERSIONS)
def test_padding_is_not_quoted(balancer: Balancer, version: int) -> None:
    set_up(balancer)
    frame = icmp_packets.segment(version, 1500)
    assert balancer.send(frame + bytes(7)).packet == icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_short_has_to_fit_everywhere(balancer: Balancer, version: int) -> None:
    """The shortest packet with an answer, and one byte less; through a NIC that takes next to nothing."""
    set_up(balancer, Forward.DR, mtu=500)
    frame = icmp_packets.segment(version, icmp_packets.SHORTEST_TOLD[version])
    told = {4: 500, 6: 1280}[version]  # IPv6 has no smaller MTU
    assert balancer.send(frame).packet == icmp_packets.too_big(frame, told)
    frame = icmp_packets.segment(version, icmp_packets.SHORTEST_TOLD[version] - 1)
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(balancer) == {"answer_too_big": 1, "drop_too_big": 1}


def test_answered_without_df_too(balancer: Balancer) -> None:
    """XDP cannot fragment: the sender has to."""
    set_up(balancer)
    for flags in ("DF", ""):
        frame = icmp_packets.segment(4, 1500, flags=flags)
        assert balancer.send(frame).packet == icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD)


def test_the_options_are_quoted(balancer: Balancer) -> None:
    set_up(balancer)
    frame = icmp_packets.segment(4, 1500, options=packets.ip_options(40))
    assert balancer.send(frame).packet == icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD)


@pytest.mark.parametrize(
    ("version", "source"), [(4, "0.0.0.0"), (4, "224.0.0.1"), (4, "255.255.255.255"), (6, "::"), (6, "ff02::1")]
)
def test_no_answer_to_what_is_not_one_host(balancer: Balancer, version: int, source: str) -> None:
    set_up(balancer)
    balancer.send(icmp_packets.segment(version, 1500, src=source))
    assert stopped(balancer) == {"drop_martian": 1}


@pytest.mark.parametrize("mac", ["ffffffffffff", "01005e000005", "000000000000", "020000000102"])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_answer_to_a_mac_that_is_nobody_s(balancer: Balancer, version: int, mac: str) -> None:
    """A group, zeros, or the balancer's own; and no answer is charged for it."""
    set_up(balancer)
    frame = bytearray(icmp_packets.segment(version, 1500))
    frame[6:12] = bytes.fromhex(mac)
    for _ in range(200):
        assert balancer.send(bytes(frame)).verdict == XDP_DROP
    assert stopped(balancer) == {"drop_too_big": 200}
    assert balancer.send(icmp_packets.segment(version, 1500)).verdict == XDP_TX


@pytest.mark.parametrize("version", VERSIONS)
def test_no_answer_to_an_icmp_error(balancer: Balancer, version: int) -> None:
    set_up(balancer, mtu=600)
    kind = next(iter(icmp_packets.ERRORS[version].values()))
    frame = icmp_packets.error(version, kind, icmp_packets.quoted(version, length=None) + bytes(1300))
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(balancer) == {"drop_too_big": 1}


def test_no_answer_to_a_later_fragment(balancer: Balancer) -> None:
    """The first one is answered; where it went on, a longer one behind it is dropped."""
    set_up(balancer)
    first = icmp_packets.segment(4, 1000, flags="MF", id=9)
    assert balancer.send(first).verdict == XDP_TX
    balancer.send(icmp_packets.segment(4, 1500, frag=200, id=9))
    assert stopped(balancer) == {"drop_too_big": 1}
    answered = icmp_packets.segment(4, 1500, flags="MF", id=10)
    assert balancer.send(answered).packet == icmp_packets.too_big(answered, MTU - IPIP_OVERHEAD)


def test_answers_have_a_budget(balancer: Balancer) -> None:
    """A CPU answers a hundred at once, then one each millisecond; all others are dropped and counted as such."""
    set_up(balancer)
    frame = icmp_packets.segment(4, 1500)
    began = time.monotonic()
    for _ in range(10 * BURST):
        balancer.send(frame)
    took = time.monotonic() - began
    counted = stopped(balancer)
    assert BURST <= counted["answer_too_big"] <= BURST + took * 1000 + 10
    assert counted["answer_too_big"] + counted["drop_too_big"] == 10 * BURST

    time.sleep(0.05)
    for _ in range(10 * BURST):
        balancer.send(frame)
    assert stopped(balancer)["answer_too_big"] >= counted["answer_too_big"] + 40


def test_other_cpus_have_their_own(balancer: Balancer) -> None:
    cpus = sorted(os.sched_getaffinity(0) | set(range(os.cpu_count() or 1)))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    set_up(balancer)
    frame = icmp_packets.segment(4, 1500)
    for _ in range(3 * BURST):
        balancer.send(frame)
    os.sched_setaffinity(0, {cpus[-1]})
    assert balancer.send(frame).packet == icmp_packets.too_big(frame, MTU - IPIP_OVERHEAD)
