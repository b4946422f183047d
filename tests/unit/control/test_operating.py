# SPDX-License-Identifier: Apache-2.0
"""The status of a VIP, how many of its backends must serve, and the events when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run
from xdplb.control.events import Event, VipStatusChanged
from xdplb.control.plan.operating import OperatingStatus, needed_of, standing_of
from xdplb.control.writing import vip_watch
from xdplb.model.backend import AdminState, BackendRole, Health
from xdplb.model.health import HealthCheck
from xdplb.model.min_serving import MinServing
from xdplb.model.vip import VipKey

ONLINE, DEGRADED, OPEN, OFFLINE, NONE = OperatingStatus
SETTLE = "_SETTLE_SECONDS"
ALL = frozenset({1, 2, 3})


@pytest.mark.parametrize(
    ("backends", "out", "unfit", "serving", "status"),
    [
        (3, set(), 0, 3, ONLINE),
        (3, {2}, 0, 2, DEGRADED),
        (3, {1, 2, 3}, 0, 0, OFFLINE),
        (3, set(), 3, 0, OPEN),
        (3, set(), 2, 1, OPEN),
        (4, {4}, 0, 3, ONLINE),  # a backup that is not needed
        (4, {1}, 0, 3, DEGRADED),  # a backup in the place of a primary one
        (0, set(), 0, 0, NONE),
    ],
)
def test_the_status_says_what_is_so(
    backends: int, out: set[int], unfit: int, serving: int, status: OperatingStatus
) -> None:
    found = standing_of(backends, ALL, out, unfit=unfit, needed=2)
    assert standing_of(3, ALL, set(), unfit=0, needed=2, nics_carry=False).status is DEGRADED
    assert (found.serving, found.status, found.min_serving_met) == (serving, status, serving >= 2)


@pytest.mark.parametrize(
    ("value", "asked", "needed"),
    [(1, 10, 1), (3, 2, 3), ("50%", 4, 2), ("50%", 5, 3), ("1%", 3, 1), ("100%", 3, 3), ("50%", 0, 1)],
)
def test_a_percent_is_rounded_up_and_one_must_serve_in_any_case(value: int | str, asked: int, needed: int) -> None:
    assert needed_of(MinServing.of(value), asked) == needed


async def three(world: World, manager: Door, **settings: Any) -> None:
    """Make a checked VIP with three backends that are up."""
    await manager.create_vip(WEB)
    await manager.put_health_check("web", HealthCheck())
    await manager.patch_vip("web", settings)
    for last in (1, 2, 3):
        await manager.create_backend("web", backend(last))
        world.health.flip(f"10.0.0.{last}", Health.UP)
    await until(lambda: manager.vip("web").backends_serving == 3)


def needed(manager: Door) -> tuple[int, int]:
    """Return how many backends serve, and how many must."""
    view = manager.vip("web")
    return view.backends_serving, view.backends_needed


def test_a_percent_is_of_those_that_the_operator_wants_to_serve(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await three(world, manager, min_serving="100%")
        assert needed(manager) == (3, 3)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.DRAIN})
        assert needed(manager) == (2, 2)
        await manager.patch_backend("web", "10.0.0.2", {"weight": 0})
        assert needed(manager) == (1, 1)
        world.health.flip("10.0.0.3", Health.DOWN)
        await until(lambda: needed(manager) == (0, 1))
        await manager.patch_backend("web", "10.0.0.3", {"admin_state": AdminState.MAINT})
        assert needed(manager) == (0, 1)
        await manager.patch_vip("web", {"min_serving": 2})
        assert needed(manager) == (0, 2)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.READY, "role": BackendRole.BACKUP})
        await manager.patch_vip("web", {"min_serving": "100%"})
        assert needed(manager)[1] == 1, "backups are not counted"

    run(tmp_path, scenario)


def test_a_vip_is_ready_while_enough_backends_serve(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await three(world, manager, min_serving=2)
        assert manager.readiness_of(["web"])[1] == []
        world.health.flip("10.0.0.1", Health.DOWN)
        await until(lambda: needed(manager) == (2, 2))
        assert manager.readiness_of(["web", "203.0.113.10:443/tcp"])[1] == []
        world.health.flip("10.0.0.2", Health.DOWN)
        await until(lambda: needed(manager) == (1, 2))
        assert manager.readiness_of(["web", "web"])[1] == ["VIP web: 1 of 3 backends serves, and 2 must"]
        assert manager.not_ready() == [], "the balancer is"
        world.health.flip("10.0.0.3", Health.DOWN)
        await until(lambda: needed(manager) == (0, 2))
        views, reasons = manager.readiness_of(["web"])
        assert [view.operating_status for view in views] == [OPEN]
        words = "VIP web: 0 of 3 backends serve and are healthy, and 2 must; others are used all the same"
        assert reasons == [words]
        await manager.patch_vip("web", {"min_serving": "40%"})
        assert manager.readiness_of(["web"])[1] == [words.replace("must", "must (min_serving is 40%)")]

    run(tmp_path, scenario)


def told(world_events: Sequence[Event]) -> list[tuple[str | None, str, int, int]]:
    """Return the changes of status that were told."""
    return [
        (event.was, event.status, event.serving, event.needed)
        for event in world_events
        if isinstance(event, VipStatusChanged)
    ]


def test_each_change_is_told_once_and_a_storm_of_flips_as_what_comes_of_it(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        await three(world, manager, min_serving=2)
        await until(lambda: not manager.manager._vips._came.is_set())
        assert {status for _, status, _, _ in told(heard)} <= {"ONLINE"}, "what waits for its first check is no news"
        heard.clear()
        for health in [Health.DOWN, Health.UP] * 20 + [Health.DOWN]:
            world.health.flip("10.0.0.1", health)
            await asyncio.sleep(0.001)
        await until(lambda: len(told(heard)) == 1)
        assert told(heard) == [("ONLINE", "DEGRADED", 2, 2)]
        world.health.flip("10.0.0.2", Health.DOWN)  # still DEGRADED, but too few
        await until(lambda: len(told(heard)) == 2)
        world.health.flip("10.0.0.3", Health.DOWN)
        await until(lambda: len(told(heard)) == 3)
        for last in (1, 2, 3):
            world.health.flip(f"10.0.0.{last}", Health.UP)
        await until(lambda: len(told(heard)) == 4)
        assert told(heard)[1:] == [
            ("DEGRADED", "DEGRADED", 1, 2),
            ("DEGRADED", "FAILING_OPEN", 0, 2),
            ("FAILING_OPEN", "DEGRADED", 2, 2),  # the first one flapped, and is held down
        ]
        await manager.delete_vip("web")
        await manager.create_vip(
            replace(WEB, key=VipKey.parse("203.0.113.11:443/tcp"))
        )  # with the id of the one before
        await until(lambda: not manager.manager._vips._came.is_set())
        assert len(told(heard)) == 4, "a new VIP is no news"

    with patch.object(vip_watch, SETTLE, 0.1):  # longer than the storm lasts, also on a busy machine
        run(tmp_path, scenario)


def test_after_a_start_only_what_is_known_to_be_wrong_is_told(tmp_path: Path) -> None:
    heard: list[Event] = []

    async def before(world: World, manager: Door) -> None:
        await three(world, manager, all_unhealthy="fail-closed")

    async def after(world: World, manager: Door) -> None:
        manager.manager.events.listen(heard.append)
        await asyncio.sleep(0.05)
        assert told(heard) == []
        for last in (1, 2, 3):
            world.health.flip(f"10.0.0.{last}", Health.DOWN)
        await until(lambda: len(told(heard)) == 1)

    async def again(_: World, manager: Door) -> None:
        heard.clear()
        manager.manager.events.listen(heard.append)
        await until(lambda: len(told(heard)) == 1)
        assert told(heard) == [(None, "OFFLINE", 0, 1)]

    with patch.object(vip_watch, SETTLE, 0.02):
        run(tmp_path, before, after, again)
