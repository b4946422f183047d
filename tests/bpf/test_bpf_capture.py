# SPDX-License-Identifier: Apache-2.0
"""The program that hands packets out: it decides as the other one does, and shows what came, what left, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from tests.fixtures.config import CONFIG
from tests.fixtures.fixture import CLIENT, CLIENT6, LONG, Fixture, from_router, segment
from tests.fixtures.state import state_before
from tests.fixtures.table import FIXTURES
from tests.fuzz.affinity import on_one_cpu
from tests.fuzz.clock import now
from tests.fuzz.kernel import Kernel
from tests.fuzz.mirror import Mirror
from tests.fuzz.profiles import INGRESS
from tests.fuzz.tunnels import out_of_tunnel
from tests.stopwatch import Stopwatch
from xdplb.control.explain.differences import differences
from xdplb.dataplane.decisions import CapturedPacket, CaptureFilter
from xdplb.dataplane.features import Feature
from xdplb.reference.flow_state import FlowState
from xdplb.reference.process import Reference
from xdplb.reference.reasons import Reason, Verdict

pytestmark = pytest.mark.root

POLL_SECONDS = 0.05
WHOLE = CaptureFilter(snap_bytes=4096)
NOT_SEEN = {Reason.PASS_NOT_IP, Reason.PASS_NOT_UNICAST, Reason.PASS_MALFORMED}
"""Not captured are frames to all of a segment and packets without IP addresses that can be told; of those that
contradict themselves, some are."""

LEFT_TO_THE_HOST = "nat-error-about-reply"
"""These errors go to the backend, but not in a program that hands packets out: docs/verifier.md."""
CAPTURING = replace(CONFIG, features=CONFIG.features | {Feature.CAPTURE})
DR, IPIP, IPV6 = "203.0.113.10", "203.0.113.20", "2001:db8:f::10"


@pytest.fixture(scope="module")
def kernel(pin_dir: Path) -> Iterator[Kernel]:
    """The program with all features, configured as the fixtures want it."""
    with on_one_cpu():
        made = Kernel(pin_dir / "capture", CAPTURING.features)
        made.install(CONFIG)
        yield made


def captured(kernel: Kernel, wanted: CaptureFilter, frames: Sequence[bytes]) -> list[CapturedPacket]:
    """Return what is handed out of these frames."""
    kernel.forget()
    capture = kernel.plane.start_capture(wanted)
    for frame in frames:
        kernel.run(frame)
    packets = list(capture.poll(POLL_SECONDS))
    assert capture.lost == 0
    return packets


def to(vip: str, source: str = "") -> bytes:
    """Return a segment from a client to a VIP."""
    return bytes(from_router(segment(vip, source=source)))


FRAMES = {
    "client": to(DR),
    "neighbour": to(DR, "192.0.2.200"),
    "elsewhere": to(IPIP, "198.18.0.1"),
    "ipv6": to(IPV6),
    "ipv6 neighbour": to(IPV6, "2001:db8:c:1::7"),
}


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_a_named_packet_goes_its_way_and_is_shown_as_it_came_and_as_it_left(kernel: Kernel, fixture: Fixture) -> None:
    frame, before = bytes(fixture.frame), now()
    state = state_before(fixture, before, kernel.cpu)
    kernel.forget()
    Mirror(kernel, FlowState(), kernel.cpu).put_all(state)
    capture = kernel.plane.start_capture(WHOLE)
    with kernel.routed():
        verdict, out = kernel.run(frame, metadata=bytes(fixture.before.headroom_taken))
    packets = list(capture.poll(POLL_SECONDS))
    decision = Reference(CAPTURING, state).process(frame, INGRESS, now(), kernel.cpu)

    if fixture.name.startswith(LEFT_TO_THE_HOST):
        assert (verdict, out) == (Verdict.PASS, frame)
    else:
        assert verdict == (fixture.decision.verdict if isinstance(fixture.decision, Reason) else fixture.decision)
        assert out == (frame if fixture.out is None else bytes(fixture.out))
    inside = out_of_tunnel(CAPTURING, frame)
    if not packets:
        assert fixture.decision in NOT_SEEN or inside is None
        return
    (packet,) = packets
    assert inside is not None
    assert (packet.came.data, packet.came.whole_bytes, packet.came.ifindex) == (inside, len(inside), INGRESS)
    assert (packet.left is not None) is (verdict in {Verdict.TX, Verdict.REDIRECT})
    if packet.left is not None:
        assert (packet.left.data, packet.left.whole_bytes) == (out, len(out))
        assert packet.left.time >= packet.came.time >= before
        assert packet.left.ifindex == decision.ifindex
    if not fixture.before.headroom_taken:  # of which the model knows nothing
        assert differences(decision, replace(packet.decision, frame=out, hash=decision.hash)) == ()


@pytest.mark.parametrize(
    ("source", "destination", "taken"),
    [
        (None, None, {"client", "neighbour", "elsewhere", "ipv6", "ipv6 neighbour"}),
        (f"{CLIENT}/32", None, {"client"}),
        ("192.0.2.0/24", None, {"client", "neighbour"}),
        ("192.0.2.128/25", None, {"neighbour"}),
        ("0.0.0.0/0", None, {"client", "neighbour", "elsewhere"}),
        (None, f"{DR}/32", {"client", "neighbour"}),
        (None, "203.0.113.0/27", {"client", "neighbour", "elsewhere"}),
        (f"{CLIENT}/32", f"{IPIP}/32", set()),
        (None, f"{IPV6}/128", {"ipv6", "ipv6 neighbour"}),
        (f"{CLIENT6}/128", None, {"ipv6"}),
        ("2001:db8:c::/64", None, {"ipv6"}),
        ("2001:db8:c::/48", "2001:db8:f::/48", {"ipv6", "ipv6 neighbour"}),
        ("::/0", None, {"ipv6", "ipv6 neighbour"}),
    ],
)
def test_addresses_are_what_it_looks_at(
    kernel: Kernel, source: str | None, destination: str | None, taken: set[str]
) -> None:
    wanted = CaptureFilter(
        source=None if source is None else ip_network(source),
        destination=None if destination is None else ip_network(destination),
    )
    packets = captured(kernel, wanted, list(FRAMES.values()))
    assert {packet.came.data for packet in packets} == {FRAMES[name] for name in taken}
    assert len(packets) == len(taken)


def test_it_takes_a_sample(kernel: Kernel) -> None:
    kernel.forget()
    capture = kernel.plane.start_capture(CaptureFilter(one_in=10, snap_bytes=64))
    taken = 0
    for _ in range(20):
        for _ in range(100):
            kernel.run(FRAMES["client"])
        taken += len(capture.poll(POLL_SECONDS))
    assert 120 < taken < 280
    assert capture.lost == 0


@pytest.mark.parametrize("snap_bytes", [14, 60, 64, 333, 1514, 16384])
def test_it_takes_so_much_of_a_frame(kernel: Kernel, snap_bytes: int) -> None:
    frame = bytes(from_router(segment(DR, "A", LONG)))
    (packet,) = captured(kernel, CaptureFilter(snap_bytes=snap_bytes), [frame])
    assert (packet.came.data, packet.came.whole_bytes) == (frame[:snap_bytes], len(frame))
    assert packet.left is not None
    assert (len(packet.left.data), packet.left.whole_bytes) == (min(snap_bytes, len(frame)), len(frame))


def test_ports_are_those_of_the_client_and_the_vip_and_0_where_there_are_none(kernel: Kernel) -> None:
    echo = bytes(from_router(IP(src=CLIENT, dst=DR), ICMP(type=8), Raw(b"12345678")))
    echo6 = bytes(from_router(IPv6(src=CLIENT6, dst=IPV6), ICMPv6EchoRequest(data=b"12345678")))
    packets = captured(kernel, WHOLE, [FRAMES["client"], FRAMES["ipv6"], echo, echo6])
    assert [(packet.source_port, packet.destination_port) for packet in packets] == [(40000, 80)] * 2 + [(0, 0)] * 2


def test_those_that_nobody_reads_are_counted_as_lost_and_the_rest_is_right(kernel: Kernel) -> None:
    capture = kernel.plane.start_capture(WHOLE)
    frame = bytes(from_router(segment(DR, "A", LONG)))
    for _ in range(400):
        kernel.run(frame)
    packets = list(capture.poll(POLL_SECONDS))
    assert 0 < len(packets) < 400
    assert {packet.came.data for packet in packets} == {frame}
    kernel.run(frame)
    packets += capture.poll(POLL_SECONDS)
    assert len(packets) * 2 + capture.lost >= 800
    assert capture.lost > 0


def test_few_packets_wake_nobody_and_are_read_in_time_and_many_are_read_at_once(kernel: Kernel) -> None:
    capture = kernel.plane.start_capture(WHOLE)
    kernel.run(FRAMES["client"])
    begun = time.monotonic()
    assert len(capture.poll(0.2)) == 1
    assert time.monotonic() - begun > 0.19

    frame = bytes(from_router(segment(DR, "A", LONG)))
    for _ in range(40):
        kernel.run(frame)
    watch = Stopwatch()
    assert len(capture.poll(30)) == 40
    assert watch.unhindered < 10


def test_features_grow_while_it_runs_and_it_ends_with_the_program_it_began_with(pin_dir: Path) -> None:
    kernel = Kernel(pin_dir / "capture-grows", frozenset())
    before = kernel.plane.maps.meta.program_hash
    capture = kernel.plane.start_capture(WHOLE)
    assert kernel.plane.features == {Feature.CAPTURE}
    kernel.reload()
    kernel.run(FRAMES["client"])
    assert [packet.decision.reason for packet in capture.poll(POLL_SECONDS)] == ["pass_no_vip"]

    kernel.plane.require(frozenset({Feature.IPV6}))
    kernel.reload()
    kernel.run(FRAMES["ipv6"])
    assert [packet.decision.reason for packet in capture.poll(POLL_SECONDS)] == ["pass_no_vip"]

    kernel.plane.stop_capture()
    assert kernel.plane.features == {Feature.IPV6}
    kernel.plane.compile_for(frozenset()).close()
    assert kernel.plane.maps.meta.program_hash == before
