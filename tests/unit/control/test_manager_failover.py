# SPDX-License-Identifier: Apache-2.0
"""A host that many VIPs have dies: who gets a table first, what is computed for all of them, and failures half-way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import World, fills_from_now, run, with_backends
from xdplb.balance import table
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.slots import Slots, unpack
from xdplb.control.writing.batches import batches
from xdplb.dataplane.layout import FLOW_RST
from xdplb.dataplane.plane import VipCounters
from xdplb.model.errors import PlatformError
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Vip, VipKey

VIPS = [Vip(VipKey.parse(f"203.0.113.{last}:80/tcp"), name=f"vip-{last}") for last in range(12)]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
DEAD = Resolution(None, "no answer to ARP")


async def with_many_vips(manager: Door) -> None:
    for vip in VIPS:
        await with_backends(manager, 1, 2, 3, vip=vip)


def shares(manager: Door) -> set[float]:
    return {manager.backend(vip.name, "10.0.0.1").share for vip in VIPS}


def written_by(world: World) -> list[int]:
    """Return a list that gets the VIP ids of the tables written from now on."""
    written: list[int] = []
    write = world.plane.write_table

    def noting(vip_id: int, slots: Slots, fingerprint: bytes = b"") -> None:
        write(vip_id, slots, fingerprint)
        written.append(vip_id)

    world.plane.write_table = noting  # type: ignore[method-assign]
    return written


def test_the_vips_with_most_traffic_lose_a_dead_host_first(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        traffic = manager.manager._writer.traffic
        past = {vip_id: VipCounters(packets=10**6) for vip_id in range(12)}
        traffic.note_vips(past, NOW)
        traffic.note_vips(past | {7: VipCounters(packets=10**6 + 500), 9: VipCounters(packets=2 * 10**6)}, NOW)
        traffic.note_vips = lambda *_: None  # type: ignore[method-assign]  # no other reading comes between
        written, before = written_by(world), len(world.writes())
        world.hops.set("10.0.0.1", DEAD)
        await until(lambda: shares(manager) == {0.0})
        assert set(written[:4]) == {9, 7, 0, 1}
        assert sorted(written) == list(range(12))
        # Each part is complete, its backends too, before the next one is planned.
        writes = world.writes()[before:]
        assert writes[:5] == ["write_table"] * 4 + ["write_backends"]
        assert writes[5] == "write_table"

    run(tmp_path, scenario, scans=False)


def test_traffic_is_read_from_the_counters(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        for vip_id in range(12):
            world.plane.count_vip(vip_id, VipCounters(packets=100 + vip_id))
        world.clock.advance(31)
        traffic = manager.manager._writer.traffic
        await until(lambda: traffic.busiest_first(range(12)) == list(reversed(range(12))))

    run(tmp_path, scenario)


def test_one_table_is_computed_for_all_vips_with_the_same_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills = fills_from_now(monkeypatch)

    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        table._places.cache_clear()
        table._pattern.cache_clear()
        fills.clear()
        world.hops.set("10.0.0.1", DEAD)
        await until(lambda: shares(manager) == {0.0})
        assert len(fills) == 1
        tables = manager.manager._writer.applier.tables
        assert len({id(tables[vip_id].owners.pattern) for vip_id in range(12)}) == 1

    run(tmp_path, scenario)


def test_a_failure_half_way_is_tried_again_until_all_vips_are_without_the_dead_host(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        write, times = world.plane.write_table, iter(range(100))

        def failing(vip_id: int, slots: Slots, fingerprint: bytes = b"") -> None:
            if next(times) == 6:
                raise PlatformError("no memory")
            write(vip_id, slots, fingerprint)

        world.plane.write_table = failing  # type: ignore[method-assign]
        world.hops.set("10.0.0.1", DEAD)
        await until(lambda: shares(manager) == {0.0} and manager.not_ready() == [])
        for vip_id in range(12):
            owners = unpack(world.table(vip_id))[0]
            assert {world.plane.read_backends()[number].usable for number in set(owners.tolist())} == {True}
        assert {entry.usable for entry in world.plane.read_backends().values() if str(entry.address) == "10.0.0.1"} == {
            False
        }

    run(tmp_path, scenario)


def test_parts_grow_and_together_are_all() -> None:
    parts = list(batches(range(300)))
    assert [len(part) for part in parts] == [4, 8, 16, 32, 64, 64, 64, 48]
    assert [min(part) for part in parts] == [0, 4, 12, 28, 60, 124, 188, 252]
    assert frozenset().union(*parts) == frozenset(range(300))


def test_of_nothing_there_is_no_part() -> None:
    assert list(batches([])) == []


def test_the_slots_of_many_vips_settle_together(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        for vip in VIPS:
            for port in range(2000, 2050):
                world.plane.add_flow("198.51.100.7", port, vip.key, backend=1, flags=FLOW_RST)
        before = len(world.plane.calls)
        world.clock.advance(901)
        await until(lambda: all(manager.vip(vip.name).slots.steady == TABLE_SIZE for vip in VIPS))
        await until(lambda: world.plane.flow_count() < 12 * 50)
        # The records of many VIPs are deleted with one wait for the packets under way.
        assert 0 < world.plane.calls[before:].count("delete_flows") < len(VIPS)

    run(tmp_path, scenario)


def test_after_a_failure_it_is_still_said_why_other_backends_get_nothing_new(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_many_vips(manager)
        await manager.patch_backend("vip-0", "10.0.0.2", {"weight": 0})
        world.clock.advance(1000)
        await until(lambda: manager.vip("vip-0").slots.steady == TABLE_SIZE)
        world.plane.fail("write_table", PlatformError("no memory"))
        world.hops.set("10.0.0.1", DEAD)
        await until(lambda: shares(manager) == {0.0} and manager.not_ready() == [])
        assert manager.backend("vip-0", "10.0.0.2").reason == "its weight is 0"

    run(tmp_path, scenario)
