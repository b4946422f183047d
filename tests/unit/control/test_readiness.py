# SPDX-License-Identifier: Apache-2.0
"""When the balancer is ready: while it can do what it is there for, by its own fault or that of its host."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, run, with_backends
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing import saver
from xdplb.model.backend import Health
from xdplb.model.errors import StateError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

OTHER = Vip(VipKey.parse("203.0.113.11:80/tcp"))
WAITS = "no backend takes new connections yet: no check has passed, such as that of 10.0.0.1"


def test_it_is_not_ready_before_the_first_check_has_passed(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.put_health_check("web", HealthCheck())
        assert manager.not_ready() == [], "there is nothing to balance to"
        await with_backends(manager, 1, 2)
        assert manager.not_ready() == [WAITS]
        world.health.flip("10.0.0.2", Health.UP)
        await until(lambda: manager.not_ready() == [])
        await with_backends(manager, vip=OTHER)
        await manager.put_health_check(str(OTHER.key), HealthCheck())
        await with_backends(manager, 3, vip=OTHER)
        assert manager.not_ready() == [], "what is added makes nothing worse that there is"

    run(tmp_path, scenario)


def test_waiting_for_a_check_ends_when_it_has_failed(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.put_health_check("web", HealthCheck())
        await with_backends(manager, 1)
        assert manager.not_ready() == [WAITS]
        world.health.flip("10.0.0.1", Health.DOWN)
        await until(lambda: manager.not_ready() == [])  # fail-open: another balancer would do the same

    run(tmp_path, scenario)


@pytest.mark.parametrize("changes", [{"weight": 0}, {"admin_state": "drain"}, {"admin_state": "maint"}])
def test_what_the_operator_wants_is_no_reason(tmp_path: Path, changes: dict[str, object]) -> None:
    async def scenario(_: World, manager: Door) -> None:
        await with_backends(manager, 1)
        await manager.patch_backend("web", "10.0.0.1", changes)
        assert manager.not_ready() == []

    run(tmp_path, scenario)


def test_a_disk_that_fails_only_when_it_is_written_is_noticed_without_a_change(tmp_path: Path) -> None:
    broken = StateError("the state cannot be written: the quota of its owner is used up")

    async def scenario(_: World, manager: Door) -> None:
        assert manager.not_ready() == []
        with patch.object(SqliteStore, "touch", side_effect=broken):
            await until(lambda: manager.not_ready() == [f"changes are refused: {broken}"])
        await until(lambda: manager.not_ready() == [])

    with patch.object(saver, "_LOOK_SECONDS", 0.01):
        run(tmp_path, scenario)
