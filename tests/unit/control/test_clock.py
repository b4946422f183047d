# SPDX-License-Identifier: Apache-2.0
"""Drains, timeouts and "since" go by the time that passes, not by the wall clock, also across restarts and boots."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes import FakeClock, until
from tests.unit.control.door import Door
from tests.unit.control.test_manager_paths import BACKEND, VIPS, add, too_big
from tests.unit.control.world import World, run, with_backends
from xdplb.control.clock import SteadyClock
from xdplb.control.events import Event, PathMtuLowered
from xdplb.control.flows.drain import DrainState, DrainView
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck
from xdplb.model.moment import moment_text
from xdplb.model.vip import Forward

YEARS = 50 * 365 * 86400.0
STEPS = [-7200.0, -300.0, 300.0, 7200.0, YEARS, -YEARS]


def drain_of(manager: Door) -> DrainView:
    view = next(one for one in manager.backends("web") if str(one.backend.address) == "10.0.0.1")
    assert view.drain is not None
    return view.drain


async def is_drained(manager: Door) -> None:
    await until(lambda: drain_of(manager).state is DrainState.DRAINED)


async def is_draining(manager: Door) -> None:
    """Several scans later it is still draining."""
    for _ in range(3):
        counted = manager.manager._flows.counts
        await until(lambda counted=counted: manager.manager._flows.counts is not counted)  # type: ignore[misc]
    assert drain_of(manager).state is DrainState.DRAINING


@pytest.mark.parametrize("step", STEPS)
def test_setting_the_wall_clock_neither_ends_nor_lengthens_a_drain(tmp_path: Path, step: float) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.drain("web", "10.0.0.1", timeout_seconds=600, quiet_seconds=120)
        world.clock.advance(3)
        world.clock.set_wall(step)
        await is_draining(manager)
        drain = drain_of(manager)
        assert drain.started == world.clock.utc - timedelta(seconds=3), "as the wall clock shows it now"
        assert drain.deadline == drain.started + timedelta(seconds=600)
        world.clock.advance(116)
        await is_draining(manager)
        world.clock.advance(2)
        await is_drained(manager)

    run(tmp_path, scenario)


@pytest.mark.parametrize("step", STEPS)
def test_since_and_the_start_are_shown_by_the_wall_clock_as_it_is(tmp_path: Path, step: float) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.put_health_check("web", HealthCheck())
        world.health.flip("10.0.0.1", Health.DOWN)
        world.clock.advance(10)
        world.clock.set_wall(step)
        world.health.flip("10.0.0.2", Health.DOWN)
        world.clock.advance(5)
        ages = [(world.clock.utc - one.since).total_seconds() for one in manager.checks("web")]
        assert ages == [15, 5]
        assert [(world.clock.utc - one.since).total_seconds() for one in manager.backends("web")] == [15, 5]
        assert (world.clock.utc - manager.status().started).total_seconds() == 15

    run(tmp_path, scenario)


@pytest.mark.parametrize("step", STEPS)
def test_a_path_s_mtu_is_believed_for_ten_minutes_that_pass(tmp_path: Path, step: float) -> None:
    async def scenario(world: World, manager: Door) -> None:
        said: list[Event] = []
        manager.manager.events.listen(said.append)
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        world.clock.set_wall(step)
        world.errors.hear(too_big(1400))
        (lowered,) = [event for event in said if isinstance(event, PathMtuLowered)]
        assert lowered.until == moment_text(world.clock.utc + timedelta(minutes=10))
        world.clock.set_wall(-step)
        world.clock.advance(599)
        await asyncio.sleep(0.05)
        path = manager.backend(str(VIPS[4]), BACKEND).path
        assert path.lowered is not None
        assert path.lowered.until == world.clock.utc + timedelta(seconds=1)
        world.clock.advance(2)
        await until(lambda: manager.backend(str(VIPS[4]), BACKEND).path.lowered is None)

    run(tmp_path, scenario)


@pytest.mark.parametrize("step", [0.0, *STEPS])
def test_a_restart_in_the_same_boot_goes_on_with_the_same_time(tmp_path: Path, step: float) -> None:
    async def before(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.drain("web", "10.0.0.1", timeout_seconds=600, quiet_seconds=120)
        world.clock.advance(60)
        world.clock.set_wall(step)

    async def after(world: World, manager: Door) -> None:
        await is_draining(manager)
        assert drain_of(manager).started == world.clock.utc - timedelta(seconds=60)
        assert manager.status().started == world.clock.utc
        world.clock.advance(61)
        await is_drained(manager)

    run(tmp_path, before, after)


@pytest.mark.parametrize(
    ("off", "passed"),
    [(30.0, 90.0), (0.0, 60.0), (-3600.0, 0.0), (-YEARS, 0.0)],
    ids=["half a minute", "no time", "the wall clock is behind", "the wall clock is lost"],
)
@pytest.mark.parametrize("step", [0.0, 7200.0, -7200.0])
def test_after_a_boot_the_wall_clock_says_how_long_the_host_was_off(
    tmp_path: Path, off: float, passed: float, step: float
) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
            await manager.drain("web", "10.0.0.1", timeout_seconds=600, quiet_seconds=120)
            world.clock.advance(60)
            if step:
                saver = manager.manager._writer.saver
                noted = saver._mark
                world.clock.set_wall(step)
                await until(lambda: saver._mark is not noted)
        world.clock.reboot(off)
        for _ in range(2):  # it is moved once
            async with world.running() as manager:
                await is_draining(manager)
                assert drain_of(manager).started == world.clock.utc - timedelta(seconds=passed)
        async with world.running() as manager:
            world.clock.advance(121 - passed)
            await is_drained(manager)

    asyncio.run(scenario())


def test_small_corrections_do_not_make_times_flicker() -> None:
    clock = FakeClock()
    steady = clock.steady()
    clock.set_wall(0.3)
    assert not steady.ahead()
    clock.set_wall(0.3)
    assert steady.ahead() == timedelta(seconds=0.6)
    clock.set_wall(-0.3)
    assert steady.ahead() == timedelta(seconds=0.6)


def test_the_real_clock_goes_on_across_processes() -> None:
    first = SteadyClock()
    mark, second = first.mark(), SteadyClock()
    assert second.resume(mark) == 0
    before = first.now()
    assert timedelta(0) <= second.now() - before < timedelta(seconds=1)
