"""One suite for every DataPlane: the one in the kernel and its fake keep the same promises."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
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
from xdplb.dataplane.plane import (
    BackendCounters,
    BackendEntry,
    Capacity,
    DataPlane,
    FlowRecords,
    Slots,
    VipCounters,
    VipEntry,
)
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.remembered import Buckets, FlowId, Remembered
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError, InvalidError
from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.model.vip import Forward, Protocol, QuicIds, RateLimits, Scheduler, VipKey

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
        key = address.packed.ljust(16, b"\0") + vip_id.to_bytes(8, "little")
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


@pytest.fixture(params=KINDS)
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A plane with all features."""
    with make_kit(request.param, ALL_FEATURES) as made:
        yield made


@pytest.fixture(params=KINDS)
def plain(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane with no feature yet."""
    with make_kit(request.param, frozenset()) as made:
        yield made.plane


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


def build(address: IPAddress) -> Callable[[dict[int, AccessList]], np.ndarray]:
    """Return what builds the access index of the address's family."""
    return build4 if address.version == 4 else build6


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


EVERY_KIND = [
    vip(0, KEY),
    vip(1, UDP, track_always=True, hash_source=True, idle_seconds=65535),
    vip(2, VipKey.parse("203.0.113.11:53/tcp+udp")),
    vip(3, V6, scheduler=Scheduler.LC, track_always=True, candidates=128),
    vip(4, V6_UDP, quic=QuicIds(8, 6), has_access_list=True),
    vip(5, VipKey.parse("[2001:db8::11]:53/tcp+udp"), limits=RateLimits(1, 30_001, 999_999_999, 1_000_000_000)),
    vip(6, VipKey.parse("203.0.113.0/24:0/tcp+udp")),
    vip(7, VipKey.parse("[2001:db8::/32]:1000-2000/udp"), limits=RateLimits(source_packets=7)),
]


def test_vips_of_every_kind_read_back_as_written(kit: Kit) -> None:
    kit.plane.write_vips(EVERY_KIND)
    assert kit.plane.read_vips() == {entry.id: entry for entry in EVERY_KIND}
    assert kit.again().read_vips() == {entry.id: entry for entry in EVERY_KIND}
    kit.plane.write_vips(EVERY_KIND[::2])
    assert kit.again().read_vips() == {entry.id: entry for entry in EVERY_KIND[::2]}
    kit.plane.write_vips([])
    assert kit.again().read_vips() == {}


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("key", [KEY, VipKey.parse("[2001:db8::/64]:80/tcp")], ids=["exact", "wildcard"])
def test_a_scheduler_reads_back_by_its_name(kit: Kit, scheduler: Scheduler, key: VipKey) -> None:
    kit.plane.write_vips([vip(1, key, scheduler=scheduler)])
    assert kit.again().read_vips()[1].scheduler is scheduler


def test_vips_around_and_beside_one_another_read_back(kit: Kit) -> None:
    texts = [
        "203.0.113.10:443/tcp+udp",
        "203.0.113.10:443/tcp",
        "203.0.113.10:443/udp",
        "203.0.113.10:0/tcp",
        "203.0.113.0/24:443/tcp+udp",
        "203.0.0.0/16:400-500/tcp",
        "203.0.0.0/16:0/udp",
        "203.0.113.10:443-444/tcp+udp",
    ]
    entries = {number: vip(number, VipKey.parse(text)) for number, text in enumerate(texts)}
    kit.plane.write_vips(list(entries.values()))
    assert kit.again().read_vips() == entries
    del entries[4]
    kit.plane.write_vips(list(entries.values()))
    assert kit.again().read_vips() == entries


def test_more_candidates_than_fit_are_refused(plane: DataPlane) -> None:
    with pytest.raises(CapacityError, match="129 backends"):
        plane.write_vips([vip(1, KEY, scheduler=Scheduler.LC, candidates=129)])


@pytest.mark.parametrize("entry", EVERY_KIND[3:], ids=lambda entry: str(entry.key))
def test_what_was_not_required_is_a_mistake_of_the_caller(plain: DataPlane, entry: VipEntry) -> None:
    with pytest.raises(ValueError, match="require it first"):
        plain.write_vips([entry])
    assert plain.read_vips() == {}


@pytest.mark.parametrize(
    "changes",
    [{"forward": Forward.GUE}, {"keep_tags": True}, {"next_hop": replace(HOP, tags=(VlanTag(5),))}],
    ids=["gue", "tags kept", "tagged"],
)
def test_a_backend_for_what_was_not_required(plain: DataPlane, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="require it first"):
        plain.write_backends([backend(1, **changes)])
    assert plain.read_backends() == {}


def test_access_lists_where_they_were_not_required(plain: DataPlane) -> None:
    plain.write_access({})
    with pytest.raises(ValueError, match="require it first"):
        plain.write_access({1: AccessList(deny=(ip_network("198.51.100.0/24"),))})


def test_what_is_required_is_there_and_what_was_stays(plain: DataPlane) -> None:
    assert plain.features == frozenset()
    plain.write_vips([vip(0, KEY)])
    plain.require(frozenset({Feature.IPV6, Feature.LIMITS}))
    plain.require(frozenset({Feature.LIMITS}))
    assert plain.features == {Feature.IPV6, Feature.LIMITS}
    plain.write_vips([vip(0, KEY), EVERY_KIND[5]])
    assert plain.read_vips() == {0: vip(0, KEY), 5: EVERY_KIND[5]}


def test_a_frame_that_cannot_be_tried_is_refused(plane: DataPlane) -> None:
    for frame in (b"", bytes(13), bytes(3521)):
        with pytest.raises(InvalidError, match="cannot be tried"):
            plane.explain(frame, 1)


def test_what_is_there_already_can_be_required(plane: DataPlane) -> None:
    plane.require(frozenset({Feature.IPV6}))
    assert plane.features == ALL_FEATURES


OUTER6: dict[str, Any] = {"address": IPv6Address("2001:db8:2::9"), "next_hop": HOP6}


@pytest.mark.parametrize(
    "entry",
    [
        backend(1),
        backend(31, epoch=65535, forward=Forward.DR),
        backend(2, usable=False),
        backend(2, usable=False, next_hop=None),
        backend(3, source=IPv4Address("10.200.0.0"), source_mask=0xFFFF),
        backend(4, inner_version=6),
        backend(5, forward=Forward.GUE, weight=65535),
        backend(6, **OUTER6),
        backend(7, **OUTER6, forward=Forward.GUE, inner_version=6),
        backend(8, **OUTER6, forward=Forward.DR, inner_version=6),
        backend(9, **OUTER6, source=IPv6Address("2001:db8:3::"), source_mask=0xFFFFFFFF),
        backend(10, next_hop=replace(HOP, tags=(VlanTag(4094),))),
        backend(11, next_hop=replace(HOP, tags=(VlanTag(7, 0x88A8), VlanTag(8))), keep_tags=True),
        backend(12, quic_server_id=b"\0\0"),
        backend(13, quic_server_id=bytes(range(8)), weight=0),
        backend(14, usable=False, next_hop=None, source=IPv4Address("10.200.0.0"), source_mask=0xFFFF),
    ],
    ids=lambda entry: f"backend {entry.id}",
)
def test_a_backend_reads_back_as_written(kit: Kit, entry: BackendEntry) -> None:
    kit.plane.write_backends([entry])
    expected = entry
    if entry.source is not None and entry.next_hop is not None:
        expected = replace(entry, next_hop=replace(entry.next_hop, source=entry.source))
    assert kit.plane.read_backends() == {entry.id: expected}
    assert kit.again().read_backends() == {entry.id: expected}


def test_tags_that_no_frame_can_have(plane: DataPlane) -> None:
    for tags in ((VlanTag(1),) * 3, (VlanTag(1), VlanTag(2, 0x88A8))):
        with pytest.raises(ValueError, match="two VLAN tags"):
            plane.write_backends([backend(1, next_hop=replace(HOP, tags=tags))])


def test_a_server_id_goes_from_one_backend_to_another(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, quic_server_id=b"\1"), backend(2, quic_server_id=b"\2")])
    kit.plane.write_backends([backend(3, quic_server_id=b"\1"), backend(2, quic_server_id=b"\3")])
    kit.plane.clear_backends([1])
    held = {number: found.quic_server_id for number, found in kit.again().read_backends().items()}
    assert held == {2: b"\3", 3: b"\1"}


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
    kit.count_vip(1, VipCounters(10, 2**40, 3, 4, 5))
    kit.count_vip(2, VipCounters(9, 9, 9, 9, 9))
    kit.count_backend(31, BackendCounters(5, 6, 7))
    kit.count_reason("drop_no_backend", 12)
    counters = kit.plane.counters()
    assert counters.vips == {1: VipCounters(10, 2**40, 3, 4, 5)}
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
    kit.add_flow("198.51.100.7", 40001, UDP, backend=9, epoch=65535, flags=layout.FLOW_FIN, age=30, vip_id=3)
    records = kit.plane.scan_flows()
    assert records.key.shape == (1, 40)
    assert records.version.tolist() == [4]
    assert records.source.tolist() == [[0, int(IPv4Address("198.51.100.7"))]]
    assert records.source_port.tolist() == [40001]
    assert records.destination.tolist() == [[0, int(UDP.address)]]
    assert records.destination_port.tolist() == [443]
    assert records.protocol.tolist() == [17]
    assert (records.vip.tolist(), records.backend.tolist(), records.epoch.tolist()) == ([3], [9], [65535])
    assert records.flags.tolist() == [layout.FLOW_FIN]
    assert records.age[0] == pytest.approx(30, abs=1)
    assert records.probation.tolist() == [False]


