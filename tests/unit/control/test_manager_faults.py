"""Faults: a data plane that refuses, a caller that goes away, a daemon killed at any step, maps others have changed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.world import WEB, WRITES, World, backend, with_backends
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import unpack
from xdplb.control import writer
from xdplb.control.manager import Manager
from xdplb.control.records import KnownHealth
from xdplb.control.store import Store
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.layout import FLOW_RST
from xdplb.model.backend import Health
from xdplb.model.errors import NotFoundError, PlatformError, XdplbError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

REFUSAL = PlatformError("the kernel has no memory for a table", hint="free some")


def test_what_the_plane_refuses_is_kept_told_and_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            world.plane.fail("write_table", REFUSAL, times=3)
            with pytest.raises(PlatformError, match="the change is kept") as raised:
                await manager.create_backend("web", backend(2))
            assert "no memory for a table" in raised.value.detail
            view = manager.backend("web", "10.0.0.2")
            assert (view.generation, view.observed_generation, view.share) == (3, 0, 0.0)
            assert (manager.status().generation, manager.status().observed_generation) == (3, 2)
            assert manager.not_ready() == [f"the data plane does not hold what was asked: {REFUSAL}"]
            await until(lambda: manager.backend("web", "10.0.0.2").observed_generation == 3)
            assert (manager.status().last_error, manager.not_ready()) == ("", [])
            assert manager.backend("web", "10.0.0.2").share == pytest.approx(0.5, abs=0.01)

    asyncio.run(scenario())


def test_what_cannot_be_saved_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)

    def refuse(*_: object) -> None:
        raise PlatformError("the state cannot be written: disk full", hint="make room")

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            before, writes = manager.status(), world.writes()
            with monkeypatch.context() as patch:
                patch.setattr(Store, "save", refuse)
                with pytest.raises(PlatformError, match="disk full"):
                    await manager.create_backend("web", backend(2))
            assert (manager.status(), world.writes()) == (before, writes)
            await manager.create_backend("web", backend(2))

    asyncio.run(scenario())


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.004, 0.01])
def test_a_caller_that_goes_away_leaves_no_half_change(tmp_path: Path, delay: float) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            call = asyncio.create_task(manager.create_backend("web", backend(2)))
            await asyncio.sleep(delay)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            await manager.create_backend("web", backend(3))
            assert manager.status().observed_generation == manager.status().generation
            asked = {str(view.backend.address) for view in manager.backends("web")}
            assert {str(entry.address) for entry in world.plane.read_backends().values()} == asked
        assert "10.0.0.3" in asked

    asyncio.run(scenario())


def test_stopping_waits_for_the_change_that_runs(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            call = asyncio.create_task(manager.create_backend("web", backend(2)))
            await asyncio.sleep(0)
        await call
        async with world.running() as manager:
            assert len(manager.backends("web")) == 2

    asyncio.run(scenario())


def test_changes_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await manager.create_vip(WEB)
            done = await asyncio.gather(*(manager.create_backend("web", backend(last)) for last in range(1, 21)))
            assert [item[1] for item in done if isinstance(item, tuple)] == [True] * 20
            assert {view.generation for view in manager.backends("web")} == set(range(2, 22))
            same = await asyncio.gather(*(manager.create_vip(Vip(VipKey.parse("203.0.113.9:1/udp"))) for _ in range(5)))
            assert sum(item[1] for item in same if isinstance(item, tuple)) == 1

    asyncio.run(scenario())


def test_a_change_is_answered_though_a_later_one_has_undone_it(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            world.hops.lose("10.0.0.2")  # so that its answer waits a moment for the next hop
            creating = asyncio.create_task(manager.create_backend("web", backend(2)))
            await until(lambda: len(manager.backends("web")) == 2)
            await manager.delete_vip("web")
            created = await creating
            assert isinstance(created, tuple)
            assert (str(created[0].backend.address), created[1]) == ("10.0.0.2", True)

    asyncio.run(scenario())


def test_a_name_that_goes_to_another_vip_takes_no_change_with_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = VipKey.parse("203.0.113.11:443/tcp")

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            done = await asyncio.gather(
                manager.delete_vip("web"),
                manager.create_vip(Vip(other, name="web")),
                manager.patch_vip("web", {"idle_timeout_seconds": 7}),
                manager.create_backend("web", backend(2)),
                return_exceptions=True,
            )
            assert [type(item) for item in done] == [type(None), tuple, NotFoundError, NotFoundError]
            assert manager.vip("web").vip.idle_timeout_seconds == 900

    asyncio.run(scenario())


def test_of_two_changes_at_once_that_saw_the_same_one_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            seen = (await with_backends(manager, 1)).generation
            done = await asyncio.gather(
                *(manager.replace_backends("web", [backend(last)], if_match=seen) for last in (2, 3, 4)),
                return_exceptions=True,
            )
            assert sorted(type(item).__name__ for item in done) == ["PreconditionError", "PreconditionError", "list"]
            assert len(manager.backends("web")) == 1

    asyncio.run(scenario())


def test_health_that_could_not_be_saved_is_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_HEARTBEAT_SECONDS", 0.02)
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await manager.create_vip(WEB)
            await manager.put_health_check("web", HealthCheck())
            await manager.create_backend("web", backend(1))
            saved: list[Health] = []
            save = Store.save_health

            def once_full(self: Store, health: Mapping[int, KnownHealth]) -> None:
                if not saved:
                    saved.append(Health.UNKNOWN)
                    raise PlatformError("the state cannot be written: disk full", hint="make room")
                save(self, health)
                saved.append(health[1].health)

            monkeypatch.setattr(Store, "save_health", once_full)
            world.health.flip("10.0.0.1", Health.UP)
            await until(lambda: saved[1:] == [Health.UP])

    asyncio.run(scenario())


@pytest.mark.parametrize("harm", ["table", "backend", "vips"])
def test_maps_that_somebody_else_changed_are_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(writer, "_HEARTBEAT_SECONDS", 0.02)
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
            plane = world.plane
            before = unpack(world.table())[0], plane.read_backends(), plane.read_vips()
            if harm == "table":
                plane.write_table(0, np.zeros_like(world.table()))
            elif harm == "backend":
                plane.clear_backends([1])
            else:
                plane.write_vips([])

            def is_right() -> bool:
                after = unpack(world.table())[0], plane.read_backends(), plane.read_vips()
                return np.array_equal(after[0], before[0]) and after[1:] == before[1:]

            assert not is_right()
            await until(is_right)

    asyncio.run(scenario())


def test_a_plane_that_cannot_be_read_stops_the_start_with_its_sentence(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.plane.fail("read_vips", REFUSAL)

    async def scenario() -> None:
        with pytest.raises(PlatformError, match="no memory"):
            async with world.running():
                pass
        async with world.running() as manager:
            assert manager.not_ready() == []

    asyncio.run(scenario())


def test_orphans_in_the_maps_are_removed_at_the_start(tmp_path: Path) -> None:
    one, other = World(tmp_path / "one"), World(tmp_path / "other")

    async def scenario() -> None:
        async with one.running() as manager:
            await with_backends(manager, 1, 2)
        other.plane = one.plane
        async with other.running():
            plane = one.plane
            assert (plane.read_vips(), plane.read_backends(), plane.read_table(0)) == ({}, {}, None)

    asyncio.run(scenario())


def test_no_nic_is_not_ready(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.plane.attached = []

    async def scenario() -> None:
        async with world.running() as manager:
            assert manager.not_ready() == ["the program is on no NIC"]
        assert manager.not_ready() == ["the control plane is not running"]

    asyncio.run(scenario())


# --- kill -9 at any step ----------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The process is no more: nothing may catch this and go on."""


