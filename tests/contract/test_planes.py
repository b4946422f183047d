"""One suite for every DataPlane: the one in the kernel and its fake keep the same promises."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.private_host import private_host
from xdplb.dataplane import layout
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import BackendCounters, BackendEntry, Capacity, DataPlane, Slots, VipCounters, VipEntry
from xdplb.dataplane.reasons import REASONS
from xdplb.model.errors import CapacityError
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward, Protocol, VipKey

CAPACITY = Capacity(vips=8, backends=32, flows=4096)
HOP = NextHop(bytes(range(6)), bytes(range(6, 12)), "", 7, 1500, IPv4Address("192.0.2.1"))
KEY = VipKey(IPv4Address("203.0.113.10"), 443, Protocol.TCP)
UDP = VipKey(IPv4Address("203.0.113.10"), 443, Protocol.UDP)


class FakeKit:
    """The fake plane, and how a test makes the packets' side of it."""

    def __init__(self) -> None:
        self.plane = FakePlane(CAPACITY)
        self.add_flow = self.plane.add_flow
        self.count_vip = self.plane.count_vip
        self.count_backend = self.plane.count_backend
        self.count_reason = self.plane.count_reason

    def again(self) -> DataPlane:
        return self.plane


class KernelKit:
    """The plane over real maps, and the same doors into them."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.plane = BccPlane(maps)

    def again(self) -> DataPlane:
        return BccPlane(Maps.adopt(self.maps.pin_dir, None))

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
    ) -> None:
        key, value = np.zeros(1, layout.FLOW_KEY), np.zeros(1, layout.FLOW)
        key[0] = (int(IPv4Address(source)), int(vip.address), source_port, vip.port, vip.protocol.number)
        value[0] = (backend, epoch, flags, time.monotonic_ns() - int(age * 1e9))
        self.maps.flows.update(key, value)

    def count_vip(self, vip_id: int, counters: VipCounters) -> None:
        self._count(
            self.maps.vip_stats, vip_id, [counters.packets, counters.bytes, counters.new_flows, counters.at_risk]
        )

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


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.root)])
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    if request.param == "fake":
        yield FakeKit()
        return
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as bpffs:
        yield KernelKit(Maps.create(bpffs, CAPACITY))


@pytest.fixture
def plane(kit: Kit) -> DataPlane:
    return kit.plane


def backend(number: int, *, epoch: int = 0, **changes: Any) -> BackendEntry:
    entry = BackendEntry(number, epoch, 3, IPv4Address(f"10.0.0.{number}"), Forward.IPIP, usable=True, next_hop=HOP)
    return replace(entry, **changes)


def read_table(plane: DataPlane, vip_id: int) -> Slots:
    found = plane.read_table(vip_id)
    assert found is not None
    return found


def vip(number: int, key: VipKey, **changes: Any) -> VipEntry:
    return replace(VipEntry(number, key, track_always=False, hash_source=False, idle_seconds=900), **changes)


def many_vips(count: int) -> list[VipEntry]:
    return [vip(number, replace(KEY, address=KEY.address + number)) for number in range(count)]


def table(owner: int) -> np.ndarray:
    slots = np.full(layout.TABLE_SIZE, owner, np.uint32)
    slots[-1] = owner | layout.SLOT_PINNED << 16
    return slots


def test_capacity(plane: DataPlane) -> None:
    assert plane.capacity == CAPACITY


def test_is_empty_at_first(plane: DataPlane) -> None:
    assert plane.read_vips() == {}
    assert plane.read_backends() == {}
    assert plane.read_table(0) is None
    assert plane.flow_count() == 0
    assert plane.counters().vips == {}


def test_vips_are_replaced_as_a_whole(plane: DataPlane) -> None:
    first = vip(0, KEY, track_always=True, idle_seconds=65535)
    second = vip(5, UDP, hash_source=True, idle_seconds=1)
    plane.write_vips([first, second])
    assert plane.read_vips() == {0: first, 5: second}
    plane.write_vips([second])
    assert plane.read_vips() == {5: second}
    plane.write_vips([])
    assert plane.read_vips() == {}


def test_takes_as_many_vips_as_its_capacity(plane: DataPlane) -> None:
    entries = many_vips(CAPACITY.vips)
    plane.write_vips(entries)
    assert plane.read_vips() == {entry.id: entry for entry in entries}


def test_refuses_vips_over_its_capacity_and_keeps_what_it_had(plane: DataPlane) -> None:
    plane.write_vips([vip(0, KEY)])
    with pytest.raises(CapacityError) as refused:
        plane.write_vips(many_vips(CAPACITY.vips + 1))
    assert "--max-vips" in refused.value.hint
    with pytest.raises(CapacityError):
        plane.write_vips([vip(CAPACITY.vips, UDP)])
    assert plane.read_vips() == {0: vip(0, KEY)}


def test_a_vip_twice_is_a_mistake_of_the_caller(plane: DataPlane) -> None:
    with pytest.raises(ValueError, match="twice"):
        plane.write_vips([vip(0, KEY), vip(1, KEY)])
    with pytest.raises(ValueError, match="twice"):
        plane.write_vips([vip(0, KEY), vip(0, UDP)])


def test_tables_are_replaced_and_copied(plane: DataPlane) -> None:
    mine = table(7)
    plane.write_table(2, mine)
    plane.write_table(3, table(8))
    mine[:] = 0
    read = read_table(plane, 2)
    assert np.array_equal(read, table(7))
    read[:] = 1
    assert np.array_equal(read_table(plane, 2), table(7))
    plane.write_table(2, table(9))
    assert np.array_equal(read_table(plane, 2), table(9))
    assert np.array_equal(read_table(plane, 3), table(8))


def test_a_table_deleted_is_gone_and_again_is_no_error(plane: DataPlane) -> None:
    plane.write_table(2, table(7))
    plane.delete_table(2)
    assert plane.read_table(2) is None
    plane.delete_table(2)


def test_refuses_a_table_beyond_its_capacity_or_of_another_shape(plane: DataPlane) -> None:
    with pytest.raises(CapacityError):
        plane.write_table(CAPACITY.vips, table(1))
    with pytest.raises(ValueError, match="65537"):
        plane.write_table(0, np.zeros(10, np.uint32))


@pytest.mark.parametrize(
    "entry",
    [
        backend(1),
        backend(31, epoch=65535, forward=Forward.DR),
        backend(2, usable=False),
        backend(2, usable=False, next_hop=None),
        backend(3, source=IPv4Address("10.200.0.0"), source_mask=0xFFFF),
    ],
    ids=["ipip", "dr", "not usable", "no next hop", "source by flow"],
)
def test_a_backend_reads_back_as_written(plane: DataPlane, entry: BackendEntry) -> None:
    plane.write_backends([entry])
    expected = entry
    if entry.source is not None:
        expected = replace(entry, next_hop=replace(HOP, source=entry.source))
    assert plane.read_backends() == {entry.id: expected}


def test_without_a_next_hop_a_backend_is_not_usable(plane: DataPlane) -> None:
    plane.write_backends([backend(1, next_hop=None)])
    assert not plane.read_backends()[1].usable


def test_writes_and_clears_only_the_backends_named(plane: DataPlane) -> None:
    plane.write_backends([backend(1), backend(2), backend(3)])
    plane.write_backends([backend(2, usable=False)])
    plane.clear_backends([3])
    plane.clear_backends([])
    plane.write_backends([])
    assert plane.read_backends() == {1: backend(1), 2: backend(2, usable=False)}


def test_takes_as_many_backends_as_its_capacity(plane: DataPlane) -> None:
    entries = {number: backend(number) for number in range(1, CAPACITY.backends + 1)}
    plane.write_backends(list(entries.values()))
    assert plane.read_backends() == entries


@pytest.mark.parametrize("number", [0, CAPACITY.backends + 1])
def test_refuses_a_backend_beyond_its_capacity_and_writes_none(plane: DataPlane, number: int) -> None:
    with pytest.raises(CapacityError) as refused:
        plane.write_backends([backend(1), replace(backend(2), id=number)])
    assert "--max-backends" in refused.value.hint
    assert plane.read_backends() == {}


def test_counters_are_of_the_vips_and_backends_there_are(kit: Kit) -> None:
    kit.plane.write_vips([vip(1, KEY)])
    kit.plane.write_backends([backend(1), backend(31)])
    kit.count_vip(1, VipCounters(10, 2**40, 3, 4))
    kit.count_vip(2, VipCounters(9, 9, 9, 9))
    kit.count_backend(31, BackendCounters(5, 6, 7))
    kit.count_reason("drop_no_backend", 12)
    counters = kit.plane.counters()
    assert counters.vips == {1: VipCounters(10, 2**40, 3, 4)}
    assert counters.backends == {1: BackendCounters(), 31: BackendCounters(5, 6, 7)}
    assert counters.reasons["drop_no_backend"] == 12
    assert set(counters.reasons) == {reason.name for reason in REASONS}
    assert sum(counters.reasons.values()) == 12


@pytest.mark.parametrize("all_ids", [False, True])
def test_counters_of_few_and_of_all_backends(kit: Kit, all_ids: bool) -> None:
    ids = range(1, 32) if all_ids else [9]
    kit.plane.write_backends([backend(number) for number in ids])
    for number in ids:
        kit.count_backend(number, BackendCounters(number, number * 2, number * 3))
    assert kit.plane.counters().backends == {n: BackendCounters(n, n * 2, n * 3) for n in ids}


def test_a_new_epoch_counts_from_zero_and_the_same_one_goes_on(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, epoch=4), backend(2, epoch=4)])
    for number in (1, 2):
        kit.count_backend(number, BackendCounters(5, 6, 7))
    kit.plane.write_backends([backend(1, epoch=4, usable=False), backend(2, epoch=5)])
    assert kit.plane.counters().backends == {1: BackendCounters(5, 6, 7), 2: BackendCounters()}


def test_a_backend_cleared_and_written_again_counts_from_zero(kit: Kit) -> None:
    kit.plane.write_backends([backend(1)])
    kit.count_backend(1, BackendCounters(5, 6, 7))
    kit.plane.clear_backends([1])
    kit.plane.write_backends([backend(1)])
    assert kit.plane.counters().backends == {1: BackendCounters()}


def test_vip_counters_are_reset_by_id(kit: Kit) -> None:
    kit.plane.write_vips([vip(0, KEY), vip(1, UDP)])
    for number in (0, 1):
        kit.count_vip(number, VipCounters(1, 2, 3, 4))
    kit.plane.reset_vip_counters([0])
    kit.plane.reset_vip_counters([])
    assert kit.plane.counters().vips == {0: VipCounters(), 1: VipCounters(1, 2, 3, 4)}


def test_flow_records_as_columns(kit: Kit) -> None:
    kit.add_flow("198.51.100.7", 40001, UDP, backend=9, epoch=65535, flags=layout.FLOW_FIN, age=30)
    records = kit.plane.scan_flows()
    assert records.key.shape == (1, 16)
    assert records.source.tolist() == [int(IPv4Address("198.51.100.7"))]
    assert records.source_port.tolist() == [40001]
    assert records.destination.tolist() == [int(UDP.address)]
    assert records.destination_port.tolist() == [443]
    assert records.protocol.tolist() == [17]
    assert (records.backend.tolist(), records.epoch.tolist()) == ([9], [65535])
    assert records.flags.tolist() == [layout.FLOW_FIN]
    assert records.age[0] == pytest.approx(30, abs=1)


def test_scans_and_counts_all_flows(kit: Kit) -> None:
    for port in range(1, 1501):
        kit.add_flow("198.51.100.7", port, KEY, backend=port % 7)
    records = kit.plane.scan_flows()
    assert sorted(records.source_port.tolist()) == list(range(1, 1501))
    assert all(port % 7 == owner for port, owner in zip(records.source_port, records.backend, strict=True))
    assert kit.plane.flow_count() == 1500


def test_deletes_the_records_given_and_those_gone_are_no_error(kit: Kit) -> None:
    for port in range(1, 101):
        kit.add_flow("198.51.100.7", port, KEY, backend=1)
    records = kit.plane.scan_flows()
    odd = records.source_port % 2 == 1
    first = replace(records, key=records.key[odd])
    kit.plane.delete_flows(first)
    assert sorted(kit.plane.scan_flows().source_port.tolist()) == list(range(2, 101, 2))
    kit.plane.delete_flows(first)
    kit.plane.delete_flows(records)
    assert kit.plane.flow_count() == 0
    kit.plane.delete_flows(kit.plane.scan_flows())


def test_another_plane_over_the_same_maps_sees_all(kit: Kit) -> None:
    kit.plane.write_vips([vip(1, KEY)])
    kit.plane.write_table(1, table(4))
    kit.plane.write_backends([backend(4)])
    kit.count_vip(1, VipCounters(1, 2, 3, 4))
    kit.count_backend(4, BackendCounters(5, 6, 7))
    again = kit.again()
    assert again.read_vips() == {1: vip(1, KEY)}
    assert np.array_equal(read_table(again, 1), table(4))
    assert again.read_backends() == {4: backend(4)}
    assert again.counters().vips == {1: VipCounters(1, 2, 3, 4)}
    assert again.counters().backends == {4: BackendCounters(5, 6, 7)}


def operations() -> list[Callable[[DataPlane], object]]:
    return [lambda plane: plane.write_vips([]), lambda plane: plane.scan_flows(), lambda plane: plane.attachments()]


@pytest.mark.parametrize("operation", operations(), ids=["write_vips", "scan_flows", "attachments"])
def test_operations_can_be_repeated(plane: DataPlane, operation: Callable[[DataPlane], object]) -> None:
    operation(plane)
    operation(plane)
