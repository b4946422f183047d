# SPDX-License-Identifier: Apache-2.0
"""The data plane in the kernel and its fake, each with doors for what packets would do."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.private_host import private_host
from xdplb.dataplane import layout
from xdplb.dataplane.access_index import build4, build6, is_denied
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.flow_records import raw_key
from xdplb.dataplane.inner_maps import read_element
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.pinned_reader import PinnedReader
from xdplb.dataplane.plane import (
    BackendCounters,
    BackendEntry,
    Capacity,
    DataPlane,
    Reading,
    Slots,
    VipCounters,
    VipEntry,
)
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.remembered import Buckets
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward, Protocol, VipKey

CAPACITY = Capacity(vips=8, backends=32, flows=4096)
HOP = NextHop(bytes(range(6)), bytes(range(6, 12)), "", 7, 1500, IPv4Address("192.0.2.1"))
HOP6 = replace(HOP, source=IPv6Address("2001:db8:1::1"))
ALL_FEATURES: Features = frozenset(Feature)
KEY = VipKey(IPv4Address("203.0.113.10"), 443, Protocol.TCP)
UDP = VipKey(IPv4Address("203.0.113.10"), 443, Protocol.UDP)
V6 = VipKey.parse("[2001:db8::10]:443/tcp")
V6_UDP = VipKey.parse("[2001:db8::10]:443/udp")


class FakeKit:
    """The fake plane, and how a test makes the packets' side of it."""

    def __init__(self, features: Features, capacity: Capacity) -> None:
        self.plane = FakePlane(capacity, features=features)
        self.add_flow = self.plane.add_flow
        self.count_vip = self.plane.count_vip
        self.count_backend = self.plane.count_backend
        self.count_reason = self.plane.count_reason

    def again(self) -> DataPlane:
        return self.plane

    def looked_at(self) -> Reading:
        return self.plane

    def is_denied(self, vip_id: int, source: str) -> bool:
        return is_denied(build(ip_address(source))({0: self.plane.access[vip_id]}), ip_address(source), 0)

    def load(self, backend_id: int) -> int:
        return self.plane.loads.get(backend_id, 0)

    def fill_buckets(self, source: str, vip_id: int, of_source: Buckets, of_vip: Buckets) -> None:
        self.plane.source_buckets[ip_address(source), vip_id] = of_source
        self.plane.vip_buckets[vip_id] = of_vip


class KernelKit:
    """The plane over real maps, and the same doors into them."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.plane = BccPlane(maps)

    def again(self) -> DataPlane:
        return BccPlane(Maps.adopt(self.maps.pin_dir))

    def looked_at(self) -> Reading:
        return PinnedReader(self.maps.pin_dir)

    def add_flow(
        self,
        source: str,
        source_port: int,
        vip: VipKey,
        *,
        backend: int,
        epoch: int = 0,
        flags: int = 1,
        age: float = 0,
        vip_id: int = 0,
        probation: bool = False,
    ) -> None:
        key = raw_key(ip_address(source), source_port, vip.address, vip.port, vip.protocol.numbers[0])
        value = np.zeros(1, layout.FLOW)
        value[0] = (backend, epoch, flags, vip_id, time.monotonic_ns() - int(age * 1e9))
        table = getattr(self.maps, ("probation" if probation else "flows") + ("6" if len(key) > 16 else ""))
        table.update(key, value)

    def is_denied(self, vip_id: int, source: str) -> bool:
        address = ip_address(source)
        outer = self.maps.access4 if address.version == 4 else self.maps.access6
        dtype = layout.ACCESS4 if address.version == 4 else layout.ACCESS6
        assert outer is not None
        guard = np.frombuffer(self.maps.vip_guards.read(vip_id), layout.VIP_GUARD)
        index = np.frombuffer(read_element(outer, 0) or b"", dtype)
        return is_denied(index, address, int(guard["access_list"][0]))

    def fill_buckets(self, source: str, vip_id: int, of_source: Buckets, of_vip: Buckets) -> None:
        address = ip_address(source)
        key = address.packed[:8].ljust(16, b"\0") + vip_id.to_bytes(8, "little")
        assert self.maps.source_buckets is not None
        self.maps.source_buckets.update(key, np.array(of_source, np.uint64))
        self.maps.vip_buckets.update(vip_id, np.array(of_vip, np.uint64))

    def load(self, backend_id: int) -> int:
        return int(np.frombuffer(self.maps.backend_loads.read(backend_id), layout.BACKEND_LOAD)["flows"][0])

    def count_vip(self, vip_id: int, counters: VipCounters) -> None:
        self._count(self.maps.vip_stats, vip_id, list(astuple(counters)))

    def count_backend(self, backend_id: int, counters: BackendCounters) -> None:
        self._count(self.maps.backend_stats, backend_id, [counters.packets, counters.bytes, counters.new_flows, 0])

    def count_reason(self, name: str, packets: int = 1) -> None:
        number = next(reason.number for reason in REASONS if reason.name == name)
        self._count(self.maps.reason_stats, number, [packets])

    def _count(self, counters, key: int, fields: list[int]) -> None:
        """Spread the counts over the CPUs, so that a sum that forgets one is seen."""
        per_cpu = np.zeros((counters.value_bytes // (8 * len(fields)), len(fields)), np.uint64)
        per_cpu[0] = fields
        per_cpu[-1] += per_cpu[0] // np.uint64(2)
        per_cpu[0] -= per_cpu[-1] if len(per_cpu) > 1 else 0
        counters.update(key, per_cpu)


Kit = FakeKit | KernelKit


@contextmanager
def make_kit(kind: str, features: Features, capacity: Capacity = CAPACITY) -> Iterator[Kit]:
    if kind == "fake":
        yield FakeKit(features, capacity)
        return
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as bpffs:
        yield KernelKit(Maps.create(bpffs, capacity, features))


KINDS = ["fake", pytest.param("kernel", marks=pytest.mark.root)]


def backend(number: int, *, epoch: int = 0, **changes: Any) -> BackendEntry:
    entry = BackendEntry(number, epoch, 3, IPv4Address(f"10.0.0.{number}"), Forward.IPIP, usable=True, next_hop=HOP)
    return replace(entry, **changes)


def read_table(plane: Reading, vip_id: int) -> Slots:
    found = plane.read_table(vip_id)
    assert found is not None
    return found


def vip(number: int, key: VipKey, **changes: Any) -> VipEntry:
    return replace(VipEntry(number, key, track_always=False, idle_seconds=900), **changes)


def many_vips(count: int) -> list[VipEntry]:
    return [vip(number, replace(KEY, address=KEY.address + number)) for number in range(count)]


def build(address: IPAddress) -> Callable[[dict[int, AccessList]], np.ndarray]:
    """Return what builds the access index of the address's family."""
    return build4 if address.version == 4 else build6


def table(owner: int) -> np.ndarray:
    slots = np.full(layout.TABLE_SIZE, owner, np.uint32)
    slots[-1] = owner | layout.SLOT_PINNED << 16
    return slots
