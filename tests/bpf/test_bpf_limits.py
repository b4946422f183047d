# SPDX-License-Identifier: Apache-2.0
"""Rate limits: what comes within a second passes, what is over is dropped, and nobody else loses anything by it.

A limit of 2 lets the third packet pass half a second after the first: longer than a slow host takes for three.
"""

from __future__ import annotations

import time
from ipaddress import ip_address

import numpy as np
import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import IDLE_SECONDS, VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane import layout
from xdplb.dataplane.libbpf import XDP_DROP, XDP_TX
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import NO_LIMITS, Protocol, RateLimits, VipKey

pytestmark = pytest.mark.root

OWNER = 1
IDS = {4: VIP_IDS[Protocol.TCP], 6: VIP6_IDS[Protocol.TCP]}
ADDRESSES = {4: (packets.VIP, packets.CLIENT, "192.0.2.8"), 6: (packets.VIP6, packets.CLIENT6, "2001:db8:d::8")}
LIMIT = 2
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def set_up(balancer: Balancer, limits: RateLimits, *, limits6: RateLimits | None = None) -> None:
    """Limit the TCP VIPs of both families, with all buckets empty."""
    maps = balancer.plane.maps
    assert maps.source_buckets is not None
    maps.source_buckets.delete_batch(maps.source_buckets.read_all()[0])
    maps.vip_buckets.update_batch(np.array(list(IDS.values()), np.uint32), np.zeros(len(IDS), layout.BUCKET))
    balancer.set_up(slot(OWNER), [backend(OWNER)])
    balancer.plane.write_vips(
        [
            VipEntry(
                IDS[version],
                VipKey(ip_address(vip), packets.VIP_PORT, Protocol.TCP),
                track_always=False,
                idle_seconds=IDLE_SECONDS,
                limits=limits if version == 4 or limits6 is None else limits6,
            )
            for version, (vip, _, _) in ADDRESSES.items()
        ]
    )


def send(balancer: Balancer, version: int, flags: str = "A", *, other: bool = False) -> str:
    """Return `sent`, or the reason why a segment from one source, or from another one, was dropped."""
    return send_from(balancer, ADDRESSES[version][2 if other else 1], flags)


def send_from(balancer: Balancer, source: str, flags: str = "A") -> str:
    """Return the same for a segment from `source`."""
    version = ip_address(source).version
    layer = icmp_packets.internet_layer(version, src=source, dst=ADDRESSES[version][0])
    transport = icmp_packets.transport_layer("tcp", packets.CLIENT_PORT, packets.VIP_PORT)
    transport.flags = flags
    before = balancer.plane.counters().reasons
    result = balancer.send(packets.in_frame(layer / transport))
    after = balancer.plane.counters().reasons
    reasons = [reason for reason, count in after.items() if count > before[reason]]
    assert (result.verdict, len(reasons)) in {(XDP_TX, 0), (XDP_DROP, 1)}
    return reasons[0] if reasons else "sent"


@VERSIONS
def test_a_source_over_its_limit_takes_nothing_from_another(balancer: Balancer, version: int) -> None:
    set_up(balancer, RateLimits(source_packets=LIMIT))
    assert [send(balancer, version) for _ in range(4)] == ["sent"] * 2 + ["drop_source_rate"] * 2
    assert send(balancer, version, other=True) == "sent"
    assert send(balancer, 10 - version) == "sent"


def test_a_source_of_ipv6_is_a_prefix_of_64_bits(balancer: Balancer) -> None:
    """A host that takes another address of its prefix for each packet gets no more than one that does not."""
    set_up(balancer, RateLimits(source_packets=LIMIT))
    hosts = [f"2001:db8:c::{number:x}:1" for number in range(4)]
    assert [send_from(balancer, host) for host in hosts] == ["sent"] * 2 + ["drop_source_rate"] * 2
    assert send_from(balancer, "2001:db8:c:1::1") == "sent"


@VERSIONS
def test_a_vip_over_its_limit_drops_whoever_comes(balancer: Balancer, version: int) -> None:
    set_up(balancer, RateLimits(packets=LIMIT))
    assert [send(balancer, version), send(balancer, version, other=True)] == ["sent"] * 2
    assert [send(balancer, version), send(balancer, version, other=True)] == ["drop_vip_rate"] * 2
    assert send(balancer, 10 - version) == "sent"


@VERSIONS
@pytest.mark.parametrize(("limits", "reason"), [("packets", "drop_vip_rate"), ("source_packets", "drop_source_rate")])
def test_fragments_are_charged_like_whole_packets(balancer: Balancer, version: int, limits: str, reason: str) -> None:
    """Or one first fragment would let any number of others through for half a minute."""
    set_up(balancer, RateLimits(**{limits: LIMIT}))
    first, second = fragments(version)[:2]
    assert balancer.send(first).verdict == XDP_TX
    assert [balancer.send(second).verdict for _ in range(3)] == [XDP_TX, XDP_DROP, XDP_DROP]
    assert balancer.plane.counters().reasons[reason] == 2


