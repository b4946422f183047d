# SPDX-License-Identifier: Apache-2.0
"""The data plane of the benchmarks, on no NIC or on a benchmark's own NICs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import Capacity
from xdplb.model.next_hop import NextHop, VlanTag

__all__ = ["ALL_FEATURES", "CAPACITY", "LOOPBACK", "new_plane", "next_hop"]

ALL_FEATURES: Features = frozenset(Feature) - {Feature.CAPTURE}
"""What VIPs and backends can ask for."""

CAPACITY = Capacity(flows=1 << 22)
"""Room for every flow of all cases, so that what is measured is not eviction."""

LOOPBACK = 1
"""The NIC that a test run's frames come in by."""

SOURCE4, SOURCE6 = IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1")


def new_plane(pin_dir: Path, features: Features = frozenset()) -> BccPlane:
    """Return a data plane with its own maps, without a program."""
    return BccPlane(Maps.create(pin_dir, CAPACITY, features))


def next_hop(version: int, ifindex: int = LOOPBACK, *, mtu: int, tags: tuple[VlanTag, ...] = ()) -> NextHop:
    """Return a next hop for backends of this IP version."""
    source = SOURCE4 if version == 4 else SOURCE6
    return NextHop(b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01", "", ifindex, mtu, source, None, tags)
