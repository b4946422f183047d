# SPDX-License-Identifier: Apache-2.0
"""Running blocking work in threads, for which the end waits or not, and work that is not cancelled with its caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

__all__ = ["Unbroken", "Worker", "unawaited"]

T = TypeVar("T")


class Worker:
    """One thread that runs jobs one after the other, for callers in the event loop."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def ask(self, answer: Callable[[], None]) -> None:
        """Have the thread call `answer` when it has done what was given to it; RuntimeError once it was stopped."""
        self._pool.submit(answer)

    async def stop(self) -> None:
        """Return when all jobs are done; new ones are refused."""
        await asyncio.to_thread(self._pool.shutdown)


async def unawaited(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own and return its result. The process ends without it: it may take for ever."""
    loop, done = asyncio.get_running_loop(), asyncio.Future[T]()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # it is raised where the result is waited for
            then = partial(done.set_exception, error)
        else:
            then = partial(done.set_result, result)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if done.done() else then())

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


class Unbroken:
    """Work that runs to its end even if its caller is cancelled."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in its own task and return its result."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def all_done(self) -> None:
        """Return when no work is running any more."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: if the caller is gone, asyncio would log it at exit
