# SPDX-License-Identifier: Apache-2.0
"""Restarts: a table that is known by the fingerprint of what it was made from is neither computed nor read."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, slots_of, with_backends
from xdplb.balance import table
from xdplb.balance.fill import Places
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.writing import verifier
from xdplb.dataplane.plane import Slots
from xdplb.model.backend import Health
from xdplb.model.errors import PlatformError
from xdplb.model.health import HealthCheck
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import VipKey


async def _two_backends(_world: World, manager: Door) -> None:
    await with_backends(manager, 1, 2)


def _steady(world: World) -> None:
    """Let the next daemon find slots that are all steady, as after the idle timeout of the last change."""

    async def settle() -> None:
        async with world.running() as manager:
            world.clock.advance(70)
            await until(lambda: slots_of(manager)[1:] == (0, 0))

    asyncio.run(settle())


def _world(path: Path) -> World:
    world = World(path)

    async def fill() -> None:
        async with world.running() as manager:
            await with_backends(manager, 1, 2)

    asyncio.run(fill())
    _steady(world)
    world.plane.calls.clear()
    return world


def _restart(world: World) -> list[float]:
    """Start a daemon again; return the shares of its backends."""
    shares: list[float] = []

    async def look() -> None:
        async with world.running() as manager:
            shares.extend(view.share for view in manager.backends("web"))

    asyncio.run(look())
    return shares


def test_a_known_table_is_neither_read_nor_computed_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = _world(tmp_path)
    computed: list[object] = []
    table._places.cache_clear()
    table._pattern.cache_clear()
    base = table._base

    def noting(configured: tuple[tuple[str, int], ...]) -> Places:
        computed.append(configured)
        return base(configured)

    monkeypatch.setattr(table, "_base", noting)

    async def start() -> None:
        async with world.running():
            assert computed == []

    asyncio.run(start())
    assert world.writes() == []
    assert "read_table" not in world.plane.calls


def test_what_is_told_of_a_known_table_is_right(tmp_path: Path) -> None:
    assert _restart(_world(tmp_path)) == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_table_without_fingerprint_is_read(tmp_path: Path) -> None:
    """As after a kill -9 in the middle of a change."""
    world = _world(tmp_path)
    slots = world.table()
    world.plane.write_table(0, slots)
    world.plane.calls.clear()
    assert _restart(world) == pytest.approx([0.5, 0.5], abs=0.01)
    assert "read_table" in world.plane.calls
    assert world.writes() == []


def test_a_table_with_moving_slots_is_read_and_keeps_them(tmp_path: Path) -> None:
    world = _world(tmp_path)
    moving = []

    async def change() -> None:
        async with world.running() as manager:
            await manager.create_backend("web", backend(3))
            moving.append(slots_of(manager)[1])

    asyncio.run(change())
    before = world.table()
    assert moving[0] > 0
    assert world.plane.read_prints() == {}
    world.plane.calls.clear()
    _restart(world)
    assert "read_table" in world.plane.calls
    assert np.array_equal(world.table(), before)


def test_a_backend_that_was_lost_while_no_daemon_ran_is_taken_out_of_a_known_table(tmp_path: Path) -> None:
    world = _world(tmp_path)
    world.hops.set("10.0.0.1", Resolution(None, "its neighbour does not answer"))
    assert _restart(world) == [0.0, 1.0]
    assert not (world.table() & 0xFFFF == 1).any()


def test_a_known_table_that_was_changed_while_no_daemon_ran_is_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = _world(tmp_path)
    before = world.table()
    world.plane.restore_table(0, np.zeros_like(before))
    monkeypatch.setattr(verifier, "_TURN_SECONDS", 0.01)

    async def start() -> None:
        async with world.running():
            await until(lambda: np.array_equal(world.table(), before))

    asyncio.run(start())


def test_after_a_failure_only_what_is_not_known_is_read_again(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        world.plane.fail("write_table", PlatformError("no memory"))
        world.hops.set("10.0.0.1", Resolution(None, "its neighbour does not answer"))
        await until(lambda: [view.share for view in manager.backends("web")] == [0.0, 1.0])

    run(tmp_path, scenario)


def test_stopping_does_not_wait_for_what_follows_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    keys = [VipKey(WEB.key.address, 1000 + number, WEB.key.protocol) for number in range(12)]
    vips = [replace(WEB, key=key, name=f"web{key.port}") for key in keys]
    written: list[int] = []
    write = world.plane.write_table

    def slowly(vip_id: int, slots: Slots, fingerprint: bytes = b"") -> None:
        time.sleep(0.1)
        written.append(vip_id)
        write(vip_id, slots, fingerprint)

    async def lose_and_stop() -> None:
        async with world.running() as manager:
            for vip in vips:
                await with_backends(manager, 1, 2, vip=vip)
            monkeypatch.setattr(world.plane, "write_table", slowly)
            world.hops.set("10.0.0.1", Resolution(None, "its neighbour does not answer"))
            await until(lambda: written != [])
        assert len(written) < 12

    async def start() -> None:
        async with world.running() as manager:
            assert {manager.backend(str(vip.key), "10.0.0.1").share for vip in vips} == {0.0}

    asyncio.run(lose_and_stop())
    asyncio.run(start())


@pytest.mark.parametrize("harm", ["none", "stale"])
def test_a_table_that_is_right_gets_its_fingerprint_though_it_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Such as one of an xdplb that wrote none: otherwise every start would read it, until its backends change."""
    world = _world(tmp_path)
    right, slots = dict(world.plane.read_prints()), world.table()
    world.plane.write_table(0, slots, b"" if harm == "none" else bytes(range(16)))
    monkeypatch.setattr(verifier, "_TURN_SECONDS", 0.01)

    async def start() -> None:
        async with world.running():
            await until(lambda: world.plane.read_prints() == right)

    asyncio.run(start())
    world.plane.calls.clear()
    _restart(world)
    assert "read_table" not in world.plane.calls


def test_a_table_is_known_whoever_keeps_open_connections(tmp_path: Path) -> None:
    """A host that dies fails its checks first, and then its neighbour entry goes: the table changes only once."""
    world = _world(tmp_path)

    async def die() -> None:
        async with world.running() as manager:
            await manager.patch_vip("web", {"on_unhealthy": "keep"})
            await manager.put_health_check("web", HealthCheck())
            world.health.flip("10.0.0.1", Health.DOWN)
            await until(lambda: manager.backend("web", "10.0.0.1").share == 0)
            world.clock.advance(1000)
            await until(lambda: slots_of(manager)[0] == TABLE_SIZE)
            world.hops.set("10.0.0.1", Resolution(None, "its neighbour does not answer"))
            await until(lambda: not world.plane.read_backends()[1].usable)

    asyncio.run(die())
    world.plane.calls.clear()
    assert _restart(world) == [0.0, 1.0]
    assert "read_table" not in world.plane.calls
