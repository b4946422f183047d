"""Saving: the only way to the store, which also says when the state cannot be written, and when it can again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from xdplb.control.events import Events, StateNotWritable, StateRestored, StateWritable
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store import Store
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import StateError, XdplbError

__all__ = ["Saver"]

_LOOK_SECONDS = 2.0


class Saver:
    """Reads and writes the store in a thread of its own. Its methods raise what those of the store raise."""

    def __init__(self, store: Store, events: Events) -> None:
        self._store, self._events = store, events
        self._disk, self._to_the_end = Worker("xdplb-state"), Unbroken()
        self.error = ""
        """Why the state cannot be written; empty if it can."""

    @property
    def instance(self) -> int:
        """The id of the state, once it is open."""
        return self._store.instance

    async def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open the store and return the state, and the last known health by backend id."""
        return await self._disk(self._store.open)

    async def save(self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]) -> None:
        """Write a change and the healths that it sets: durable when this returns, or not written at all."""
        await self._write(lambda: self._store.save(before, after, health))

    async def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths."""
        await self._write(lambda: self._store.save_health(health))

    async def run(self) -> None:
        """Forever: find out whether the state can be written, soon after it cannot, and soon after it can again."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(XdplbError):
                in_doubt = await self._disk(self._store.is_in_doubt)
                if in_doubt or self.error:
                    await self._to_the_end(self._write(self._store.touch))

    async def close(self) -> None:
        """Release the store, with everything in its place."""
        await self._to_the_end.all_done()
        with contextlib.suppress(XdplbError):
            await self._write(lambda: None)
        await self._disk(self._store.close)
        await self._disk.stop()

    async def _write(self, work: Callable[[], None]) -> None:
        def restore_and_work() -> str:
            restored = self._store.restore()
            work()
            return restored

        try:
            if restored := await self._disk(restore_and_work):
                self._events.say(StateRestored(f"the state {restored}"))
        except StateError as error:
            if self.error != str(error):
                self.error = str(error)
                self._events.say(StateNotWritable(self.error))
            raise
        if self.error:
            self.error = ""
            self._events.say(StateWritable())
