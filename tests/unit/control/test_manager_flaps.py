# SPDX-License-Identifier: Apache-2.0
"""A backend that flaps is held down, unless there would be too few without it, and the operator can end that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run
from xdplb.control.events import BackendHeld, BackendNotHeld, Event
from xdplb.control.writing import flap_watch
from xdplb.model.backend import AdminState, BackendRole, Health
from xdplb.model.health import HealthCheck

LONGEST = "_LONGEST_SECONDS"


@pytest.fixture(autouse=True)
def the_clock_is_looked_at_often() -> object:
    """Tests move the clock by hand."""
    with patch.object(flap_watch, LONGEST, 0.005):
        yield


async def checked(world: World, manager: Door, *lasts: int, **settings: object) -> None:
    """Make a checked VIP with these backends, which are up."""
    await manager.create_vip(WEB)
    await manager.put_health_check("web", HealthCheck())
    await manager.patch_vip("web", settings)
    for last in lasts:
        await manager.create_backend("web", backend(last))
        world.health.flip(f"10.0.0.{last}", Health.UP)
    await until(lambda: manager.vip("web").backends_serving == len(lasts))


async def flap(world: World, *lasts: int, times: int = 5) -> None:
    """Let these backends go down so often, 10 s apart, and come up again each time."""
    for _ in range(times):
        for last in lasts:
            world.health.flip(f"10.0.0.{last}", Health.DOWN)
        await asyncio.sleep(0.005)
        world.clock.advance(10)
        for last in lasts:
            world.health.flip(f"10.0.0.{last}", Health.UP)
        await asyncio.sleep(0.005)


def reason(manager: Door, last: int) -> str:
    view = manager.backend("web", f"10.0.0.{last}")
    return str(view.reason)


def told(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, BackendHeld | BackendNotHeld)]


def test_who_flaps_is_held_down_for_a_while(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        await checked(world, manager, 1, 2, 3)
        await flap(world, 1, times=4)
        await until(lambda: manager.vip("web").backends_serving == 3)
        assert told(heard) == []
        await flap(world, 1, times=1)
        words = "it passes its check, but is held down for 50 s more: it went down 5 times in 40 s"
        await until(lambda: reason(manager, 1) == words)
        view = manager.backend("web", "10.0.0.1")
        assert (view.health, view.share, manager.vip("web").backends_serving) == (Health.UP, 0.0, 2)
        assert view.held_until is not None
        assert (view.held_until - world.clock.utc).total_seconds() == pytest.approx(50, abs=1)
        assert world.plane.read_backends()[1].usable, "open connections go on"
        world.clock.advance(20)
        assert "for 30 s more" in reason(manager, 1)
        world.clock.advance(31)
        await until(lambda: reason(manager, 1) == "")
        assert manager.backend("web", "10.0.0.1").share > 0
        assert told(heard) == [
            BackendHeld(str(WEB.key), "10.0.0.1", 5, 60.5, "it went down 5 times in 40 s"),
            BackendNotHeld(str(WEB.key), "10.0.0.1", "it has not gone down for long enough"),
        ]
        assert manager.manager._writer._flaps._timer is None, "nothing is looked at while none is held"

    run(tmp_path, scenario)


def test_it_is_used_all_the_same_while_too_few_others_serve(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, 1, 2, 3, min_serving=2)
        await flap(world, 1)
        await until(lambda: "held down" in reason(manager, 1))
        world.health.flip("10.0.0.2", Health.DOWN)
        await until(lambda: reason(manager, 1).endswith(", and is used all the same, since too few others serve"))
        assert manager.vip("web").backends_serving == 2
        world.health.flip("10.0.0.2", Health.UP)
        await until(lambda: "is held down" in reason(manager, 1))
        await manager.patch_vip("web", {"min_serving": 3})
        assert "all the same" in reason(manager, 1)

    run(tmp_path, scenario)


def test_the_only_one_and_most_of_all_are_never_held_down(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, 1)
        await flap(world, 1, times=8)
        await until(lambda: manager.vip("web").backends_serving == 1)
        for last in (2, 3, 4):
            await manager.create_backend("web", backend(last))
            world.health.flip(f"10.0.0.{last}", Health.UP)
        await until(lambda: manager.vip("web").backends_serving == 3)  # now the first is held
        await flap(world, 1, 2)
        await until(lambda: manager.vip("web").backends_serving == 2)
        await flap(world, 1, 2, 3)  # as when the balancer's own link flaps
        await until(lambda: manager.vip("web").backends_serving == 4)

    run(tmp_path, scenario)


def test_a_backup_takes_the_place_of_one_that_flaps(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, 1)
        await manager.create_backend("web", backend(2, role=BackendRole.BACKUP))
        world.health.flip("10.0.0.2", Health.UP)
        await flap(world, 1)
        await until(lambda: "held down" in reason(manager, 1))
        assert manager.backend("web", "10.0.0.2").share == 1.0

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", [AdminState.DRAIN, AdminState.MAINT])
def test_the_operator_ends_it_by_making_it_ready_again(tmp_path: Path, state: AdminState) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, 1, 2, 3)
        await flap(world, 1)
        await until(lambda: "held down" in reason(manager, 1))
        await manager.patch_backend("web", "10.0.0.1", {"weight": 2})
        assert "held down" in reason(manager, 1)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": state})
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.READY})
        await until(lambda: reason(manager, 1) == "")
        await manager.delete_backend("web", "10.0.0.1")
        await manager.create_backend("web", backend(9))  # with its id
        world.health.flip("10.0.0.9", Health.UP)
        await until(lambda: manager.backend("web", "10.0.0.9").share > 0)

    run(tmp_path, scenario)


def test_what_is_taken_out_may_go_down_as_often_as_it_likes(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await checked(world, manager, 1, 2, 3)
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.MAINT})
        await flap(world, 1, times=6)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.READY})
        await flap(world, 1, times=4)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.DRAIN})
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.READY})
        await flap(world, 1, times=1)  # whoever made it ready has looked at it
        await until(lambda: manager.backend("web", "10.0.0.1").share > 0)
        assert told(heard) == []

    run(tmp_path, scenario)


def test_a_restart_forgets_who_flapped(tmp_path: Path) -> None:
    async def before(world: World, manager: Door) -> None:
        await checked(world, manager, 1, 2, 3)
        await flap(world, 1)
        await until(lambda: "held down" in reason(manager, 1))

    async def after(_: World, manager: Door) -> None:
        await until(lambda: manager.vip("web").backends_serving == 3)

    run(tmp_path, before, after)
