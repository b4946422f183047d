"""Where blocking work runs, one thread each for the file, the maps and the flows, and work that is not broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["Unbroken", "Worker"]

T = TypeVar("T")


class Worker:
    """One thread that does one thing after the other, for callers in the event loop."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def stop(self) -> None:
        """Return when all work is done; nothing is taken on any more."""
        await asyncio.to_thread(self._pool.shutdown)


class Unbroken:
    """Work that goes on to its end when whoever asked for it is cancelled."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in a task of its own and return what it returns."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def all_done(self) -> None:
        """Return when nothing runs any more."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: the caller may be gone
