# SPDX-License-Identifier: Apache-2.0
"""What agents and commands say of weight, drain and maint: the tables follow, and the configuration stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.fakes import TaskProber, run_in_simulated_time, until
from tests.unit.control.checked import FAIL, NO_RESULT, PASS
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, slots_of
from xdplb.balance.slots import unpack
from xdplb.control.events import AgentSaid, Event, Events, TablePublished
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.probes.result import AdminWord, AgentWord, ProbeResult
from xdplb.model.backend import AdminState, Health
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.vip import Scheduler

AGENT = HealthCheck(CheckType.AGENT, port=9999)
COMMAND = HealthCheck(CheckType.EXEC, command=("/bin/true",))
DRAIN, MAINT, READY = (AgentWord(admin=word) for word in (AdminWord.DRAIN, AdminWord.MAINT, AdminWord.READY))


async def advised(world: World, manager: Door, check: HealthCheck = AGENT, **settings: object) -> None:
    """Make a VIP with three backends that are up and have agents."""
    await manager.create_vip(WEB)
    await manager.put_health_check("web", check)
    if settings:
        await manager.patch_vip("web", settings)
    for last in (1, 2, 3):
        await manager.create_backend("web", backend(last))
        world.health.flip(f"10.0.0.{last}", Health.UP)
    await until(lambda: manager.vip("web").backends_serving == 3)
    world.clock.advance(61)
    await until(lambda: slots_of(manager) == (65537, 0, 0))


def share(manager: Door, last: int) -> float:
    return round(manager.backend("web", f"10.0.0.{last}").share, 3)


def shown(manager: Door, last: int) -> tuple[str, float]:
    view = manager.backend("web", f"10.0.0.{last}")
    return view.reason, view.effective_weight


def test_a_percentage_is_a_part_of_the_weight_also_of_one(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        await advised(world, manager)
        world.health.say("10.0.0.1", AgentWord(percent=50))
        await until(lambda: share(manager, 1) == 0.2)
        assert shown(manager, 1) == ("its agent says 50 %", 0.5)
        view = manager.backend("web", "10.0.0.1")
        assert (view.backend.weight, view.backend.admin_state) == (1, AdminState.READY)
        assert (share(manager, 2), share(manager, 3), manager.vip("web").operating_status) == (0.4, 0.4, "ONLINE")
        assert 1 in unpack(world.table())[1], "what moved away is still bridged"
        published = sum(isinstance(event, TablePublished) for event in heard)
        for percent in (49, 51, 48, 52):
            world.clock.advance(60)
            world.health.say("10.0.0.1", AgentWord(percent=percent))
        await asyncio.sleep(0.02)
        assert sum(isinstance(event, TablePublished) for event in heard) == published, "jitter moves no slot"
        world.health.say("10.0.0.1", AgentWord(percent=100))
        await until(lambda: share(manager, 1) == 0.333)
        assert shown(manager, 1) == ("", 1.0)
        said = [event.reason for event in heard if isinstance(event, AgentSaid)]
        assert said == ["its agent says 50 %", "its agent says 100 %"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("word", [DRAIN, MAINT, AgentWord(percent=0)])
def test_an_agent_that_wants_nothing_new_keeps_what_is_open(tmp_path: Path, word: AgentWord) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await advised(world, manager)
        before = unpack(world.table())[0].copy()
        world.health.say("10.0.0.1", word)
        await until(lambda: share(manager, 1) == 0.0)
        assert shown(manager, 1)[0].startswith("its agent says ")
        assert world.plane.read_backends()[1].usable
        view = manager.vip("web")
        assert (view.operating_status, view.backends_serving) == ("DEGRADED", 2)
        assert manager.backend("web", "10.0.0.1").drain is None, "there is no deadline"
        world.clock.advance(11)
        world.health.say("10.0.0.1", AgentWord(percent=100, admin=AdminWord.READY))
        await until(lambda: share(manager, 1) == 0.333)
        assert (unpack(world.table())[0] == before).all(), "it has its own slots again"

    run(tmp_path, scenario)


def test_what_the_operator_asks_for_comes_first(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await advised(world, manager)
        world.health.say("10.0.0.1", AgentWord(percent=200, admin=AdminWord.READY))
        await until(lambda: share(manager, 1) == 0.5)
        await manager.patch_backend("web", "10.0.0.1", {"weight": 0})
        assert shown(manager, 1) == ("its weight is 0", 0.0)
        await manager.patch_backend("web", "10.0.0.1", {"weight": 3})
        assert (share(manager, 1), shown(manager, 1)) == (0.75, ("its agent says 200 %", 6.0))
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": AdminState.MAINT})
        assert (share(manager, 1), shown(manager, 1)[0]) == (0.0, "in maintenance")

    run(tmp_path, scenario)


def test_the_exit_code_of_a_command_is_the_weight_itself(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await advised(world, manager, COMMAND)
        world.health.say("10.0.0.2", AgentWord(weight=3))
        await until(lambda: share(manager, 2) == 0.6)
        assert shown(manager, 2) == ("its check says weight 3", 3.0)
        world.health.say("10.0.0.2", AgentWord())  # exit code 0: the weight is unchanged
        await asyncio.sleep(0.01)
        assert share(manager, 2) == 0.6
        world.health.say("10.0.0.2", AgentWord(weight=0))
        await until(lambda: shown(manager, 2) == ("its check says weight 0", 0.0))
        assert share(manager, 2) == 0.0

    run(tmp_path, scenario)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_scheduler_takes_it(tmp_path: Path, scheduler: Scheduler) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await advised(world, manager, scheduler=scheduler, tracking=None)
        world.health.say("10.0.0.1", AgentWord(percent=25))
        await until(lambda: shown(manager, 1) == ("its agent says 25 %", 0.25))
        weights = {number: entry.weight for number, entry in world.plane.read_backends().items()}
        assert weights == ({1: 5, 2: 20, 3: 20} if scheduler.weighs_load else {1: 1, 2: 1, 3: 1})
        if scheduler in {Scheduler.MAGLEV, Scheduler.SH, Scheduler.WRR}:
            assert share(manager, 1) == 0.111
        world.health.say("10.0.0.1", DRAIN)
        await until(lambda: not world.plane.read_backends()[1].takes_new)

    run(tmp_path, scenario)


def test_what_was_said_lasts_over_a_restart_and_ends_with_the_agent(tmp_path: Path) -> None:
    tables = []

    async def before(world: World, manager: Door) -> None:
        await advised(world, manager)
        world.health.say("10.0.0.1", AgentWord(percent=50, admin=AdminWord.DRAIN))
        world.health.say("10.0.0.2", AgentWord(percent=60))
        await until(lambda: shown(manager, 2) == ("its agent says 60 %", 0.6) and share(manager, 1) == 0.0)
        world.health.flip("10.0.0.3", Health.DOWN)
        world.health.flip("10.0.0.3", Health.UP)
        await until(lambda: manager.vip("web").backends_serving == 2)
        tables.append(unpack(world.table())[0].copy())

    async def after(world: World, manager: Door) -> None:
        assert (unpack(world.table())[0] == tables[0]).all(), "a restart moves no slot"
        assert shown(manager, 1)[0] == "its agent says drain and 50 %"
        world.health.flip("10.0.0.2", Health.DOWN)
        await until(lambda: share(manager, 2) == 0.0)
        world.health.flip("10.0.0.2", Health.UP)
        await until(lambda: shown(manager, 2) == ("its agent says 60 %", 0.6))
        await manager.patch_backend("web", "10.0.0.2", {"checked": False})
        assert shown(manager, 2) == ("", 1.0)
        await manager.put_health_check("web", HealthCheck())
        assert {shown(manager, last) for last in (1, 2, 3)} == {("", 1.0)}
        assert {share(manager, last) for last in (1, 2, 3)} == {0.333}

    run(tmp_path, before, after)


def test_that_a_vip_gets_agents_moves_no_slot(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.put_health_check("web", HealthCheck())
        for last, weight in ((1, 1), (2, 3), (3, 7), (4, 65535)):
            await manager.create_backend("web", backend(last, weight=weight))
            world.health.flip(f"10.0.0.{last}", Health.UP)
        world.health.flip("10.0.0.2", Health.DOWN)
        await until(lambda: share(manager, 4) > 0 and "check failed" in shown(manager, 2)[0])
        before = world.table().copy()
        await manager.put_health_check("web", AGENT)
        assert (world.table() == before).all()

    run(tmp_path, scenario)


def test_what_comes_in_a_hurry_is_bounded(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        heard: list[Event] = []
        manager.manager.events.listen(heard.append)
        await advised(world, manager)
        for _ in range(100):  # an agent that cannot decide, ten times a second
            for word in (DRAIN, READY):
                world.health.say("10.0.0.1", word)
                world.clock.advance(0.05)
        await asyncio.sleep(0.02)
        assert sum(isinstance(event, AgentSaid) for event in heard) <= 4

    run(tmp_path, scenario)


def test_the_checker_tells_what_was_said_before_it_tells_of_a_flip() -> None:
    async def run_it() -> None:
        heard: list[object] = []
        results = [
            replace(PASS, said=DRAIN),
            FAIL,
            NO_RESULT,
        ]

        async def probe(*_: object) -> ProbeResult:
            return results.pop(0) if results else replace(PASS, said=READY)

        def said(backend_ids: object, word: AgentWord) -> None:
            heard.append((sorted(backend_ids), word))  # type: ignore[call-overload]

        checker = Checker(prober=TaskProber(probe))
        await checker.start(lambda ids, health, _: heard.append((ids, health)), Events(), on_said=said)
        check = HealthCheck(CheckType.AGENT, port=9999, interval_seconds=0.05)
        checker.watch({7: (CheckTarget(0, IPv4Address("192.0.2.1"), 9999, check),)}, {})
        await until(lambda: len(heard) >= 3)
        await checker.stop()
        assert heard[:3] == [([7], DRAIN), ([7], Health.UP), ([7], READY)], "what does not answer says nothing"

    run_in_simulated_time(run_it())
