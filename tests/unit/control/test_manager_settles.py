# SPDX-License-Identifier: Apache-2.0
"""Drains, and slots that settle: when, what holds them up, and what becomes of the records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, slots_of, viewed, with_backends
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import Owners, unpack
from xdplb.control.flows.drain import DrainState
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST, FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import BackendCounters
from xdplb.model.errors import ConflictError
from xdplb.model.vip import HashKind, QuicIds, Tracking, Vip, VipKey

# --- drains ----------------------------------------------------------------------------------------------------------


async def draining(world: World, manager: Door, **times: Any) -> None:
    """Begin to drain 10.0.0.1 (id 1) of two, with one open connection in a slot of its."""
    await with_backends(manager, 1, 2)
    client, port = world.flow_to(1)
    await manager.drain("web", "10.0.0.1", **times)
    world.plane.add_flow(client, port, WEB.key, backend=1)


async def counted(world: World) -> None:
    """Return when the counters of backends, as they are, have been read and taken note of."""
    before = world.plane.calls.count("counters")
    await until(lambda: world.plane.calls.count("counters") > before + 1)


def drain_of(manager: Door) -> tuple[DrainState, int | None]:
    drain = manager.backend("web", "10.0.0.1").drain
    assert drain is not None
    return drain.state, drain.flows


def test_a_drain_takes_nothing_new_and_ends_with_the_last_connection(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager)
        view = manager.backend("web", "10.0.0.1")
        assert (view.share, view.reason, view.backend.admin_state) == (0.0, "draining", "drain")
        assert 1 in unpack(world.table())[1]
        world.clock.advance(20)
        world.plane.add_flow("198.51.100.8", 1024, WEB.key, backend=1)
        await until(lambda: drain_of(manager) == (DrainState.DRAINING, 2))
        world.plane.add_flow("198.51.100.8", 1024, WEB.key, backend=1, flags=FLOW_ESTABLISHED | FLOW_RST)
        await until(lambda: drain_of(manager) == (DrainState.DRAINING, 1))
        assert manager.backend("web", "10.0.0.1").flows == 1
        world.clock.advance(61)
        await until(lambda: drain_of(manager) == (DrainState.DRAINED, 0))

    run(tmp_path, scenario)


def test_a_drain_is_not_over_before_idle_connections_had_time_to_speak(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.drain("web", "10.0.0.1", quiet_seconds=10)
        await until(lambda: drain_of(manager) == (DrainState.DRAINING, 0))
        world.clock.advance(9)
        await asyncio.sleep(0.05)
        assert drain_of(manager) == (DrainState.DRAINING, 0)
        world.clock.advance(2)
        await until(lambda: drain_of(manager) == (DrainState.DRAINED, 0))

    run(tmp_path, scenario)


def test_a_drain_of_quic_is_over_when_no_packet_comes_any_more(tmp_path: Path) -> None:
    """Connections that go by their ID have no records: the backend's packets are all there is to see of them."""

    async def scenario(world: World, manager: Door) -> None:
        quic = Vip(VipKey.parse("203.0.113.10:443/udp"), name="web", quic=QuicIds(2))
        await with_backends(manager, 1, 2, vip=quic)
        await manager.drain("web", "10.0.0.1", quiet_seconds=10)
        for packets in (5, 6, 7):
            world.plane.count_backend(1, BackendCounters(packets=packets))
            await counted(world)  # else, on a busy machine, they would be as of later
            world.clock.advance(9)
            await asyncio.sleep(0.05)
            assert drain_of(manager) == (DrainState.DRAINING, None)
        world.clock.advance(11)
        await until(lambda: drain_of(manager) == (DrainState.DRAINED, 0))
        world.plane.count_backend(1, BackendCounters(packets=8))
        await manager.undrain("web", "10.0.0.1")
        await manager.drain("web", "10.0.0.1", quiet_seconds=10, timeout_seconds=15)
        world.clock.advance(9)
        await asyncio.sleep(0.05)
        world.plane.count_backend(1, BackendCounters(packets=9))
        await asyncio.sleep(0.05)
        world.clock.advance(7)
        await until(lambda: drain_of(manager) == (DrainState.TIMED_OUT, None))

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("flags", "age", "epoch", "flows"),
    [
        (FLOW_ESTABLISHED, 59.0, 0, 1),
        (FLOW_ESTABLISHED, 62.0, 0, 0),
        (FLOW_ESTABLISHED | FLOW_FIN, 4.0, 0, 1),
        (FLOW_ESTABLISHED | FLOW_FIN, 6.0, 0, 0),
        (FLOW_RST, 0.0, 0, 0),
        (0, 9.0, 0, 1),
        (0, 11.0, 0, 0),
        (FLOW_ESTABLISHED, 0.0, 3, 0),
    ],
)
def test_which_records_are_open_connections(tmp_path: Path, flags: int, age: float, epoch: int, flows: int) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        world.plane.add_flow("198.51.100.1", 1024, WEB.key, backend=1, flags=flags, age=age, epoch=epoch)
        await manager.drain("web", "10.0.0.1")
        await until(lambda: drain_of(manager)[1] is not None)
        assert drain_of(manager)[1] == flows

    run(tmp_path, scenario)


