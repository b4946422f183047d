# SPDX-License-Identifier: Apache-2.0
"""Work that many may ask for at once, such as reading all counters, done once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Gathered"]

T = TypeVar("T")


class Gathered(Generic[T]):
    """Does `work` once for all who ask while it is being done: they share the next time, so that no result is too old.

    With `rests`, it waits between two times for as long as the last one took. Used in one event loop.
    """

    def __init__(self, work: Callable[[], Awaitable[T]], *, rests: bool = False) -> None:
        self._work, self._rests = work, rests
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None
        self._not_before = 0.0

    async def __call__(self) -> T:
        """Return the result of work that begins after this was called."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        await asyncio.sleep(self._not_before - time.monotonic())
        self._running, self._next = self._next, None
        began = time.monotonic()
        try:
            return await self._work()
        finally:
            ended = time.monotonic()
            self._not_before = 2 * ended - began if self._rests else 0.0
            self._running = None
