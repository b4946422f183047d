# SPDX-License-Identifier: Apache-2.0
"""A change costs what it changes: with ten times as many VIPs and backends it takes as many steps of Python."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar

import pytest

from tests.fakes import until
from tests.unit.control.world import World
from xdplb.control.edits import edit as edits
from xdplb.control.edits.edit import Batch, Edit
from xdplb.control.manager import Manager
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing.request import Request
from xdplb.control.writing.threads import Worker
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Backend, Health
from xdplb.model.health import HealthCheck
from xdplb.model.min_serving import MinServing
from xdplb.model.vip import AllUnhealthy, Forward, Protocol, Vip, VipKey

T = TypeVar("T")

OURS = str(Path(edits.__file__).parents[2])
STAND_INS = {"fake.py", "fake_parts.py"}
TOLERATED = 1.5
POLICIES: dict[str, Any] = {
    "all_unhealthy": AllUnhealthy.LAST_GOOD,
    "min_serving": MinServing(0, 50),
    "panic_share": 0.5,
    "slow_start_seconds": 30,
}
SHAPES = {
    "VIPs": ((40, 4), (400, 4), Forward.DR),
    "backends of one VIP": ((1, 200), (1, 2000), Forward.DR),
    "VIPs by NAT": ((40, 4), (400, 4), Forward.NAT),
    "backends of one VIP by NAT": ((1, 200), (1, 2000), Forward.NAT),
}


def key(number: int) -> VipKey:
    return VipKey(IPv4Address("198.51.100.0") + number, 80, Protocol.TCP)


def vip(number: int, forward: Forward) -> Vip:
    return Vip(key(number), forward=forward, **POLICIES)


def backend(number: int, **asked: Any) -> Backend:
    return Backend(IPv4Address("10.1.0.1") + number, **asked)


@pytest.fixture(autouse=True)
def nothing_is_verified_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a pace of its own, by the number of tables, and may fall into a change."""
    monkeypatch.setattr("xdplb.control.writing.verifier._TURN_SECONDS", 3600)


@pytest.fixture(autouse=True)
def what_follows_comes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status of VIPs is looked at within what is counted."""
    monkeypatch.setattr("xdplb.control.writing.vip_watch._SETTLE_SECONDS", 0.01)


class Steps:
    """Counts the steps of the interpreter in xdplb, in this thread: the table and stand-ins are left out."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.settrace(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _begin(self, frame: FrameType, event: str, argument: object) -> Any:
        path = Path(frame.f_code.co_filename)
        if not str(path).startswith(OURS) or path.name in STAND_INS or path.parent.name == "balance":
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        self.count += event == "opcode"
        return self._step


CHANGES: dict[str, tuple[Edit, ...]] = {
    "a VIP is added": (edits.CreateVip(Vip(key(5000), name="new")),),
    "a VIP is set": (edits.PatchVip(key(0), {"idle_timeout_seconds": 77}),),
    "a weight is set": (edits.PatchBackend(key(0), backend(1).address, {"weight": 7}),),
    "a backend is added": (edits.CreateBackend(key(0), backend(9000)),),
    "a backend is drained": (edits.DrainBackend(key(0), backend(2).address, 60.0, 5.0),),
    "a backend is removed": (edits.DeleteBackend(key(0), backend(3).address),),
    "a VIP is removed": (edits.DeleteVip(key(5000)),),
}


async def counted(manager: Manager, world: World) -> dict[str, int]:
    """Return how many steps each change takes, and what follows from a failed check."""
    found: dict[str, int] = {}
    for name, asked in CHANGES.items():
        with Steps() as steps:
            for edit in asked:
                await manager.change(Request(edit=edit))
        found[name] = steps.count
    backend_id = next(
        number for number, (target,) in world.health.targets.items() if target.address == backend(1).address
    )
    with Steps() as steps:
        manager._writer.health_flipped([backend_id], Health.DOWN, "refused")
        await settled(manager)
    found["a check fails"] = steps.count
    return found


async def settled(manager: Manager) -> None:
    """Wait until the maps hold what is wanted."""
    await asyncio.sleep(0.05)
    await manager._writer.with_maps(lambda: None)
    await until(lambda: not manager._vips._came.is_set())  # it has looked at the status of VIPs


async def costs(path: Path, vips: int, backends: int, forward: Forward) -> dict[str, int]:
    """Return how many steps changes take, with so many VIPs and so many backends of each."""
    world = World(path, Capacity(vips=8192, backends=20000))
    manager = Manager(world.plane, SqliteStore(path), world.hops, world.health, scan_seconds=1000.0)
    await manager.start()
    try:
        await manager.change(
            Request(edit=Batch(tuple(edits.CreateVip(vip(number, forward)) for number in range(vips))))
        )
        made: list[Edit] = []
        for number in range(vips):
            made.append(edits.PutCheck(key(number), HealthCheck()))
            port = None if forward is Forward.DR else 1000 + number  # of one VIP alone
            made.append(edits.ReplaceBackends(key(number), tuple(backend(each, port=port) for each in range(backends))))
        await manager.change(Request(edit=Batch(tuple(made))))  # type: ignore[arg-type]
        manager._writer.health_flipped(list(world.health.targets), Health.UP, "")
        manager._writer._many_events.say_the_rest()
        await settled(manager)
        return await counted(manager, world)
    finally:
        await manager.stop()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_change_takes_as_many_steps_with_ten_times_as_many(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def at_once(self: Worker, work: Callable[[], T]) -> T:
        return work()

    monkeypatch.setattr(Worker, "__call__", at_once)
    caplog.set_level(logging.CRITICAL)
    *sizes, forward = SHAPES[shape]
    few, many = (asyncio.run(costs(tmp_path / str(index), *size, forward)) for index, size in enumerate(sizes))
    more = {name: (few[name], many[name]) for name in few if many[name] > TOLERATED * few[name]}
    assert more == {}, "steps with few and with ten times as many"
