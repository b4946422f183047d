"""The kinds of stores that balancers share, each for the same tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from xdplb.cluster.memory import MemoryRepository, MemoryStore
from xdplb.cluster.repository import Away, Back, Delta, Nodes, Repository, Seen, Whole

__all__ = ["KINDS", "Kit", "Watcher", "watching"]


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


class MemoryKit:
    """A store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def open(self, node: str) -> Repository:
        return MemoryRepository(self.store, node)

    async def empty(self) -> None:
        self.store.empty()

    async def write_by_hand(self, path: str) -> None:
        self.store.spoil(path, "it is no JSON object")


@asynccontextmanager
async def _memory() -> AsyncIterator[Kit]:
    yield MemoryKit()


KINDS = {"memory": _memory}


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
        await stream.aclose()  # type: ignore[attr-defined]
