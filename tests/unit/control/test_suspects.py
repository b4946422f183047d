# SPDX-License-Identifier: Apache-2.0
"""Which backends packets see as suspect: by their checks, and by what was seen of their traffic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, run, with_backends
from xdplb.model.errors import PlatformError
from xdplb.model.health import CheckType, HealthCheck

FAILOVER = replace(WEB, syn_failover=True)
CHECK = HealthCheck(CheckType.TCP)


def test_a_backend_is_suspect_from_the_first_failure_of_its_check_until_it_passes(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=FAILOVER)
        await manager.put_health_check("web", CHECK)
        world.health.result("10.0.0.1", passed=False, reason="no answer")
        await until(lambda: world.plane.suspects == {1})
        world.health.result("10.0.0.1", passed=True, reason="")
        await until(lambda: world.plane.suspects == frozenset())
        world.health.result("10.0.0.2", passed=False, reason="no answer")
        await until(lambda: world.plane.suspects == {2})
        await manager.delete_health_check("web")
        await until(lambda: world.plane.suspects == frozenset())

    run(tmp_path, scenario)


def test_only_backends_of_vips_that_ask_for_it_are_suspect(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        manager.manager.suspects.found([1, 2, 77])
        await manager.patch_vip("web", {"syn_failover": True})
        await until(lambda: world.plane.suspects == {1, 2})
        manager.manager.suspects.found([2])
        await until(lambda: world.plane.suspects == {2})
        await manager.patch_vip("web", {"syn_failover": False})
        await until(lambda: world.plane.suspects == frozenset())

    run(tmp_path, scenario)


def test_what_could_not_be_written_is_written_again_and_a_start_begins_with_none(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=FAILOVER)
        world.plane.fail("write_suspects", PlatformError("no memory"))
        manager.manager.suspects.found([1])
        await until(lambda: world.plane.suspects == {1})

    async def second(world: World, manager: Door) -> None:
        await until(lambda: world.plane.suspects == frozenset())
        assert world.plane.read_backends().keys() == {1, 2}

    run(tmp_path, first, second)
