# SPDX-License-Identifier: Apache-2.0
"""The kinds of stores that balancers share, each for the same tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from tests.real_etcd import Etcd
from xdplb.cluster.memory import MemoryRepository, MemoryStore
from xdplb.cluster.repository import Away, Back, Delta, Nodes, Repository, Seen, Whole
from xdplb.cluster.thread import RepositoryThread
from xdplb.etcd.repository import EtcdRepository
from xdplb.model.store_address import StoreAccess

__all__ = ["EtcdKit", "Kit", "MemoryKit", "ThreadKit", "Watcher", "watching"]


class Kit(Protocol):
    """A store that is empty at first, and what may be done to it."""

    def open(self, node: str) -> Repository:
        """Return a node's way to it; it is closed with the kit."""
        ...

    async def empty(self) -> None:
        """Remove everything from it."""
        ...

    async def write_by_hand(self, path: str) -> None:
        """Write an entry that is no JSON object."""
        ...

    async def close(self) -> None:
        """Close what was opened."""
        ...


class MemoryKit:
    """A store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def open(self, node: str) -> Repository:
        return MemoryRepository(self.store, node)

    async def close(self) -> None:
        pass

    async def empty(self) -> None:
        self.store.empty()

    async def write_by_hand(self, path: str) -> None:
        self.store.spoil(path, "it is no JSON object")


class EtcdKit:
    """A store in a real etcd, under a prefix of its own."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.address = etcd.address(f"/test/{uuid.uuid4().hex}")
        self._opened: list[Repository] = []

    def open(self, node: str) -> Repository:
        repository = EtcdRepository(self.address, StoreAccess(), node)
        self._opened.append(repository)
        return repository

    async def empty(self) -> None:
        await asyncio.to_thread(self._etcd.etcdctl, "del", "--prefix", self.address.prefix)

    async def write_by_hand(self, path: str) -> None:
        await asyncio.to_thread(self._etcd.etcdctl, "put", f"{self.address.prefix}/v1/{path}", "[1]")

    async def close(self) -> None:
        for repository in self._opened:
            await repository.close()


class ThreadKit(EtcdKit):
    """The same, each node in a thread of its own."""

    def open(self, node: str) -> Repository:
        thread = RepositoryThread(lambda: EtcdRepository(self.address, StoreAccess(), node))
        self._opened.append(thread)
        return thread


class Watcher:
    """Takes what a watch yields, and waits for what a test expects."""

    def __init__(self, stream: AsyncIterator[Seen]) -> None:
        self._stream = stream
        self.nodes: Nodes | None = None
        self.seen: list[Seen] = []

    async def next(self) -> Whole | Delta | Away | Back:
        """Return the next that is not about nodes."""
        async with asyncio.timeout(10):
            while True:
                seen = await anext(self._stream)
                self.seen.append(seen)
                if not isinstance(seen, Nodes):
                    return seen
                self.nodes = seen

    async def until_nodes(self, wanted: Callable[[Nodes], bool]) -> Nodes:
        """Return the nodes once they are as wanted."""
        async with asyncio.timeout(10):
            while self.nodes is None or not wanted(self.nodes):
                seen = await anext(self._stream)
                self.seen.append(seen)
                if isinstance(seen, Nodes):
                    self.nodes = seen
        return self.nodes


@asynccontextmanager
async def watching(repository: Repository) -> AsyncIterator[Watcher]:
    """Yield a watcher of what a node sees."""
    stream = repository.watch()
    try:
        yield Watcher(stream)
    finally:
        await stream.aclose()
