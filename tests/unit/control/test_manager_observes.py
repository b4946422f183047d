# SPDX-License-Identifier: Apache-2.0
"""What checks, the network and the flow table do to traffic, and what status says of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import next_hop, until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, fills_from_now, run, slots_of, with_backends
from xdplb.balance.slots import unpack
from xdplb.control.plan.operating import OperatingStatus
from xdplb.dataplane.fake import FakePlane
from xdplb.model.backend import Backend, Health
from xdplb.model.health import HealthCheck
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import AllUnhealthy, Forward, OnUnhealthy


def share(manager: Door, last: int) -> float:
    return manager.backend("web", f"10.0.0.{last}").share


async def checked(manager: Door, world: World, *lasts: int) -> None:
    """Add a checked VIP whose backends have all passed."""
    await manager.create_vip(WEB)
    await manager.put_health_check("web", HealthCheck())
    for last in lasts:
        await manager.create_backend("web", backend(last))
        world.health.flip(f"10.0.0.{last}", Health.UP)
    await until(lambda: all(share(manager, last) for last in lasts))


# --- health ----------------------------------------------------------------------------------------------------------


def test_no_traffic_before_the_first_pass(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.put_health_check("web", HealthCheck(port=8080))
        await manager.create_backend("web", backend(1))
        view = manager.backend("web", "10.0.0.1")
        assert (view.health, view.reason, view.share) == (Health.UNKNOWN, "its check has not passed yet", 0.0)
        assert manager.vip("web").operating_status is OperatingStatus.OFFLINE
        assert [(t.address, t.port) for (t,) in world.health.targets.values()] == [(IPv4Address("10.0.0.1"), 8080)]
        assert [check.reason for check in manager.checks("web")] == ["its check has not passed yet"]
        world.clock.advance(5)
        world.health.flip("10.0.0.1", Health.UP)
        await until(lambda: share(manager, 1) == 1.0)
        view = manager.backend("web", "10.0.0.1")
        assert (view.health, view.reason, view.since) == (Health.UP, "", world.clock.utc)
        assert manager.vip("web").operating_status is OperatingStatus.ONLINE

    run(tmp_path, scenario)


def test_the_reason_is_what_the_check_said_last(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, 1)
        await manager.create_backend("web", backend(2))
        world.health.result("10.0.0.2", passed=False, reason="connection refused")
        waiting = "its check has not passed yet: connection refused"
        assert manager.backend("web", "10.0.0.2").reason == waiting
        world.health.flip("10.0.0.1", Health.DOWN, "status 200, expected 204")
        await until(lambda: "check failed" in manager.backend("web", "10.0.0.1").reason)
        # It is the only one that ever passed, so it is used all the same.
        assert share(manager, 1) == 1.0
        said = "its check failed: {}; it is used all the same, since no other backend can serve (fail-open)"
        assert manager.backend("web", "10.0.0.1").reason == said.format("status 200, expected 204")
        world.health.result("10.0.0.1", passed=False, reason="no answer in 1 s")
        assert manager.backend("web", "10.0.0.1").reason == said.format("no answer in 1 s")
        world.health.result("10.0.0.1", passed=None, reason="this host could not run the check")
        assert "expected 204" in manager.backend("web", "10.0.0.1").reason

    run(tmp_path, scenario)


def test_silence_asks_for_the_neighbour_and_its_answer_for_a_check(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, 1, 2)
        world.health.silence("10.0.0.2")
        assert world.hops.doubted == [("10.0.0.2", True)]
        moved = replace(next_hop(IPv4Address("10.0.0.2")), destination_mac=bytes(6))
        world.hops.set("10.0.0.2", Resolution(moved))
        assert world.health.rechecked == ["10.0.0.2"]

    run(tmp_path, scenario)


def test_a_failed_backend_leaves_at_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, 1, 2, 3)
        owners_before, _ = unpack(world.table())
        world.health.flip("10.0.0.2", Health.DOWN, "connection refused")
        await until(lambda: share(manager, 2) == 0.0)
        view = manager.backend("web", "10.0.0.2")
        assert (view.health, view.reason) == (Health.DOWN, "its check failed: connection refused")
        assert manager.vip("web").operating_status is OperatingStatus.DEGRADED
        assert manager.checks("web")[1].last_passed is False
        owners, previous = unpack(world.table())
        assert np.array_equal(owners[owners_before != 2], owners_before[owners_before != 2])
        assert 2 not in previous
        assert not world.plane.read_backends()[2].usable
        world.health.flip("10.0.0.2", Health.UP)
        await until(lambda: share(manager, 2) > 0)
        assert np.array_equal(unpack(world.table())[0], owners_before)

    run(tmp_path, scenario)


def test_keep_leaves_a_failed_backend_its_connections(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, 1, 2)
        world.clock.advance(61)
        await until(lambda: slots_of(manager) == (65537, 0, 0))
        await manager.patch_vip("web", {"on_unhealthy": OnUnhealthy.KEEP})
        world.health.flip("10.0.0.2", Health.DOWN)
        await until(lambda: share(manager, 2) == 0.0)
        assert 2 in unpack(world.table())[1]
        assert world.plane.read_backends()[2].usable

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("choice", "left", "status"),
    [
        (AllUnhealthy.FAIL_OPEN, 1.0, OperatingStatus.FAILING_OPEN),
        (AllUnhealthy.FAIL_CLOSED, 0.0, OperatingStatus.OFFLINE),
    ],
)
def test_without_a_healthy_backend_the_vip_decides(
    tmp_path: Path, choice: AllUnhealthy, left: float, status: OperatingStatus
) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, 1, 2)
        await manager.patch_vip("web", {"all_unhealthy": choice})
        for last in (1, 2):
            world.health.flip(f"10.0.0.{last}", Health.DOWN)
        await until(lambda: "check failed" in manager.backend("web", "10.0.0.2").reason)
        assert (manager.vip("web").operating_status, manager.vip("web").backends_serving) == (status, 0)
        assert share(manager, 1) + share(manager, 2) == left

    run(tmp_path, scenario)


def test_a_check_that_comes_later_cuts_nothing_and_one_that_goes_makes_all_up(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        before = world.table()
        await manager.put_health_check("web", HealthCheck())
        assert np.array_equal(world.table(), before)
        world.health.flip("10.0.0.1", Health.DOWN)
        await until(lambda: share(manager, 1) == 0.0)
        await manager.delete_health_check("web")
        assert manager.backend("web", "10.0.0.1").health is Health.UP
        assert share(manager, 1) > 0
        assert (manager.checks("web"), world.health.targets) == ([], {})

    run(tmp_path, scenario)


def test_flips_that_come_together_are_one_table(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(manager, world, *range(1, 21))
        world.plane.calls.clear()
        for last in range(1, 11):
            world.health.flip(f"10.0.0.{last}", Health.DOWN)
        await until(lambda: sum(share(manager, last) for last in range(1, 11)) == 0)
        assert world.writes().count("write_table") == 1

    run(tmp_path, scenario, scans=False)


def test_last_known_health_outlives_a_restart(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await checked(manager, world, 1, 2, 3)
        world.health.flip("10.0.0.3", Health.DOWN, "no answer in 1 s")
        await until(lambda: share(manager, 3) == 0.0)
        world.plane.calls.clear()

    async def second(world: World, manager: Door) -> None:
        assert "write_table" not in world.plane.calls
        assert [view.health for view in manager.backends("web")] == [Health.UP, Health.UP, Health.DOWN]
        assert manager.backend("web", "10.0.0.3").reason == "its check failed: no answer in 1 s"

    run(tmp_path, first, second, scans=False)


@pytest.mark.parametrize("unchecked", [False, True])
def test_after_a_reboot_a_checked_backend_waits_for_its_first_pass_again(tmp_path: Path, *, unchecked: bool) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await checked(manager, world, 1, 2)
            if unchecked:
                await manager.delete_health_check("web")
        world.plane = FakePlane()
        for _ in range(2):  # the second start is on maps that the first one filled, and has not seen a pass either
            async with world.running() as manager:
                views = manager.backends("web")
                assert {view.health for view in views} == {Health.UP if unchecked else Health.UNKNOWN}
                assert sum(view.share for view in views) == pytest.approx(1.0 if unchecked else 0.0)
        async with world.running() as manager:
            if not unchecked:
                world.health.flip("10.0.0.1", Health.UP)
                await until(lambda: share(manager, 1) == 1.0)

    asyncio.run(scenario())


# --- next hops -------------------------------------------------------------------------------------------------------


def test_a_backend_without_a_next_hop_is_not_sent_to_and_says_why(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        assert manager.backend("web", "10.0.0.1").mac == "02:00:0a:00:00:01"
        assert world.hops.watched == {IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")}
        world.hops.lose("10.0.0.1")
        await until(lambda: share(manager, 1) == 0.0)
        view = manager.backend("web", "10.0.0.1")
        assert (view.mac, view.interface, view.reason) == (None, None, "10.0.0.1 does not answer ARP on eth0")
        assert manager.vip("web").operating_status is OperatingStatus.DEGRADED
        world.hops.set("10.0.0.1", None)
        await until(lambda: share(manager, 1) > 0)

    run(tmp_path, scenario)


def test_a_backend_behind_a_nic_without_the_program_is_not_sent_to(tmp_path: Path) -> None:
    """Its packets would be dropped, each of them, though its check passes."""

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        here = next_hop(IPv4Address("10.0.0.1"))
        world.hops.set("10.0.0.1", Resolution(replace(here, interface="eth1", ifindex=3)))
        await until(lambda: share(manager, 1) == 0.0)
        assert "goes out by eth1, which xdplb is not attached to" in manager.backend("web", "10.0.0.1").reason

    run(tmp_path, scenario)


def test_a_new_mac_is_written_without_touching_the_table(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        world.plane.calls.clear()
        moved = replace(next_hop(IPv4Address("10.0.0.1")), destination_mac=b"\x02\x99\x99\x99\x99\x99")
        world.hops.set("10.0.0.1", Resolution(moved))
        await until(lambda: "write_backends" in world.plane.calls)
        held = world.plane.read_backends()[1].next_hop
        assert held is not None
        assert held.destination_mac == moved.destination_mac
        assert "write_table" not in world.plane.calls

    run(tmp_path, scenario, scans=False)


def test_dr_through_a_gateway_cannot_be_and_says_so(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        world.hops.set("10.0.0.1", Resolution(next_hop(IPv4Address("10.0.0.1"), gateway="192.0.2.1")))
        await until(lambda: share(manager, 1) == 0.0)
        assert "use ipip" in manager.backend("web", "10.0.0.1").reason
        await manager.patch_backend("web", "10.0.0.1", {"forward": Forward.IPIP})
        assert share(manager, 1) > 0

    run(tmp_path, scenario)


def test_a_new_backend_is_answered_for_once_its_next_hop_is_in_the_maps(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        asked = Resolution(None, "waiting for an ARP answer", pending=True)
        world.hops.set("10.0.0.1", asked)
        asyncio.get_running_loop().call_later(0.05, world.hops.set, "10.0.0.1", None)
        await manager.create_backend("web", backend(1))
        assert world.plane.read_backends()[1].usable
        world.hops.set("10.0.0.2", asked)
        async with asyncio.timeout(5):
            await manager.create_backend("web", backend(2))
        assert not world.plane.read_backends()[2].usable
        world.hops.set("10.0.0.3", Resolution(None, "there is no route to 10.0.0.3"))
        left = manager.manager._writer._seeking.patience.left()
        await manager.create_backend("web", backend(3))
        assert manager.manager._writer._seeking.patience.left() >= left  # what is known for certain is not waited for

    run(tmp_path, scenario)


def test_each_backend_that_is_added_costs_one_table_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills = fills_from_now(monkeypatch)

    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        many = [Backend(IPv4Address("10.1.0.0") + n, 1) for n in range(1, 301)]
        await manager.replace_backends("web", many)
        asked = Resolution(None, "waiting for an ARP answer", pending=True)
        for last in range(1, 11):
            world.hops.set(f"10.0.0.{last}", asked)
            asyncio.get_running_loop().call_later(0.001, world.hops.set, f"10.0.0.{last}", None)
            before, built = world.writes(), len(fills)
            await manager.create_backend("web", backend(last))
            assert sorted(world.writes()[len(before) :]) == ["write_backends", "write_table"]
            assert len(fills) == built + 1

    run(tmp_path, scenario, scans=False)


def test_backends_that_do_not_answer_are_not_waited_for_one_by_one(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        waited = 0.0
        for last in range(1, 31):
            world.hops.set(f"10.0.0.{last}", Resolution(None, "waiting for an ARP answer", pending=True))
            patience = manager.manager._writer._seeking.patience
            before = patience.left()
            await manager.create_backend("web", backend(last))
            waited += max(0.0, before - patience._saved)
        assert waited < 1.0

    run(tmp_path, scenario)


def test_a_restart_waits_for_the_next_hops_it_knew(tmp_path: Path) -> None:
    world = World(tmp_path, scans=False)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
        world.plane.calls.clear()
        world.hops.lose("10.0.0.1")
        asyncio.get_running_loop().call_later(0.1, world.hops.set, "10.0.0.1", None)
        async with world.running():
            assert not world.writes()

    asyncio.run(scenario())