def test_flow_records_of_ipv6(kit: Kit) -> None:
    kit.add_flow("2001:db8:f::7", 40001, V6, backend=9, vip_id=65535)
    records = kit.plane.scan_flows()
    assert records.version.tolist() == [6]
    assert records.source.tolist() == [[0x20010DB8000F0000, 7]]
    assert records.destination.tolist() == [[0x20010DB800000000, 0x10]]
    assert (records.source_port.tolist(), records.destination_port.tolist()) == ([40001], [443])
    assert (records.protocol.tolist(), records.vip.tolist(), records.backend.tolist()) == ([6], [65535], [9])


def test_records_on_probation_are_scanned_and_deleted_but_not_counted(kit: Kit) -> None:
    for number, key in enumerate((KEY, V6)):
        source = "198.51.100.7" if key is KEY else "2001:db8:f::7"
        kit.add_flow(source, 10 + number, key, backend=1, probation=True)
        kit.add_flow(source, 20 + number, key, backend=1)
    records = kit.plane.scan_flows()
    assert dict(zip(records.source_port.tolist(), records.probation.tolist(), strict=True)) == {
        10: True,
        11: True,
        20: False,
        21: False,
    }
    assert kit.plane.flow_count() == 2
    kit.plane.delete_flows(select(records, records.source_port != 21))
    assert kit.plane.scan_flows().source_port.tolist() == [21]


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
    first = select(records, records.source_port % 2 == 1)
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


