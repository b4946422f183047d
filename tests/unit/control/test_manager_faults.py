# SPDX-License-Identifier: Apache-2.0
"""Faults: a data plane that refuses, a caller that goes away, maps others have changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.world import WEB, World, backend, with_backends
from xdplb.balance.slots import unpack
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing import verifier, writer
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.errors import NotFoundError, PlatformError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

REFUSAL = PlatformError("the kernel has no memory for a table", hint="free some")


def test_what_the_plane_refuses_is_kept_told_and_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            world.plane.fail("write_table", REFUSAL, times=3)
            with pytest.raises(PlatformError, match="the change is saved") as raised:
                await manager.create_backend("web", backend(2))
            assert "no memory for a table" in raised.value.detail
            view = manager.backend("web", "10.0.0.2")
            assert (view.generation, view.observed_generation, view.share) == (3, 0, 0.0)
            assert (manager.status().generation, manager.status().observed_generation) == (3, 2)
            assert manager.not_ready() == [f"the data plane does not have the latest change: {REFUSAL}"]
            await until(lambda: manager.backend("web", "10.0.0.2").observed_generation == 3)
            assert (manager.status().last_error, manager.not_ready()) == ("", [])
            assert manager.backend("web", "10.0.0.2").share == pytest.approx(0.5, abs=0.01)

    asyncio.run(scenario())


def test_a_change_is_saved_also_while_the_maps_cannot_be_read(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            world.plane.fail("write_table", REFUSAL)
            world.plane.fail("read_vips", REFUSAL, times=4)
            for last in (2, 3):  # after the first one nobody knows what the maps hold
                with pytest.raises(PlatformError, match="the change is saved"):
                    await manager.create_backend("web", backend(last))
            with pytest.raises(PlatformError, match="no memory for a table"):
                await manager.create_backend("web", backend(4), dry_run=True)
            assert [str(view.backend.address) for view in manager.backends("web")] == [f"10.0.0.{n}" for n in (1, 2, 3)]
            await until(lambda: manager.status().observed_generation == manager.status().generation == 4)
            assert manager.backend("web", "10.0.0.3").share == pytest.approx(1 / 3, abs=0.01)

    asyncio.run(scenario())


def test_what_cannot_be_saved_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, scans=False)

    def refuse(*_: object) -> None:
        raise PlatformError("the state cannot be written: disk full", hint="make room")

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1)
            before, writes = manager.status(), world.writes()
            with monkeypatch.context() as patch:
                patch.setattr(SqliteStore, "save", refuse)
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
            save = SqliteStore.save_health

            def once_full(self: SqliteStore, health: Mapping[int, KnownHealth]) -> None:
                if not saved:
                    saved.append(Health.UNKNOWN)
                    raise PlatformError("the state cannot be written: disk full", hint="make room")
                save(self, health)
                saved.append(health[1].health)

            monkeypatch.setattr(SqliteStore, "save_health", once_full)
            world.health.flip("10.0.0.1", Health.UP)
            await until(lambda: saved[1:] == [Health.UP])

    asyncio.run(scenario())


def test_a_backend_that_waited_for_its_check_takes_new_connections_in_the_maps_too(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await manager.create_vip(WEB)
            await manager.put_health_check("web", HealthCheck())
            await manager.create_backend("web", backend(1))
            assert not world.plane.read_backends()[1].takes_new
            world.health.flip("10.0.0.1", Health.UP)
            await until(lambda: manager.backend("web", "10.0.0.1").share == 1.0)
            assert world.plane.read_backends()[1].takes_new

    asyncio.run(scenario())


@pytest.mark.parametrize("harm", ["table", "backend", "vips"])
def test_maps_that_somebody_else_changed_are_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(verifier, "_TURN_SECONDS", 0.02)
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
            plane = world.plane
            before = unpack(world.table())[0], plane.read_backends(), plane.read_vips()
            if harm == "table":
                plane.write_table(0, np.zeros_like(world.table()))
            elif harm == "backend":
                plane.overwrite("backends")
            else:
                plane.overwrite("vips")

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
            assert manager.not_ready() == ["the program is not attached to any NIC"]
        assert manager.not_ready() == ["the control plane is not running"]

    asyncio.run(scenario())
