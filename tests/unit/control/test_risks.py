# SPDX-License-Identifier: Apache-2.0
"""How many connections a change may break: where the numbers come from, and what is told afterwards."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run_in, with_backends
from xdplb.control.edits.edit import CreateBackend, DeleteBackend, DeleteVip, DrainBackend, Edit, PatchVip
from xdplb.control.events import ChangeCameOut, ChangeMade, Event
from xdplb.control.plan.impact import AtRisk, Cause, Concern, KnownBy
from xdplb.control.writing.request import Outcome, Request
from xdplb.dataplane.plane import BackendCounters, Capacity, VipCounters
from xdplb.model.errors import PlatformError
from xdplb.model.vip import Tracking

ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")
IDLE = WEB.idle_timeout_seconds


async def asked(door: Door, edit: Edit, **under: object) -> Outcome:
    return await door.manager.change(Request(edit=edit, **under))  # type: ignore[arg-type]


async def noted(world: World, door: Door) -> None:
    """Return when the counters have been read once more."""
    world.clock.advance(31)
    calls = world.plane.calls.count("counters")
    await until(lambda: world.plane.calls.count("counters") > calls)


def test_what_was_seen_before_the_idle_timeout_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        world.plane.count_backend(1, BackendCounters(packets=500, new_flows=20))
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert done.impact.at_risk == AtRisk(20, 500, KnownBy.COUNTERS)
        for _ in range(4):
            await noted(world, door)
        world.plane.count_backend(1, BackendCounters(packets=507, new_flows=20))
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert done.impact.at_risk == AtRisk(7, 7, KnownBy.COUNTERS)
        for _ in range(4):
            await noted(world, door)
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert done.impact.at_risk == AtRisk(0, 0, KnownBy.COUNTERS)

    run_in(world, scenario)


def test_records_are_counted_where_every_connection_has_one(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await door.put_vip(replace(WEB, tracking=Tracking.ALWAYS))
        for last in (1, 2):
            await door.create_backend("web", backend(last))
        world.plane.count_backend(1, BackendCounters(packets=500, new_flows=20))
        for port in range(5):
            world.plane.add_flow("198.51.100.7", 40000 + port, WEB.key, backend=1)
        await door.drain("web", "10.0.0.2")  # has the flow table scanned
        await until(lambda: door.backend("web", "10.0.0.1").flows == 5)
        world.plane.count_backend(1, BackendCounters(packets=520, new_flows=22))  # two came since the scan
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert done.impact.at_risk.known_by is KnownBy.RECORDS
        assert done.impact.at_risk.at_most in {5, 7}, "5 if another scan has come since"
        done = await asked(door, PatchVip(WEB.key, {"hash": "source"}), dry_run=True)
        assert done.impact.at_risk == AtRisk(0, 0, KnownBy.RECORDS), "their records say where they go"

    run_in(world, scenario)


def test_a_vip_that_has_just_begun_to_record_has_connections_without_a_record(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        world.plane.count_vip(0, VipCounters(packets=90, new_flows=9))
        await asked(door, PatchVip(WEB.key, {"tracking": "always"}))
        rehash = PatchVip(WEB.key, {"hash": "source"})
        assert (await asked(door, rehash, dry_run=True)).impact.at_risk.at_most == 90
        world.clock.advance(IDLE + 1)
        assert (await asked(door, rehash, dry_run=True)).impact.at_risk.at_most == 0

    run_in(world, scenario)


def test_with_a_full_flow_table_slots_that_move_are_no_promise(tmp_path: Path) -> None:
    world = World(tmp_path, Capacity(vips=4, backends=16, flows=100))

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        world.plane.count_backend(1, BackendCounters(packets=500, new_flows=20))
        drain = DrainBackend(WEB.key, ONE)
        assert (await asked(door, drain, dry_run=True)).impact.at_risk == AtRisk()
        door.manager._flows.records = 60
        done = await asked(door, drain, dry_run=True)
        assert [risk.cause for risk in done.impact.risks] == [Cause.FLOW_TABLE]
        assert done.impact.at_risk.at_most == 500
        assert Concern.AT_RISK in {warned.concern for warned in done.impact.warnings}

    run_in(world, scenario)


def test_where_the_maps_cannot_be_read_nothing_is_promised(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        made: list[Event] = []
        door.manager.events.listen(made.append)
        door.manager._writer.applier._held = None
        world.plane.failures["read_vips"] += [PlatformError("no") for _ in range(9)]
        with pytest.raises(PlatformError, match="saved"):
            await asked(door, DeleteBackend(WEB.key, ONE))
        [event] = [event for event in made if isinstance(event, ChangeMade)]
        assert event.impact.at_risk == AtRisk(None, None, KnownBy.NOTHING)

    run_in(world, scenario)


def test_some_time_after_a_change_an_event_says_what_became_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        door.manager._aftermath._seconds = 0.05
        said: list[Event] = []
        door.manager.events.listen(said.append)

        def came_out() -> list[ChangeCameOut]:
            return [event for event in said if isinstance(event, ChangeCameOut) and event.generation > 3]

        world.plane.count_vip(0, VipCounters(packets=90, at_risk=3))
        done = await asked(door, DrainBackend(WEB.key, ONE))
        await until(lambda: any(each.generation > 3 and each.before for each in door.manager._aftermath._watched))
        world.plane.count_vip(0, VipCounters(packets=99, at_risk=5))
        await until(came_out)
        [event] = came_out()
        assert (event.generation, event.at_most, event.at_risk_packets) == (done.generation, 0, 2)
        assert (event.vip, event.vips) == (str(WEB.key), 1)
        assert event.slots_moved == done.impact.tables[0].moved > 0
        await asked(door, PatchVip(WEB.key, {"on_unhealthy": "keep"}))  # which touches no packet
        await asked(door, CreateBackend(WEB.key, backend(3)))
        await asked(door, DeleteVip(WEB.key))
        await until(lambda: len(came_out()) == 3)
        assert [event.generation for event in came_out()] == [done.generation, done.generation + 2, done.generation + 3]

    run_in(world, scenario)
