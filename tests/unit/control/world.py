# SPDX-License-Identifier: Apache-2.0
"""A manager over fakes, that can be started again on the same state and the same maps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeClock, FakeHealth, FakeIcmpErrors, FakeNextHops
from tests.unit.control.door import Door, DryRun
from xdplb.balance import table
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import Slots, unpack
from xdplb.cluster.repository import Repository
from xdplb.control.among import Among, SharedStore
from xdplb.control.answers.views import BackendView, VipView
from xdplb.control.events import Event
from xdplb.control.manager import Manager
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Backend
from xdplb.model.nic import DesiredNic
from xdplb.model.node import name_of_host
from xdplb.model.vip import Vip, VipKey

WEB = Vip(VipKey.parse("203.0.113.10:443/tcp"), name="web", idle_timeout_seconds=60)
WRITES = {
    "write_vips",
    "write_table",
    "delete_table",
    "write_backends",
    "clear_backends",
    "start_vips",
    "write_access",
}


class World:
    """What a manager stands on. `clock` moves by hand.

    Scans of the flow table come every few milliseconds, and write the tables whose slots have settled whenever they
    like. A test that counts what is written has none of them: `scans=False`.
    """

    def __init__(
        self,
        path: Path,
        capacity: Capacity | None = None,
        *,
        nics: Sequence[DesiredNic] = (),
        node: str = "",
        repository: Callable[[], Repository] | None = None,
        scans: bool = True,
    ) -> None:
        self.scan_seconds = 0.005 if scans else 3600.0
        self.path, self.nics, self.node, self.repository = path, nics, node, repository
        self.clock = FakeClock()
        self.plane = FakePlane(capacity, clock=lambda: int(self.clock.seconds * 1e9))
        self.hops = FakeNextHops()
        self.health = FakeHealth()
        self.errors = FakeIcmpErrors()
        self.said: list[Event] = []
        """The events of the manager that runs, or ran last."""

    @asynccontextmanager
    async def running(
        self, prepare: Callable[[Manager], None] = lambda _manager: None, **more: Any
    ) -> AsyncIterator[Door]:
        """Run a manager, new each time, and stop it; `prepare` is called before it starts.

        `more` is what it is among others, besides its name and its store.
        """
        self.health.targets = {}
        manager = Manager(
            self.plane,
            SqliteStore(self.path),
            self.hops,
            self.health,
            nics=self.nics,
            icmp_errors=self.errors,
            clock=self.clock.monotonic,
            steady=self.clock.steady(),
            scan_seconds=self.scan_seconds,
            among=Among(
                node=self.node or name_of_host(),
                store=None if self.repository is None else SharedStore(self.repository(), ""),
                **more,
            ),
        )
        self.said = []
        manager.events.listen(self.said.append)
        prepare(manager)
        await manager.start()
        try:
            yield Door(manager)
        finally:
            await manager.stop()

    def table(self, vip_id: int = 0) -> Slots:
        """Return a VIP's table as the maps hold it."""
        table = self.plane.read_table(vip_id)
        assert table is not None
        return table

    def writes(self) -> list[str]:
        """Return the calls so far that changed the maps."""
        return [call for call in self.plane.calls if call in WRITES]

    def flow_to(self, owner: int, *, nth: int = 0, vip: Vip = WEB) -> tuple[str, int]:
        """Return a client and port whose slot `owner` owns now."""
        owners, _ = unpack(self.table())
        ports = np.arange(1024, 65536)
        slots = slot_of(flow_hash(int(IPv4Address("198.51.100.7")), ports, np.full(len(ports), vip.key.port)))
        return "198.51.100.7", int(ports[owners[slots] == owner][nth])


def backend(last: int, **fields: object) -> Backend:
    """Return the backend 10.0.0.`last`."""
    return Backend(IPv4Address(f"10.0.0.{last}"), **fields)  # type: ignore[arg-type]


async def with_backends(manager: Door, *lasts: int, vip: Vip = WEB) -> VipView:
    """Add a VIP with these backends, and return it."""
    await manager.create_vip(vip)
    for last in lasts:
        await manager.create_backend(str(vip.key), backend(last))
    return manager.vip(str(vip.key))


def viewed(done: BackendView | DryRun) -> BackendView:
    """Return the view of a change that was no dry run."""
    assert isinstance(done, BackendView)
    return done


def run_in(world: World, scenario: Callable[[Door], Awaitable[None]]) -> None:
    """Run a scenario with a manager on this world."""

    async def inner() -> None:
        async with world.running() as manager:
            await scenario(manager)

    asyncio.run(inner())


Scenario = Callable[[World, Door], Awaitable[None]]


def run(path: Path, *scenarios: Scenario, scans: bool = True) -> None:
    """Run the scenarios one after the other, each with a manager started anew on the same state and maps."""
    world = World(path, scans=scans)

    async def inner() -> None:
        for scenario in scenarios:
            async with world.running() as manager:
                await scenario(world, manager)

    asyncio.run(inner())


def fills_from_now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an item whenever a table is computed from now on."""
    fills: list[int] = []
    fill = table._filled
    monkeypatch.setattr(table, "_filled", lambda *given: fills.append(1) or fill(*given))  # type: ignore[func-returns-value]
    return fills


def slots_of(manager: Door) -> tuple[int, int, int]:
    """Return how many of the slots of `web` are steady, moving and pinned."""
    slots = manager.vip("web").slots
    return slots.steady, slots.moving, slots.pinned
