# SPDX-License-Identifier: Apache-2.0
"""Who serves when backends fail: backups, panic, last-good; and how a backend that comes up gets its share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.door import Door, DryRun
from tests.unit.control.world import WEB, World, backend, run
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.slots import unpack
from xdplb.control.events import Event, PolicyChanged, SlowStartBegan, SlowStartEnded
from xdplb.control.plan.operating import OperatingStatus
from xdplb.model.backend import AdminState, BackendRole, Health
from xdplb.model.health import HealthCheck
from xdplb.model.vip import AllUnhealthy, OnUnhealthy, Scheduler

BACKUP = BackendRole.BACKUP


async def checked(
    world: World, manager: Door, lasts: Sequence[int], spare: Sequence[int] = (), **settings: Any
) -> None:
    """Make a checked VIP with these backends and backups, all of them up."""
    await manager.create_vip(WEB)
    await manager.put_health_check("web", HealthCheck())
    if settings:
        await manager.patch_vip("web", settings)
    for last in (*lasts, *spare):
        await manager.create_backend("web", backend(last, role=BACKUP if last in spare else BackendRole.PRIMARY))
        flip(world, Health.UP, last)
    await until(lambda: not any("not passed" in reason(manager, last) for last in (*lasts, *spare)))


def flip(world: World, health: Health, *lasts: int) -> None:
    for last in lasts:
        world.health.flip(f"10.0.0.{last}", health, "refused")


def shares(manager: Door) -> dict[int, float]:
    return {int(str(each.backend.address).rsplit(".", 1)[1]): each.share for each in manager.backends("web")}


def serving(manager: Door) -> set[int]:
    return {last for last, share in shares(manager).items() if share}


async def until_serving(manager: Door, lasts: set[int]) -> None:
    """Wait until these serve, and all that is shown says so."""
    await until(lambda: serving(manager) == lasts)
    await manager.manager._writer.with_maps(lambda: None)


def reason(manager: Door, last: int) -> str:
    return manager.backend("web", f"10.0.0.{last}").reason


def said(heard: Sequence[Event], kind: type[Event]) -> list[str]:
    return [event.line() for event in heard if isinstance(event, kind)]


# --- backups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", list(Scheduler))
def test_a_backup_serves_while_no_primary_does_and_leaves_no_trace(scheduler: Scheduler, tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        tracking = "always" if scheduler.is_per_connection else "auto"
        await checked(world, manager, (1, 2), (3,), scheduler=scheduler, tracking=tracking)
        before, _ = unpack(world.table())
        assert serving(manager) == {1, 2}
        assert reason(manager, 3) == "a backup: 2 of 2 primaries serve, min_serving is 1"
        assert manager.vip("web").operating_status is OperatingStatus.ONLINE
        flip(world, Health.DOWN, 1)
        await until_serving(manager, {2})
        assert reason(manager, 3) == "a backup: 1 of 2 primaries serves, min_serving is 1"
        flip(world, Health.DOWN, 2)
        await until_serving(manager, {3})
        entries = world.plane.read_backends()
        assert (entries[3].takes_new, entries[1].usable) == (True, False)
        view = manager.vip("web")
        assert (view.operating_status, view.backends_serving) == (OperatingStatus.DEGRADED, 1)
        assert view.reason == "0 of 2 primaries serve, min_serving is 1, so backups serve"
        flip(world, Health.UP, 1, 2)
        await until_serving(manager, {1, 2})
        assert np.array_equal(unpack(world.table())[0], before)
        entries = world.plane.read_backends()
        assert (entries[3].usable, entries[3].takes_new) == (True, False), "it keeps its open connections"
        used = "0 of 2 primaries serve, min_serving is 1, so backups serve"
        told = "policy: vip=203.0.113.10:443/tcp policy=none backups={} serving={} asked=2 reason='{}'"
        assert said(heard, PolicyChanged) == [told.format("True", 0, used), told.format("False", 2, "all is as usual")]

    run(tmp_path, scenario)


def test_what_would_be_if_the_last_primary_were_down(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1,), (3,))
        view = await manager.explain("198.51.100.7:40000", "web", if_down="10.0.0.1")
        assert (str(view.backend), view.action) == ("10.0.0.3", "send")
        told = await manager.drain("web", "10.0.0.1", dry_run=True)
        assert isinstance(told, DryRun)
        assert any("new connections go to its backups" in line for line in told.changes), told.changes
        await manager.patch_backend("web", "10.0.0.3", {"admin_state": AdminState.MAINT})
        view = await manager.explain("198.51.100.7:40000", "web", if_down="10.0.0.1")
        assert str(view.backend) == "10.0.0.1"
        assert any("used all the same" in line for line in view.why)

    run(tmp_path, scenario)


def test_backups_serve_beside_the_primaries_that_are_left_by_weight(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2, 3), (4, 5), min_serving="60%")
        before, _ = unpack(world.table())
        flip(world, Health.DOWN, 1)
        await until_serving(manager, {2, 3})
        flip(world, Health.DOWN, 2)
        await until_serving(manager, {3, 4, 5})
        assert all(abs(share - 1 / 3) < 0.001 for share in shares(manager).values() if share)
        owners, previous = unpack(world.table())
        assert set(owners[(previous == 3)].tolist()) == {4, 5}, "what leaves the third goes to backups"
        assert np.count_nonzero((before == 3) & (owners == 3)) > 0.99 * TABLE_SIZE / 3, "it keeps its own slots"
        await manager.patch_vip("web", {"min_serving": 1})
        assert serving(manager) == {3}
        await manager.patch_vip("web", {"min_serving": 9})
        assert serving(manager) == {3, 4, 5}, "so many are never there"

    run(tmp_path, scenario)


def test_what_the_operator_takes_out_counts_as_gone(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2), (3, 4))
        await manager.drain("web", "10.0.0.1")
        await manager.patch_backend("web", "10.0.0.3", {"admin_state": AdminState.MAINT})
        assert serving(manager) == {2}
        await manager.patch_backend("web", "10.0.0.2", {"weight": 0})
        assert serving(manager) == {4}
        assert manager.vip("web").reason == "no primary is asked to serve, min_serving is 1, so backups serve"
        flip(world, Health.DOWN, 4)
        await until(lambda: manager.vip("web").operating_status is OperatingStatus.FAILING_OPEN)
        assert serving(manager) == {4}, "no other one may be let in"
        await manager.undrain("web", "10.0.0.1")
        assert serving(manager) == {1}

    run(tmp_path, scenario)


# --- panic -----------------------------------------------------------------------------------------------------------


def test_below_the_panic_share_all_are_used(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        await checked(world, manager, (1, 2, 3, 4), panic_share=0.5)
        manager.manager.events.listen(heard.append)
        await manager.create_backend("web", backend(5))
        flip(world, Health.DOWN, 1, 2)
        await until_serving(manager, {3, 4})
        flip(world, Health.DOWN, 3)
        await until_serving(manager, {1, 2, 3, 4})
        assert reason(manager, 5) == "its check has not passed yet", "it never passed: it neither counts nor serves"
        assert reason(manager, 1) == (
            "its check failed: refused; it is used all the same, since too few backends are healthy (panic)"
        )
        view = manager.vip("web")
        assert (view.operating_status, view.backends_serving) == (OperatingStatus.FAILING_OPEN, 1)
        assert view.reason == (
            "only 1 of 5 primaries are healthy, a smaller share than panic_share (0.5), so the others serve too"
        )
        await manager.patch_backend("web", "10.0.0.2", {"admin_state": AdminState.DRAIN})
        assert serving(manager) == {1, 3, 4}, "whom the operator took out does not come back by it"
        flip(world, Health.UP, 1)
        await until_serving(manager, {1, 4})
        assert [event.policy for event in heard if isinstance(event, PolicyChanged)] == ["panic", "none"]

    run(tmp_path, scenario)


def test_without_anyone_healthy_the_policy_for_that_decides_and_backups_come_before_panic(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2), panic_share=1.0, all_unhealthy=AllUnhealthy.FAIL_CLOSED)
        flip(world, Health.DOWN, 1)
        await until(lambda: "panic" in reason(manager, 1))
        flip(world, Health.DOWN, 2)
        await until_serving(manager, set())
        assert manager.vip("web").reason == "no backend is healthy, so no new connection is accepted (fail-closed)"
        await manager.create_backend("web", backend(3, role=BACKUP))
        flip(world, Health.UP, 3)
        await until_serving(manager, {3})

    run(tmp_path, scenario)


# --- last-good -------------------------------------------------------------------------------------------------------


def test_those_that_were_up_last_go_on_serving_also_after_a_restart(tmp_path: Path) -> None:
    async def fail(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2, 3, 4), all_unhealthy=AllUnhealthy.LAST_GOOD)
        await manager.create_backend("web", backend(5))
        flip(world, Health.DOWN, 5)  # it never was up
        flip(world, Health.DOWN, 1)
        await until_serving(manager, {2, 3, 4})
        world.clock.advance(3600)
        flip(world, Health.DOWN, 2)
        world.clock.advance(4)  # noticed one interval later, though it may have been the same cause
        flip(world, Health.DOWN, 3, 4)
        await until(lambda: serving(manager) == {2, 3, 4} and "last-good" in reason(manager, 2))
        assert manager.vip("web").operating_status is OperatingStatus.FAILING_OPEN

    async def again(world: World, manager: Door) -> None:
        assert serving(manager) == {2, 3, 4}
        writes = world.writes()
        await manager.patch_backend("web", "10.0.0.2", {"admin_state": AdminState.MAINT})
        assert serving(manager) == {3, 4}
        assert writes.count("write_table") == world.writes().count("write_table") - 1
        await manager.patch_backend("web", "10.0.0.2", {"admin_state": AdminState.READY})
        assert serving(manager) == {2, 3, 4}
        flip(world, Health.UP, 1)
        await until_serving(manager, {1})

    run(tmp_path, fail, again, scans=False)


# --- slow start ------------------------------------------------------------------------------------------------------


def test_one_that_comes_up_gets_its_share_in_steps(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        await checked(world, manager, (1, 2), slow_start_seconds=0)
        manager.manager.events.listen(heard.append)
        await manager.patch_vip("web", {"slow_start_seconds": 20, "on_unhealthy": OnUnhealthy.KEEP})
        whole, _ = unpack(world.table())
        flip(world, Health.DOWN, 2)
        await until(lambda: shares(manager)[2] == 0)
        flip(world, Health.UP, 2)
        await until(lambda: shares(manager)[2] > 0 and reason(manager, 2) != "its check failed: refused")
        assert reason(manager, 2) == "slow start: it has 9 % of its share so far"
        found = [shares(manager)[2]]
        last, _ = unpack(world.table())
        for _ in range(10):
            world.clock.advance(2)
            manager.manager._writer._step()
            await until(lambda: shares(manager)[2] > found[-1])
            found.append(shares(manager)[2])
            owners, _ = unpack(world.table())
            assert set(owners[owners != last].tolist()) == {2}
            last = owners
        assert [round(share * 22) for share in found] == list(range(1, 12))
        assert np.array_equal(last, whole)
        assert (reason(manager, 2), manager.manager._writer.applier.steps_due) == ("", {})
        owed = round(TABLE_SIZE / 2 * 10 / 11)
        (began,) = (event for event in heard if isinstance(event, SlowStartBegan))
        assert (began.backend, began.seconds, abs(began.owed_slots - owed) < 2) == ("10.0.0.2", 20, True)
        assert said(heard, SlowStartEnded) == ["slow start ended: vip=203.0.113.10:443/tcp backend=10.0.0.2 reason=''"]

    run(tmp_path, scenario)


def test_the_steps_come_by_themselves(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2))
        await manager.patch_vip("web", {"slow_start_seconds": 1})
        await manager.drain("web", "10.0.0.2")
        await manager.undrain("web", "10.0.0.2")
        assert round(shares(manager)[2], 3) == 0.25
        assert manager.manager._writer._step_timer is not None
        world.clock.advance(1)  # the timer waits by the clock of this host, what it does goes by this one
        await until(lambda: round(shares(manager)[2], 3) == 0.5)
        assert manager.manager._writer._step_timer is None

    run(tmp_path, scenario)


def test_a_ramp_goes_on_after_a_restart_and_none_begins_by_it(tmp_path: Path) -> None:
    async def begin(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2, 3))
        await manager.patch_vip("web", {"slow_start_seconds": 20})
        world.clock.advance(3600)
        flip(world, Health.DOWN, 2)
        await until(lambda: shares(manager)[2] == 0)
        flip(world, Health.UP, 2)
        await until(lambda: 0 < shares(manager)[2] < 0.05)
        world.clock.advance(10)

    async def go_on(world: World, manager: Door) -> None:
        assert round(shares(manager)[2] * 33) == 6
        assert abs(shares(manager)[1] - shares(manager)[3]) < 0.01
        world.clock.advance(10)

    async def end(world: World, manager: Door) -> None:
        assert all(round(share, 3) == 0.333 for share in shares(manager).values())

    run(tmp_path, begin, go_on, end)


@pytest.mark.parametrize("scheduler", [Scheduler.LC, Scheduler.WLC, Scheduler.P2C])
def test_schedulers_that_compare_loads_ramp_up_by_weight(scheduler: Scheduler, tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2), scheduler=scheduler, tracking="always", slow_start_seconds=20)
        world.clock.advance(60)
        manager.manager._writer._step()
        await manager.patch_backend("web", "10.0.0.1", {"weight": 3})
        flip(world, Health.DOWN, 2)
        await until(lambda: shares(manager)[2] == 0)
        flip(world, Health.UP, 2)
        await until(lambda: shares(manager)[2] > 0)
        table = world.table()
        full = 11 * (3 if scheduler.weighs_load else 1)
        assert [world.plane.read_backends()[number].weight for number in (1, 2)] == [full, 1]
        world.clock.advance(4)
        manager.manager._writer._step()
        await until(lambda: world.plane.read_backends()[2].weight == 3)
        assert np.array_equal(world.table(), table)
        world.clock.advance(60)
        manager.manager._writer._step()
        await until(lambda: world.plane.read_backends()[2].weight == 11)

    run(tmp_path, scenario)


def test_the_only_one_has_all_at_once_and_those_that_come_together_share(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1,), slow_start_seconds=20)
        assert shares(manager) == {1: 1.0}
        await manager.create_backend("web", backend(2))
        flip(world, Health.UP, 2)
        await until(lambda: shares(manager)[2] > 0.49)
        world.clock.advance(4)
        await manager.create_backend("web", backend(3))
        flip(world, Health.UP, 3)
        await until(lambda: shares(manager)[3] > 0)
        assert round(shares(manager)[3] * 9, 1) == 1.0, "the others are three times as far"

    run(tmp_path, scenario)


def test_one_that_served_though_it_failed_does_not_begin_anew(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, (1, 2, 3, 4), panic_share=0.5, slow_start_seconds=20)
        world.clock.advance(60)
        flip(world, Health.DOWN, 1, 2, 3)
        await until(lambda: "panic" in reason(manager, 1))
        flip(world, Health.UP, 1)
        await until_serving(manager, {1, 4})
        assert round(shares(manager)[1], 2) == 0.5
        flip(world, Health.UP, 2)
        await until_serving(manager, {1, 2, 4})
        assert round(shares(manager)[2] * 33) == 1

    run(tmp_path, scenario)


def test_a_dry_run_says_what_is_owed(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        for last in (1, 2):
            await manager.create_backend("web", backend(last))
        await manager.patch_vip("web", {"slow_start_seconds": 30})
        world.clock.advance(60)
        told = await manager.create_backend("web", backend(3), dry_run=True)
        assert isinstance(told, DryRun)
        assert any("go to backends that ramp up" in line for line in told.changes), told.changes
        done = await manager.create_backend("web", backend(3))
        assert not isinstance(done, DryRun)
        assert round(done[0].share * 33) == 1

    run(tmp_path, scenario)
