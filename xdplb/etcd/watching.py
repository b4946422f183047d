# SPDX-License-Identifier: Apache-2.0
"""Seeing what changes in the store, for ever: by a watch, and by a look at the head each second.

The look tells what a watch cannot. A watch from before a store was restored stays silent for ever; so does one to a
member that is cut off, or behind a proxy that holds answers back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from xdplb.cluster.repository import Away, Back, Delta, Nodes, Seen, Version, Whole
from xdplb.model.errors import StoreAwayError, StoreRefusedError

from .backoff import Backoff
from .contents import Contents, Emptied, StagedHead, version_of
from .faults import GatewayError, Meaning
from .gateway import Fields, Gateway
from .keys import Keys, is_forgotten
from .layout import Layout
from .wire import end_of, events_of, number, range_of
from .writing import parts_under

__all__ = ["Watching"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_LATE_SECONDS = 0.5
"""How long a watch may take to tell of a head that is there already."""
_WITHOUT_WATCH_SECONDS = 10.0
_MANY_UNOPENED = 5
_LEADER = {"Grpc-Metadata-hasleader": "true"}
"""Has etcd end a watch at a member that is cut off from the others."""

_EMPTIED = "the store was emptied"
_RESTORED = "the store was restored from a backup, or made anew"
_COMPACTED = "the store has forgotten what has changed meanwhile"
_UNTOLD = "the store did not tell of a change"


Read = Callable[[str], Awaitable[tuple[Contents, Whole]]]


class _LostTrack(Exception):  # noqa: N818 (it is no error)
    """What was seen does not lead to what is there: everything must be read again."""


class Watching:
    """Follows the store. `read` reads all that it holds, with why; `on_back` is called when it was away, or is another.

    `seen` yields what `run` sees.
    """

    def __init__(self, gateway: Gateway, layout: Layout, *, read: Read, on_back: Callable[[], None]) -> None:
        self._gateway, self._layout, self._keys = gateway, layout, Keys(gateway)
        self._read, self._on_back = read, on_back
        self._seen: asyncio.Queue[Seen] = asyncio.Queue()
        self._backoff = Backoff()
        self._away = ""
        self._unopened = 0
        """How often in a row a watch could not be begun."""
        self._untold = False
        """Whether the watch before this one has not told of a head."""

    async def seen(self, running: asyncio.Task[None]) -> AsyncIterator[Seen]:
        """Yield what is seen while `run` is running; raise what it raises."""
        while True:
            waiting = asyncio.ensure_future(self._seen.get())
            try:
                await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    await running
                    return
                yield waiting.result()
            finally:
                waiting.cancel()

    async def run(self) -> None:
        """Follow it for ever."""
        contents: Contents | None = None
        why = ""
        while True:
            try:
                if contents is None:
                    contents = await self._start(why)
                await self._follow(contents)
            except _LostTrack as lost:
                contents, why = None, str(lost)
            except (StoreAwayError, StoreRefusedError) as error:
                if isinstance(error, StoreRefusedError):
                    contents, why = None, "the store could not be read meanwhile"
                self._say_away(str(error))
                await self._backoff.wait()
            except (LookupError, TypeError, ValueError) as error:  # it is like etcd, but not quite
                _log.exception("an answer of the store is not understood")
                contents, why = None, "the store could not be read meanwhile"
                self._say_away(f"an answer of the store is not understood: {error!r}")
                await self._backoff.wait()

    async def _start(self, why: str) -> Contents:
        contents, whole = await self._read(why)
        self._away, self._untold = "", False
        self._seen.put_nowait(whole)
        self._seen.put_nowait(contents.nodes())
        if why:
            self._on_back()
        return contents

    async def _follow(self, contents: Contents) -> None:
        """Take what the watch tells until it ends, or until a look at the head shows that it does not tell all."""
        await self._require_on_track(contents)
        if (await self._head())[0] == contents.version:
            self._say_back()
        tasks = [asyncio.create_task(work) for work in (self._watch(contents), self._look(contents))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _require_on_track(self, contents: Contents) -> None:
        """Raise if the store has another past than what was seen, or none: its revisions mean something else then."""
        try:
            found, at = await self._keys.one(self._layout.head, contents.revision)
        except GatewayError as error:
            raise _LostTrack(_COMPACTED if error.meaning is Meaning.COMPACTED else _RESTORED) from None
        if version_of(found) != contents.version or at < contents.revision:
            raise _LostTrack(_RESTORED)

    async def _watch(self, contents: Contents) -> None:
        start = {"start_revision": str(contents.revision + 1)}
        wanted = range_of(self._layout.root, end_of(self._layout.root), **start)
        try:
            async with self._gateway.stream("/v3/watch", {"create_request": wanted}, _LEADER) as results:
                async for result in results:
                    await self._take(contents, result)
        except StoreAwayError as error:
            self._unopened += 1
            if self._unopened == _MANY_UNOPENED:
                _log.warning("the store tells of changes only when it is asked, which is done each second: %s", error)
            if self._unopened >= _MANY_UNOPENED:
                await asyncio.sleep(_WITHOUT_WATCH_SECONDS)
            await self._backoff.wait()
        except GatewayError as error:
            raise _LostTrack(_COMPACTED if is_forgotten(error) else str(error)) from None

    async def _take(self, contents: Contents, result: Fields) -> None:
        if result.get("created"):
            self._unopened = 0
            if number(result["header"], "revision") < contents.revision:
                raise _LostTrack(_RESTORED)
        for step in contents.feed(events_of(result)):
            if isinstance(step, Emptied):
                raise _LostTrack(_EMPTIED)
            if isinstance(step, Nodes):
                self._seen.put_nowait(step)
                continue
            self._seen.put_nowait(step if isinstance(step, Delta) else await self._delta_of(contents, step))
            self._away, self._untold = "", False

    async def _delta_of(self, contents: Contents, head: StagedHead) -> Delta:
        return contents.delta(await parts_under(self._keys, self._layout, head.change, head.version.revision))

    async def _look(self, contents: Contents) -> None:
        """Look at the head from time to time, until the watch has not told of one; raise if it cannot be seen."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, revision = contents.version, contents.revision
            version, at = await self._head()
            if at < revision:
                raise _LostTrack(_RESTORED)
            if version == contents.version:
                self._say_back()
                continue
            await asyncio.sleep(_LATE_SECONDS)
            if contents.version == before != (await self._head())[0] and contents.version == before:
                if self._untold:
                    raise _LostTrack(_UNTOLD)
                self._untold = True  # another watch may tell
                return

    async def _head(self) -> tuple[Version, int]:
        """Return the version that is there now, and the store's revision."""
        found, at = await self._keys.one(self._layout.head)
        return version_of(found), at

    def _say_away(self, reason: str) -> None:
        if reason != self._away:
            self._away = reason
            self._seen.put_nowait(Away(reason))

    def _say_back(self) -> None:
        self._backoff.reset()
        if self._away:
            self._away = ""
            self._seen.put_nowait(Back())
            self._on_back()