def select(records: FlowRecords, chosen: np.ndarray) -> FlowRecords:
    return FlowRecords(**{field.name: getattr(records, field.name)[chosen] for field in fields(FlowRecords)})


def test_each_vip_has_its_own_access_list(kit: Kit) -> None:
    deny, deny6 = (AccessList(deny=(ip_network(prefix),)) for prefix in ("198.51.100.0/24", "2001:db8:f::/48"))
    allow, allow6 = (AccessList(allow=(ip_network(prefix),)) for prefix in ("198.51.100.7", "2001:db8:f::7"))
    kit.plane.write_access({1: deny, 2: deny6, 6: allow, 7: allow6})
    inside, outside = ("198.51.100.7", "2001:db8:f::7"), ("203.0.113.1", "::1")
    for at, (denying, allowing) in enumerate(((1, 6), (2, 7))):
        assert kit.is_denied(denying, inside[at])
        assert not kit.is_denied(denying, outside[at])
        assert not kit.is_denied(allowing, inside[at])
        assert kit.is_denied(allowing, outside[at])
    kit.plane.write_access({6: deny})
    assert kit.is_denied(6, "198.51.100.7")


WIDE = Capacity(vips=300, backends=8, flows=64)


@pytest.fixture(params=KINDS)
def wide(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane with all features and room for more VIPs than some things take."""
    with make_kit(request.param, ALL_FEATURES, WIDE) as made:
        yield made.plane


def test_more_access_lists_than_fit_are_refused(wide: DataPlane) -> None:
    lists = {number: AccessList(deny=(ip_network("198.51.100.0/24"),)) for number in range(257)}
    wide.write_access({number: lists[number] for number in range(256)})
    with pytest.raises(CapacityError, match="257 VIPs have access lists; 256 can"):
        wide.write_access(lists)


def test_more_vips_around_one_another_than_fit_are_refused(wide: DataPlane) -> None:
    entries = [vip(number, VipKey.parse(f"203.0.0.0/16:{100 + number}/tcp")) for number in range(33)]
    wide.write_vips(entries[:32])
    with pytest.raises(CapacityError, match="33 VIPs"):
        wide.write_vips(entries)
    assert len(wide.read_vips()) == 32


def test_a_vip_keeps_its_list_when_another_daemon_takes_over(kit: Kit) -> None:
    lists = {number: AccessList(deny=(ip_network(f"198.51.100.{number}"),)) for number in range(4)}
    kit.plane.write_access(lists)
    kit.plane.write_vips([vip(number, KEY if number == 2 else UDP, has_access_list=True) for number in (2, 3)])
    again = kit.again()
    again.write_access({0: lists[0], 3: lists[3], 2: lists[2], 7: lists[1]})
    for vip_id, last in ((0, 0), (2, 2), (3, 3), (7, 1)):
        assert [kit.is_denied(vip_id, f"198.51.100.{number}") for number in range(4)] == [n == last for n in range(4)]


def test_loads_are_set_and_start_at_zero(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, weight=3), backend(2), backend(3)])
    kit.plane.write_loads({1: 7, 2: 2**33, 3: 1})
    kit.plane.write_loads({})
    kit.plane.write_backends([backend(1, weight=4), backend(2, epoch=1)])
    assert [kit.load(number) for number in (1, 2, 3)] == [7, 0, 1]
    kit.plane.clear_backends([1])
    kit.plane.write_backends([backend(1)])
    assert kit.load(1) == 0
    with pytest.raises(CapacityError):
        kit.plane.write_loads({CAPACITY.backends + 1: 1})


@pytest.mark.parametrize("probation", [False, True], ids=["open", "probation"])
@pytest.mark.parametrize(("source", "key"), [("198.51.100.7", KEY), ("2001:db8:c::7", V6_UDP)], ids=["IPv4", "IPv6"])
def test_what_packets_have_left_is_recalled(kit: Kit, source: str, key: VipKey, *, probation: bool) -> None:
    flow = FlowId(ip_address(source), 40000, key.address, key.port, key.protocol.numbers[0])
    nothing = kit.plane.recall(flow, 3)
    assert replace(nothing, new_flows=()) == Remembered()
    assert not any(nothing.new_flows)
    kit.add_flow(source, 40000, key, backend=5, epoch=9, flags=3, age=7, vip_id=3, probation=probation)
    kit.fill_buckets(source, 3, Buckets(1, 2**40), Buckets(2**41, 4))
    kit.count_vip(3, VipCounters(new_flows=11))
    kit.plane.write_backends([backend(5), backend(6)])
    kit.plane.write_loads({5: 2, 6: 0})
    found = kit.plane.recall(flow, 3)
    assert found.record is not None
    assert astuple(replace(found.record, last_seen=0)) == (5, 9, 3, 3, 0, probation)
    assert (found.source_buckets, found.vip_buckets) == (Buckets(1, 2**40), Buckets(2**41, 4))
    assert (dict(found.loads), sum(found.new_flows)) == ({5: 2}, 11)
    others = kit.plane.recall(replace(flow, source_port=40001), 2)
    assert (others.record, others.source_buckets, others.vip_buckets) == (None, None, Buckets())


def operations() -> list[Callable[[DataPlane], object]]:
    return [lambda plane: plane.write_vips([]), lambda plane: plane.scan_flows(), lambda plane: plane.attachments()]


@pytest.mark.parametrize("operation", operations(), ids=["write_vips", "scan_flows", "attachments"])
def test_operations_can_be_repeated(plane: DataPlane, operation: Callable[[DataPlane], object]) -> None:
    operation(plane)
    operation(plane)