def test_at_its_timeout_a_drain_cuts_nothing_and_counts_on(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, timeout_seconds=30, quiet_seconds=1)
        world.clock.advance(31)
        await until(lambda: drain_of(manager) == (DrainState.TIMED_OUT, 1))
        assert manager.backend("web", "10.0.0.1").reason == "drain timed out, 1 left"
        assert 1 in unpack(world.table())[1]
        assert world.plane.read_backends()[1].usable
        world.clock.advance(32)
        await until(lambda: drain_of(manager) == (DrainState.DRAINED, 0))
        assert manager.backend("web", "10.0.0.1").reason == "drained"

    run(tmp_path, scenario)


def test_a_drain_goes_on_over_a_restart_with_its_deadline(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await draining(world, manager, timeout_seconds=30, quiet_seconds=1)
        world.clock.advance(20)

    async def second(world: World, manager: Door) -> None:
        await until(lambda: drain_of(manager) == (DrainState.DRAINING, 1))
        world.clock.advance(11)
        await until(lambda: drain_of(manager) == (DrainState.TIMED_OUT, 1))

    run(tmp_path, first, second)


def test_undrain_gives_the_slots_back(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        owners, _ = unpack(world.table())
        await manager.drain("web", "10.0.0.1")
        view = viewed(await manager.undrain("web", "10.0.0.1"))
        assert (view.drain, view.backend.admin_state) == (None, "ready")
        assert np.array_equal(unpack(world.table())[0], owners)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": "maint"})
        assert not world.plane.read_backends()[1].usable
        with pytest.raises(ConflictError, match="in maintenance"):
            await manager.undrain("web", "10.0.0.1")

    run(tmp_path, scenario)


def test_a_drain_asked_again_keeps_its_start_and_takes_the_new_times(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        started = world.clock.utc
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": "drain"})
        world.clock.advance(5)
        view = viewed(await manager.drain("web", "10.0.0.1", timeout_seconds=90))
        assert view.drain is not None
        assert (view.drain.started, (view.drain.deadline - started).total_seconds()) == (started, 90.0)

    run(tmp_path, scenario)


# --- settling --------------------------------------------------------------------------------------------------------


def test_slots_settle_when_the_idle_timeout_is_over_and_take_ended_records_along(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        moving = slots_of(manager)[1]
        assert moving > 30000
        owners, _ = unpack(world.table())
        for port in range(2000, 2100):
            world.plane.add_flow("198.51.100.7", port, WEB.key, backend=1, flags=FLOW_RST)
        world.clock.advance(59)
        await asyncio.sleep(0.05)
        assert slots_of(manager) == (65537 - moving, moving, 0)
        world.clock.advance(2)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        assert np.array_equal(unpack(world.table())[0], owners)
        assert 0 < world.plane.flow_count() < 100

    run(tmp_path, scenario)


def moved_flow(before: Owners, after: Owners) -> tuple[str, int]:
    """Return a client and port whose slot has another owner now."""
    ports = np.arange(1024, 65536)
    slots = slot_of(flow_hash(int(IPv4Address("198.51.100.7")), ports, np.full(len(ports), WEB.key.port)))
    return "198.51.100.7", int(ports[before[slots] != after[slots]][0])


def test_an_open_connection_elsewhere_holds_its_slot_and_only_that(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        before, _ = unpack(world.table())
        await manager.create_backend("web", backend(2))
        client, port = moved_flow(before, unpack(world.table())[0])
        world.clock.advance(61)
        world.plane.add_flow(client, port, WEB.key, backend=1)
        world.plane.calls.clear()
        await until(lambda: slots_of(manager) == (65536, 0, 1))
        assert world.plane.flow_count() == 1
        published = [call for call in world.plane.calls if call in {"write_table", "delete_flows", "scan_flows"}]
        assert published.index("scan_flows") < len(published) - published[::-1].index("write_table") - 1
        world.plane.add_flow(client, port, WEB.key, backend=1, flags=FLOW_RST)
        world.plane.calls.clear()
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        order = [call for call in world.plane.calls if call in {"write_table", "delete_flows"}]
        assert order == ["write_table", "delete_flows"]
        assert world.plane.flow_count() == 0

    run(tmp_path, scenario)


def test_a_client_that_waits_half_closed_keeps_its_backend_and_holds_up_no_drain(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await until(lambda: slots_of(manager)[1])
        client, port = world.flow_to(1)
        await manager.drain("web", "10.0.0.1", quiet_seconds=1)
        world.clock.advance(61)
        world.plane.add_flow(client, port, WEB.key, backend=1, flags=FLOW_ESTABLISHED | FLOW_FIN, age=20.0)
        await until(lambda: slots_of(manager) == (65536, 0, 1))
        assert drain_of(manager) == (DrainState.DRAINED, 0)
        await asyncio.sleep(0.05)
        assert (slots_of(manager), world.plane.flow_count()) == ((65536, 0, 1), 1)
        world.clock.advance(42)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        assert world.plane.flow_count() == 0

    run(tmp_path, scenario)


def test_a_vip_that_records_everything_settles_without_losing_a_record(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(replace(WEB, tracking=Tracking.ALWAYS))
        await manager.create_backend("web", backend(1))
        before, _ = unpack(world.table())
        await manager.create_backend("web", backend(2))
        client, port = moved_flow(before, unpack(world.table())[0])
        world.clock.advance(61)
        world.plane.add_flow(client, port, WEB.key, backend=1)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        assert world.plane.flow_count() == 1
        await manager.patch_vip("web", {"tracking": "auto"})
        await until(lambda: slots_of(manager) == (65536, 0, 1))
        assert world.plane.flow_count() == 1

    run(tmp_path, scenario)


def test_the_records_of_second_choices_outlive_a_restart_and_hold_their_slots_once_none_are_made(
    tmp_path: Path,
) -> None:
    async def first(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, syn_failover=True))
        world.clock.advance(61)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        away, note, left = (world.flow_to(1, nth=number) for number in range(3))
        world.plane.add_flow(*away, WEB.key, backend=2, flags=FLOW_ESTABLISHED | FLOW_SECOND_CHOICE)
        world.plane.add_flow(*note, WEB.key, backend=1, flags=0, probation=True)
        world.plane.add_flow(*left, WEB.key, backend=2)

    async def second(world: World, manager: Door) -> None:
        await manager.patch_vip("web", {"name": "web", "idle_timeout_seconds": 50})
        assert sorted(world.plane.scan_flows().flags) == [0, FLOW_ESTABLISHED | FLOW_SECOND_CHOICE]
        await manager.patch_vip("web", {"syn_failover": False})
        await until(lambda: slots_of(manager) == (65536, 0, 1))
        assert list(world.plane.scan_flows().flags) == [FLOW_ESTABLISHED | FLOW_SECOND_CHOICE]
        world.clock.advance(60)
        await until(lambda: slots_of(manager) == (65537, 0, 0))

    run(tmp_path, first, second)


@pytest.mark.parametrize(
    ("vip", "changes"),
    [
        (WEB, {"hash": "source"}),
        (replace(WEB, key=VipKey.parse("203.0.113.10:443/udp"), tracking=Tracking.ALWAYS), {"tracking": "auto"}),
    ],
    ids=["hash", "udp"],
)
def test_records_that_would_come_back_with_a_later_move_are_deleted(
    tmp_path: Path, vip: Vip, changes: dict[str, object]
) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, vip=vip)
        await manager.create_backend("web", backend(2))
        for last in range(1, 41):
            world.plane.add_flow(f"198.51.100.{last}", 2000, vip.key, backend=1)
        await manager.patch_vip("web", changes)
        left = world.plane.scan_flows()
        kind = HashKind(str(changes.get("hash", "5-tuple")))
        slots = slot_of(flow_hash(left.source[:, 1], left.source_port, left.destination_port, kind))
        assert unpack(world.table())[1][slots].all()

    run(tmp_path, scenario)


def test_after_a_restart_moving_slots_wait_anew(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        assert slots_of(manager)[1] > 0
        world.clock.advance(50)

    async def second(world: World, manager: Door) -> None:
        world.clock.advance(50)
        await asyncio.sleep(0.05)
        assert slots_of(manager)[1] > 0
        world.clock.advance(11)
        await until(lambda: slots_of(manager) == (65537, 0, 0))

    run(tmp_path, first, second)


def test_nothing_to_settle_means_no_scan(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        world.plane.calls.clear()
        await asyncio.sleep(0.1)
        assert "scan_flows" not in world.plane.calls

    run(tmp_path, scenario)
