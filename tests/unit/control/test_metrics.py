# SPDX-License-Identifier: Apache-2.0
"""Counters belong to whom they were counted for, through restarts and when an id is given out again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import World, backend, run, with_backends
from xdplb.control.answers.metrics import BackendState, MetricsView
from xdplb.control.answers.views import BackendStatsView
from xdplb.dataplane.plane import BackendCounters, VipCounters
from xdplb.model.errors import PlatformError
from xdplb.model.vip import Vip, VipKey

OTHER = Vip(VipKey.parse("203.0.113.20:443/tcp"), name="other")
COUNTED = BackendCounters(packets=100, bytes=10_000, new_flows=10, failovers=3, over=4)


def backend_stats(view: MetricsView) -> list[BackendStatsView]:
    return [each for vip in view.stats.vips for each in vip.backends]


def test_counters_outlive_a_restart(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.plane.count_vip(0, VipCounters(packets=100))
        world.plane.count_backend(1, COUNTED)

    async def second(world: World, manager: Door) -> None:
        view = await manager.metrics()
        assert backend_stats(view) == [BackendStatsView("10.0.0.1", 100, 10_000, 10, 3, 4, 0)]
        assert view.stats == await manager.stats()
        assert view.stats.vips[0].packets == 100

    run(tmp_path, first, second)


def test_a_new_backend_or_vip_never_has_the_counters_of_who_had_its_id(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            world.plane.count_vip(0, VipCounters(packets=100))
            world.plane.count_backend(1, COUNTED)
            world.plane.fail("write_vips", PlatformError("no memory"), times=1000)
            with pytest.raises(PlatformError):
                await manager.delete_vip("web")
            with pytest.raises(PlatformError):
                await manager.create_vip(OTHER)
            with pytest.raises(PlatformError):
                await manager.create_backend("other", backend(2))

            async def check() -> None:
                stats = (await manager.metrics()).stats
                assert [(vip.vip, vip.packets) for vip in stats.vips] == [(str(OTHER.key), 0)]
                assert stats.vips[0].backends == (BackendStatsView("10.0.0.2", 0, 0, 0, 0, 0, 0),)
                assert await manager.stats() == stats
                assert await manager.vip_stats("other") == stats.vips[0]

            assert world.plane.counters().vips[0].packets == world.plane.counters().backends[1].packets == 100
            await check()
            world.plane.failures.clear()
            await until(lambda: manager.status().observed_generation == manager.status().generation)
            await check()
            world.plane.count_backend(1, COUNTED)
            assert [each.packets for each in backend_stats(await manager.metrics())] == [100]

    asyncio.run(scenario())


def test_a_backend_that_cannot_be_reached_says_so_before_all_but_what_was_asked_and_its_check(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        world.hops.lose("10.0.0.1")
        await until(lambda: manager.backend("web", "10.0.0.1").share == 0)

        async def state() -> BackendState:
            return (await manager.metrics()).vips[0].backends[0].state

        assert await state() is BackendState.UNREACHABLE
        await manager.drain("web", "10.0.0.1")
        assert await state() is BackendState.UNREACHABLE
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": "maint"})
        assert await state() is BackendState.MAINT

    run(tmp_path, scenario)
