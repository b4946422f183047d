# SPDX-License-Identifier: Apache-2.0
"""The drain of this node: it ends when packets stop, or at its deadline; and it is kept with the state."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import World, with_backends
from xdplb.control.events import DAEMON, Event, NodeDrained
from xdplb.control.state.node_drain import NodeDrain
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing.applier import Applier
from xdplb.dataplane.plane import VipCounters
from xdplb.model.node import NodeState

THEN = datetime(2030, 1, 1, tzinfo=UTC)
ENDED = NodeDrain(THEN, 60.0, 3.0, THEN, timed_out=True)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what can be told to add packets at each look."""
    told = SimpleNamespace(packets=0, each=0)

    def counters(_applier: Applier, vip_ids: Any) -> dict[int, VipCounters]:
        told.packets += told.each
        return {number: VipCounters(told.packets, 0, 0, 0, 0) for number in list(vip_ids)[:1]}

    monkeypatch.setattr(Applier, "vip_packets", counters)
    return told


def run(world: World, scenario: Any) -> None:
    async def inner() -> None:
        async with world.running() as manager:
            await scenario(manager)

    asyncio.run(inner())


def test_it_lasts_as_long_as_packets_come_and_ends_once_they_have_stopped(tmp_path: Path, traffic: Any) -> None:
    world = World(tmp_path)
    traffic.each = 5

    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        node = door.manager.node
        await node.begin(600, 3, DAEMON)
        for _ in range(10):
            world.clock.advance(1)
            more = traffic.packets + 1
            await until(lambda more=more: bool(traffic.packets >= more))  # type: ignore[misc]
        assert node.state is NodeState.DRAINING
        traffic.each = 0
        await asyncio.sleep(0.03)
        assert node.state is NodeState.DRAINING, "it is to be quiet for 3 s"
        world.clock.advance(3.1)
        await until(lambda: node.state is NodeState.DRAINED)
        assert node.drain is not None
        assert not node.drain.timed_out

    run(world, scenario)


def test_at_its_deadline_it_ends_although_packets_come_and_says_so(tmp_path: Path, traffic: Any) -> None:
    world = World(tmp_path)
    traffic.each = 5

    async def scenario(door: Door) -> None:
        said: list[Event] = []
        door.manager.events.listen(said.append)
        await with_backends(door, 1)
        await door.manager.node.begin(60, 3, DAEMON)
        world.clock.advance(30)
        await asyncio.sleep(0.03)
        assert door.manager.node.state is NodeState.DRAINING
        world.clock.advance(30)
        await until(lambda: door.manager.node.state is NodeState.DRAINED)
        (drained,) = (event for event in said if isinstance(event, NodeDrained))
        assert drained.timed_out
        assert drained.packets_per_second > 0
        assert drained.level.word == "warning"

    run(world, scenario)


def test_time_goes_on_while_no_daemon_runs(tmp_path: Path, traffic: Any) -> None:
    world = World(tmp_path)
    traffic.each = 5

    async def begin(door: Door) -> None:
        await with_backends(door, 1)
        await door.manager.node.begin(60, 3, DAEMON)

    async def later(door: Door) -> None:
        await until(lambda: door.manager.node.state is NodeState.DRAINED)

    run(world, begin)
    world.clock.advance(60)
    run(world, later)


def test_it_is_written_again_with_a_state_that_was_removed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.save_node_drain(ENDED)
    store.path.unlink()
    assert store.restore()
    store.close()
    again = SqliteStore(tmp_path)
    again.open()
    assert again.node_drain() == ENDED
    again.save_node_drain(None)
    again.close()
    again.open()
    assert again.node_drain() is None
    again.close()


def test_a_backup_does_not_drain_the_node_that_it_is_restored_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "one")
    store.open()
    store.save_node_drain(ENDED)
    (tmp_path / "backup").write_bytes(store.copy())
    store.close()
    other = SqliteStore(tmp_path / "other")
    (tmp_path / "other").mkdir()
    backup = other.stage_backup(tmp_path / "backup")
    other.replace_with(backup, 7, backup.snapshot, {})
    other.open()
    assert other.node_drain() is None
    other.close()
