# SPDX-License-Identifier: Apache-2.0
"""A repository that works in a thread and an event loop of its own, so that a slow store never slows the caller's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from .repository import Change, Json, Repository, Seen, Version, Whole

__all__ = ["RepositoryThread"]

T = TypeVar("T")

_CLOSE_SECONDS = 3.0


class RepositoryThread(Repository):
    """Hands everything on to the repository that `make` returns in the thread. It may be used in any event loop."""

    def __init__(self, make: Callable[[], Repository]) -> None:
        self._ended = asyncio.Event()
        started: Future[tuple[asyncio.AbstractEventLoop, Repository]] = Future()
        run = functools.partial(asyncio.run, self._run(make, started))
        self._thread = threading.Thread(target=run, name="xdplb-store", daemon=True)
        self._thread.start()
        self._loop, self._repository = started.result()

    def ask(self, answer: Callable[[], None]) -> None:
        """Have the thread call `answer` soon; RuntimeError once it has ended."""
        self._loop.call_soon_threadsafe(answer)

    async def read(self) -> Whole:
        """Return all that the store holds, as it is at one moment."""
        return await self._do(self._repository.read())

    async def commit(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is still `expected`; return the version that it makes."""
        return await self._do(self._repository.commit(expected, change))

    async def watch(self) -> AsyncGenerator[Seen]:
        """Yield first a Whole and the Nodes, then each change as it comes."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Seen]()
        watching = asyncio.wrap_future(self._begin(self._watch(loop, queue)))
        try:
            while True:
                waiting = asyncio.ensure_future(queue.get())
                either: set[asyncio.Future[Any]] = {waiting, watching}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    await watching
                    return
                yield waiting.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def publish(self, name: str, value: Json | None) -> None:
        """Have this node's entry `name` be `value` from now on."""
        self._loop.call_soon_threadsafe(self._repository.publish, name, value)

    async def nodes(self) -> Mapping[str, Mapping[str, Json]]:
        """Return what all nodes publish."""
        return await self._do(self._repository.nodes())

    async def close(self) -> None:
        """Withdraw what this node publishes, if that can be done in a moment, and end the thread."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._do(self._repository.close())
        self._loop.call_soon_threadsafe(self._ended.set)
        await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    async def _run(
        self, make: Callable[[], Repository], started: Future[tuple[asyncio.AbstractEventLoop, Repository]]
    ) -> None:
        try:
            started.set_result((asyncio.get_running_loop(), make()))
        except Exception as error:
            started.set_exception(error)
        else:
            await self._ended.wait()

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._begin(work))

    async def _watch(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Seen]) -> None:
        async with contextlib.aclosing(self._repository.watch()) as stream:
            async for seen in stream:
                loop.call_soon_threadsafe(queue.put_nowait, seen)