def test_fragments_of_a_vip_without_limits_are_not_charged(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(packets=LIMIT), limits6=NO_LIMITS)
    first, second = fragments(6)[:2]
    assert [balancer.send(frame).verdict for frame in [first, *[second] * 8]] == [XDP_TX] * 9


def fragments(version: int) -> list[bytes]:
    """Return the fragments of a long segment for the VIP."""
    transport = icmp_packets.transport_layer("tcp", packets.CLIENT_PORT, packets.VIP_PORT) / Raw(bytes(1000))
    if version == 4:
        return [packets.in_frame(part) for part in (icmp_packets.internet_layer(4) / transport).fragment(fragsize=400)]
    return [
        packets.in_frame(part)
        for part in fragment6(icmp_packets.internet_layer(6) / IPv6ExtHdrFragment() / transport, 440)
    ]


def test_limits_of_new_flows_are_of_syns(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(source_new_flows=LIMIT))
    assert [send(balancer, 4, "S") for _ in range(3)] == ["sent", "sent", "drop_source_rate"]
    assert [send(balancer, 4, flags) for flags in ("A", "SA", "PA", "F")] == ["sent"] * 4
    assert send(balancer, 4, "S", other=True) == "sent"
    set_up(balancer, RateLimits(new_flows=LIMIT))
    assert [send(balancer, 4, "S", other=other) for other in (False, True, False)] == ["sent", "sent", "drop_vip_rate"]
    assert send(balancer, 4) == "sent"


def test_what_a_source_is_refused_costs_the_vip_nothing(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(source_packets=1, packets=LIMIT))
    assert [send(balancer, 4) for _ in range(5)] == ["sent"] + ["drop_source_rate"] * 4
    assert [send(balancer, 4, other=True) for _ in range(2)] == ["sent", "drop_source_rate"]


def test_what_the_vip_refuses_is_charged_to_the_source(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(source_packets=LIMIT, packets=1))
    assert [send(balancer, 4) for _ in range(3)] == ["sent", "drop_vip_rate", "drop_source_rate"]


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (RateLimits(packets=LIMIT, new_flows=1), "drop_vip_rate"),
        (RateLimits(source_packets=LIMIT, source_new_flows=1), "drop_source_rate"),
    ],
)
def test_a_syn_over_the_limit_of_new_flows_takes_no_packet_from_open_connections(
    balancer: Balancer, limits: RateLimits, reason: str, other: bool
) -> None:
    set_up(balancer, limits)
    assert [send(balancer, 4, "S") for _ in range(5)] == ["sent"] + [reason] * 4
    assert send(balancer, 4, "A", other=other) == "sent"


@VERSIONS
def test_icmp_errors_are_charged_to_the_vip_and_not_to_the_client_they_tell_of(
    balancer: Balancer, version: int
) -> None:
    frame = icmp_packets.about(version, icmp_packets.quoted(version))
    set_up(balancer, RateLimits(packets=LIMIT))
    assert [balancer.send(frame).verdict for _ in range(3)] == [XDP_TX, XDP_TX, XDP_DROP]
    assert balancer.plane.counters().reasons["drop_vip_rate"] == 1
    set_up(balancer, RateLimits(source_packets=1, source_new_flows=1))
    assert [balancer.send(frame).verdict for _ in range(5)] == [XDP_TX] * 5
    assert [send(balancer, version) for _ in range(2)] == ["sent", "drop_source_rate"]


def test_time_empties_a_bucket(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(packets=LIMIT))
    buckets = balancer.plane.maps.vip_buckets
    value = np.zeros(1, layout.BUCKET)
    for behind, passing in ((0.1, 2), (0.7, 2), (-0.7, 0), (-0.3, 1)):
        value["packets"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(behind * 1e9)
        buckets.update(IDS[4], value)
        assert [send(balancer, 4) for _ in range(3)] == ["sent"] * passing + ["drop_vip_rate"] * (3 - passing)


def test_a_vip_without_limits_of_sources_keeps_no_buckets_of_them(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(packets=1000))
    buckets = balancer.plane.maps.source_buckets
    assert buckets is not None
    assert send(balancer, 4) == "sent"
    assert len(buckets.read_all()[0]) == 0


def test_a_limit_of_one_vip_is_none_of_another(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(source_packets=1), limits6=NO_LIMITS)
    assert [send(balancer, 6) for _ in range(5)] == ["sent"] * 5
    assert [send(balancer, 4) for _ in range(2)] == ["sent", "drop_source_rate"]


def test_the_highest_limit_lets_all_pass(balancer: Balancer) -> None:
    set_up(balancer, RateLimits(1_000_000_000, 1_000_000_000, 1_000_000_000, 1_000_000_000))
    assert [send(balancer, 4, "S") for _ in range(20)] == ["sent"] * 20