@dataclass
class Fuse:
    """Kills the daemon at its n-th call that changes something, before or after the call does its work."""

    nth: int
    after: bool
    calls: int = 0
    is_dead: bool = False

    def around(self, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise KilledError
        self.calls += 1
        if self.calls != self.nth:
            return call()
        self.is_dead = True
        if self.after:
            call()
        raise KilledError


class Mortal:
    """A data plane whose user dies as its fuse says."""

    def __init__(self, plane: FakePlane, fuse: Fuse) -> None:
        self._plane, self._fuse = plane, fuse

    def __getattr__(self, name: str) -> Any:
        target = getattr(self._plane, name)
        if name not in WRITES | {"delete_flows"}:
            return target
        return lambda *args: self._fuse.around(lambda: target(*args))


CHANGES: list[Callable[[Manager], Awaitable[object]]] = [
    lambda m: m.create_vip(WEB),
    lambda m: m.replace_backends("web", [backend(1), backend(2), backend(3)]),
    lambda m: m.create_vip(Vip(VipKey.parse("203.0.113.11:53/udp"), name="dns")),
    lambda m: m.create_backend("dns", backend(1)),
    lambda m: m.patch_backend("web", "10.0.0.1", {"weight": 5}),
    lambda m: m.drain("web", "10.0.0.2"),
    lambda m: m.put_health_check("web", HealthCheck()),
    lambda m: m.patch_vip("web", {"tracking": "always"}),
    lambda m: m.patch_vip("web", {"tracking": "auto"}),
    lambda m: m.replace_backends("web", [backend(1), backend(4), backend(5)]),
    lambda m: m.delete_vip("dns"),
    lambda m: m.create_vip(Vip(VipKey.parse("203.0.113.12:80/tcp"), name="new")),
]


async def live(world: World, changes: int, fuse: Fuse | None = None) -> int:
    """Make the first `changes` changes, with flows and time in between; return how many were acknowledged."""
    done = 0
    plane = world.plane
    world.plane = Mortal(plane, fuse) if fuse is not None else plane  # type: ignore[assignment]
    try:
        async with world.running() as manager:
            for change in CHANGES[:changes]:
                await change(manager)
                done += 1
                for port in range(3000, 3020):
                    plane.add_flow("198.51.100.7", port, WEB.key, backend=1, flags=FLOW_RST if port % 2 else 1)
                world.clock.advance(25)
                await asyncio.sleep(0.012)
    except (KilledError, XdplbError):
        assert fuse is not None
    finally:
        world.plane = plane
    return done


def maps(world: World) -> object:
    plane = world.plane
    vips = plane.read_vips()
    owners = {vip_id: unpack(world.table(vip_id))[0].tobytes() for vip_id in vips}
    orphans = [vip_id for vip_id in range(8) if vip_id not in vips and plane.read_table(vip_id) is not None]
    return vips, plane.read_backends(), owners, orphans


def no_records_in_steady_slots(world: World) -> bool:
    flows, slots = world.plane.scan_flows(), world.table()
    of = slot_of(flow_hash(flows.source, flows.source_port, flows.destination_port))
    return not np.any(slots[of] >> 16 == 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_state_and_maps_agree_after_a_restart(tmp_path: Path, *, after: bool) -> None:
    async def scenario() -> None:
        wanted = []
        for changes in range(len(CHANGES) + 1):
            reference = World(tmp_path / f"reference-{changes}")
            await live(reference, changes)
            wanted.append(maps(reference))
        nth, died = 0, True
        while died:
            nth += 1
            world, fuse = World(tmp_path / f"killed-{nth}"), Fuse(nth, after)
            done = await live(world, len(CHANGES), fuse)
            died = fuse.is_dead
            async with world.running() as manager:
                assert manager.status().last_error == ""
                assert maps(world) in wanted[done : done + 2], f"killed at call {nth}"
                if any(view.vip.name == "web" and view.vip.tracking == "auto" for view in manager.vips()):
                    await until(functools.partial(no_records_in_steady_slots, world))
        assert nth > 20

    asyncio.run(scenario())


def test_health_that_flipped_before_a_kill_is_there_or_unknown_to_the_maps_too(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await manager.create_vip(WEB)
            await manager.put_health_check("web", HealthCheck())
            await manager.replace_backends("web", [backend(1), backend(2)])
            for last in (1, 2):
                world.health.flip(f"10.0.0.{last}", Health.UP)
            await until(lambda: all(view.share for view in manager.backends("web")))
            world.plane.fail("write_table", REFUSAL, times=1000)
            world.health.flip("10.0.0.2", Health.DOWN)
            await asyncio.sleep(0.05)
        world.plane.failures.clear()
        async with world.running() as manager:
            down = manager.backend("web", "10.0.0.2")
            assert (down.health, down.share) == (Health.DOWN, 0.0)

    asyncio.run(scenario())
