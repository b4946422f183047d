# SPDX-License-Identifier: Apache-2.0
"""Tables of VIPs in the kernel: changed in place, and there at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.planes import new_plane
from tests.contract.planes import KEY, backend, table, vip
from tests.private_host import private_host
from xdplb.dataplane import bcc_plane, layout, vip_tables
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.carry import Pair
from xdplb.dataplane.grace import wait_for_packets
from xdplb.dataplane.inner_maps import swap_element
from xdplb.dataplane.map_layout import MapLayout
from xdplb.dataplane.map_specs import U32, VIP_TABLE, MapSpec, map_specs
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.vip_tables import VipTables

pytestmark = pytest.mark.root

VIPS = 300


@pytest.fixture
def outer() -> Iterator[BpfMap]:
    with MapSpec("tables", MapType.ARRAY_OF_MAPS, U32, U32, VIPS, inner=VIP_TABLE).create() as made:
        yield made


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[BccPlane]:
    with private_host(tmp_path) as pin_dir:
        yield new_plane(pin_dir)


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def counted(work: Callable[..., None], asked: list[str]) -> Callable[..., None]:
    def call(*arguments: Any, **options: Any) -> None:
        asked.append(work.__name__)
        work(*arguments, **options)

    return call


@pytest.mark.parametrize("compiled", [True, False])
def test_a_table_is_changed_in_place(outer: BpfMap, monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    if not compiled:
        monkeypatch.setattr(vip_tables, "LOOPS", None)
    tables = VipTables(outer)
    tables.write(7, table(1))
    there = outer.lookup(7)
    for wanted in (table(2), np.arange(layout.TABLE_SIZE, dtype=np.uint32)):
        tables.write(7, wanted)
        read = tables.read(7)
        assert read is not None
        assert np.array_equal(read, wanted)
        assert outer.lookup(7) == there, "it is another map"
    assert tables.read(8) is None


def test_many_new_tables_are_there_at_once_and_empty(outer: BpfMap, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = VipTables(outer)
    tables.write(5, table(9))
    asked: list[str] = []
    for name in ("update", "update_batch"):
        monkeypatch.setattr(BpfMap, name, counted(getattr(BpfMap, name), asked))
    tables.add(range(VIPS))
    # Each call on its own may wait for a grace period, some 15 ms.
    assert asked == ["update_batch"] * 3
    for vip_id in range(VIPS):
        read = tables.read(vip_id)
        assert read is not None
        assert read.any() == (vip_id == 5)


def test_tables_are_not_kept_in_this_process(outer: BpfMap) -> None:
    tables = VipTables(outer)
    tables.add(range(VIPS))
    before = memory()
    for vip_id in range(VIPS):
        tables.write(vip_id, table(3))
    assert memory() - before < VIPS * layout.VIP_TABLE.itemsize / 10


def test_tables_that_could_not_be_changed_in_place_are_copied(outer: BpfMap) -> None:
    inner = MapSpec("vip_table", MapType.ARRAY, U32, layout.VIP_TABLE, 1)
    old = MapSpec("tables", MapType.ARRAY_OF_MAPS, U32, U32, 16, inner=inner).create()
    value = np.zeros(1, layout.VIP_TABLE)
    value["slots"][0] = table(4)
    swap_element(old, 3, "vip_table", value)
    spec = next(spec for spec in map_specs(Capacity(vips=16)) if spec.name == "vip_tables")
    new = spec.create()
    before, after = (MapLayout(version, U32, layout.VIP_TABLE) for version in (1, spec.layout.version))
    Pair.of("vip_tables", old, {"vip_tables": new}, {"vip_tables": before}, {"vip_tables": after}).fill(spec)
    tables = VipTables(new)
    read = tables.read(3)
    assert read is not None
    assert np.array_equal(read, table(4))
    tables.write(3, table(5))
    assert tables.read(2) is None


def test_what_old_slots_name_is_deleted_when_no_packet_has_seen_them(
    plane: BccPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[int, int]] = []

    def noting() -> None:
        wait_for_packets()
        waits.append((len(plane.read_backends()), len(plane.scan_flows().backend)))

    monkeypatch.setattr(bcc_plane, "wait_for_packets", noting)
    plane.write_vips([vip(0, KEY)])
    plane.write_backends([backend(1), backend(2)])
    for number in range(20):
        plane.write_table(0, table(number))
    assert waits == []
    plane.clear_backends([1])
    assert waits == [(2, 0)]
    assert list(plane.read_backends()) == [2]
    plane.clear_backends([])
    plane.delete_flows(plane.scan_flows())
    assert waits == [(2, 0)]
