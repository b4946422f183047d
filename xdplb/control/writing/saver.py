# SPDX-License-Identifier: Apache-2.0
"""Saving: the only way to the store, which also says when the state cannot be written, and when it can again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping

from xdplb.control.clock import ClockMark, SteadyClock
from xdplb.control.events import Events, StateNotWritable, StateRestored, StateWritable
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.node_drain import NodeDrain
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store import Store
from xdplb.control.state.told import Told
from xdplb.control.writing.pulses import Pulses
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import StateError, XdplbError

__all__ = ["Saver"]

_LOOK_SECONDS = 2.0
_TURNS_TO_A_WRITE = 30


class Saver:
    """Reads and writes the store in a thread of its own. Its methods raise what those of the store raise."""

    def __init__(self, store: Store, events: Events, clock: SteadyClock) -> None:
        self._store, self._events, self._clock = store, events, clock
        self._disk, self._to_the_end = Worker("xdplb-state"), Unbroken()
        self.error = ""
        """Why the state cannot be written; empty if it can."""
        self._mark: ClockMark | None = None

    @property
    def instance(self) -> int:
        """The id of the state, once it is open."""
        return self._store.instance

    async def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open the store and return the state, and the last known health by backend id; its clock goes on."""
        return await self._disk(self._open)

    def _open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        opened = self._store.open()
        moved = self._clock.resume(self._store.clock_mark())
        self._mark = self._clock.mark()
        if not self._store.set_clock_mark(self._mark, moved):
            return opened
        self._store.close()
        return self._store.open()

    async def save(
        self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth], told: Told | None
    ) -> None:
        """Write a change, the healths that it sets, and its event: durable after it, or nothing of it is written."""
        await self._write(lambda: self._store.save(before, after, health, told))

    async def past(self) -> dict[int, str]:
        """Return the digests of the last states in the store that this is a copy of, by generation."""
        return await self._disk(self._store.past)

    async def copy(self) -> bytes:
        """Return a backup of all that is stored, as it is between two changes."""
        return await self._disk(self._store.copy)

    async def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths."""
        await self._write(lambda: self._store.save_health(health))

    async def certificates(self) -> dict[int, Certificate]:
        """Return the certificates of drains that were kept, by backend id."""
        return await self._disk(self._store.certificates)

    async def save_certificates(self, certificates: Mapping[tuple[int, int], Certificate]) -> None:
        """Write these certificates, by backend id and epoch."""
        await self._write(lambda: self._store.save_certificates(certificates))

    async def node_drain(self) -> NodeDrain | None:
        """Return the drain of this node, None if it is not drained."""
        return await self._disk(self._store.node_drain)

    async def save_node_drain(self, drain: NodeDrain | None) -> None:
        """Write that this node drains, or that it does not."""
        await self._write(lambda: self._store.save_node_drain(drain))

    def watch_thread(self, pulses: Pulses) -> None:
        """Have the thread that writes the state watched. A restart does not make a disk write that hangs."""
        meaning = "changes wait, since the disk of the state dir does not answer"
        pulses.watch("state thread", self._disk.ask, meaning, vital=False)

    async def run(self) -> None:
        """Forever: find out whether the state can be written, soon after it cannot, and soon after it can again.

        A look at the file system tells most of it within seconds. A quota or a failing disk shows only in a write.
        """
        for turn in itertools.count(1):
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(XdplbError):
                in_doubt = turn % _TURNS_TO_A_WRITE == 0 or await self._disk(self._store.is_in_doubt)
                if in_doubt or self.error:
                    await self._to_the_end(self._write(self._store.touch))
                if self._mark is not None and self._clock.has_stepped(self._mark):
                    await self._to_the_end(self._keep_mark())

    async def _keep_mark(self) -> None:
        mark = self._clock.mark()
        await self._write(lambda: self._set_mark(mark))
        self._mark = mark

    def _set_mark(self, mark: ClockMark) -> None:
        self._store.set_clock_mark(mark, 0)

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
