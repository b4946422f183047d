# SPDX-License-Identifier: Apache-2.0
"""Several balancers that share a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import World
from xdplb.cluster.memory import MemoryRepository, MemoryStore
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.cluster import Cluster
from xdplb.control.writing.store_standing import StoreState

__all__ = ["Node", "Shared", "play"]


class Node:
    """A balancer that runs, and what it has told."""

    def __init__(self, world: World, door: Door) -> None:
        self.world, self.door = world, door

    @property
    def cluster(self) -> Cluster:
        cluster = self.door.manager.cluster
        assert cluster is not None
        return cluster

    @property
    def snapshot(self) -> Snapshot:
        return self.door.manager._writer.snapshot

    @property
    def state(self) -> StoreState:
        return self.cluster.standing.state

    def told(self, kind: str) -> list[Any]:
        """Return the events of a kind since it was started, with all their fields."""
        return [event for event in self.world.said if kind == event.KIND]


class Shared:
    """A store in memory, and the worlds of the balancers that share it."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, MemoryStore()
        self.worlds: dict[str, World] = {}

    def world(self, name: str) -> World:
        """Return the world of a balancer, the same each time."""
        if name not in self.worlds:
            self.worlds[name] = World(
                self.path / name, node=name, repository=lambda: MemoryRepository(self.store, name)
            )
        return self.worlds[name]

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[list[Node]]:
        """Run these balancers."""
        async with AsyncExitStack() as stack:
            yield [
                Node(self.world(name), await stack.enter_async_context(self.world(name).running())) for name in names
            ]

    def digest(self) -> str:
        """Return the digest that the store's head has."""
        head = self.store.kept.head
        return "" if head is None else str(head["digest"])

    async def agree(self, *nodes: Node) -> None:
        """Wait until all have what the store has, in their maps, too."""

        def all_agree() -> bool:
            head = self.store.kept.head
            return head is not None and all(
                node.state is StoreState.UP
                and str(node.snapshot.copy.digest) == head["digest"]
                and node.snapshot.generation == head["generation"]
                and not node.snapshot.copy.pending
                and node.door.status().observed_generation == head["generation"]
                for node in nodes
            )

        await until(all_agree)


def play(path: Path, scenario: Callable[[Shared], Awaitable[None]]) -> None:
    """Play a scenario with a store of its own."""
    asyncio.run(scenario(Shared(path)))  # type: ignore[arg-type]
