# SPDX-License-Identifier: Apache-2.0
"""Keeps DNS names as this node wants them, in a thread of its own: servers may be slow, far or away.

Each name is read, changed if it is not as it should be, and read again from time to time, since others change it, too.
What cannot be done is tried again, ever more rarely. Nothing here is waited for by the control loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xdplb.control.events import DnsLeftBehind, DriftKind, Events
from xdplb.control.plan.dns_change import Standing, Wanted, Will, Wish, change_of, standing_of, standing_words
from xdplb.control.writing.dns_told import tell_change, tell_standing
from xdplb.control.writing.drifts import Drifts
from xdplb.dns.book import Book
from xdplb.dns.key_file import read_key
from xdplb.dns.records import Change, Found, Place
from xdplb.model.address import IPAddress, address_order
from xdplb.model.errors import PlatformError

if TYPE_CHECKING:
    from xdplb.dns.client import Conversation

__all__ = ["AddressStanding", "DnsCounts", "DnsKeeper", "Forgotten"]

_log = logging.getLogger("xdplb")

_LOOK_SECONDS = 60.0
"""How often a name is read that is as it should be: somebody may have changed it."""
_LAST_LOOK_SECONDS = 5.0
"""The same while an address is left only because it is the last one."""
_PAUSE_SECONDS = 0.5
"""Between two changes of a name, whatever happens to its VIPs."""
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 30.0
_TRIES = 6
_LOST_SECONDS = 0.05
_AT_ONCE = 8
_STOP_SECONDS = 5.0
_CANCEL_SECONDS = 0.1
_STOPS = "the daemon stops"


@dataclass(frozen=True, slots=True)
class AddressStanding:
    """How an address stands in DNS, since when, and why so, as a sentence; `standing` is None if it was never read.

    `is_behind`: it could not be read or changed the last time, and `reason` says why.
    """

    standing: Standing | None
    since: datetime
    reason: str
    is_behind: bool


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A claim of a node that is gone, which is taken back, and whether the address went with it."""

    name: str
    address: str
    is_removed: bool


@dataclass(slots=True)
class DnsCounts:
    """How many updates were made, were lost to another one, and failed, since the start."""

    made: int = 0
    lost: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Name:
    """What is known of a name, in the thread."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    standings: dict[IPAddress, Standing] = field(default_factory=dict)
    wishes: dict[IPAddress, Wish] = field(default_factory=dict)
    """Also those that are gone, until that is done."""


class DnsKeeper:
    """Keeps the names at which this node has VIPs. Its thread starts with the first name.

    `on_thread` is called with what has the thread call a function, once there is one. `book` is the path of the file in
    which the names are kept, None to keep them in memory.
    """

    def __init__(
        self,
        node: str,
        book: Path | None,
        events: Events,
        drifts: Drifts,
        now: Callable[[], datetime],
        *,
        on_thread: Callable[[Callable[[Callable[[], None]], object]], None] = lambda _ask: None,
    ) -> None:
        self.node, self._events, self._drifts, self._now = node, events, drifts, now
        self._book = Book(book)
        self._on_thread = on_thread
        self._wanted: dict[Place, Wanted] = {}
        self._names: dict[Place, _Name] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self.counts = DnsCounts()
        self.standings: Mapping[tuple[Place, IPAddress], AddressStanding] = {}
        """How addresses of this node stand. Replaced as a whole."""
        self.found: Mapping[Place, Found] = {}
        """What names had when they were read last. Replaced as a whole."""

    def begin(self, wanted: Mapping[Place, Wanted]) -> None:
        """Keep these names, and clean up others at which this node may have claims of an earlier life."""
        for place, noted in self._book.noted.items():
            if place not in wanted:
                self.want(place, Wanted(noted.key_file, {}))
        for place, each in wanted.items():
            self.want(place, each)

    def leave(self, place: Place) -> None:
        """Want nothing of a name any more, at which something was wanted. To be called where `want` is."""
        self.want(place, Wanted(self._wanted[place].key_file, {}))

    def want(self, place: Place, wanted: Wanted) -> None:
        """Want this of a name from now on. To be called in one thread."""
        if self._wanted.get(place) == wanted:
            return
        self._wanted[place] = wanted
        if self._thread is None:
            self._start()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken, place)

    async def forget(self, node: str, *, dry_run: bool) -> list[Forgotten]:
        """Take back the claims of another node, which is gone, at all names of this one; return what that did.

        With `dry_run`, nothing is changed. Raises DnsError for the first name at which it cannot be done.
        """
        loop = self._loop
        if loop is None:
            return []
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._forget(node, dry_run=dry_run), loop))

    def stop(self, *, withdraw: bool) -> None:
        """End, and `withdraw` before that what this node serves, but no last address. Takes some seconds at most."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(withdraw=withdraw), loop)
        thread.join(_STOP_SECONDS + 1)
        self._loop = None

    # in the thread

    def _start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[started], name="xdplb-dns", daemon=True)
        self._thread.start()
        started.wait()
        assert self._loop is not None
        self._on_thread(self._loop.call_soon_threadsafe)

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            started.set()
            self._loop.run_forever()

    def _woken(self, place: Place) -> None:
        name = self._names.get(place)
        if name is None:
            self._names[place] = name = _Name()
            task = asyncio.get_running_loop().create_task(self._keep(place, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        name.wake.set()

    async def _end(self, *, withdraw: bool) -> None:
        while self._tasks:  # asyncio.wait_for, which dnspython uses, may swallow a cancellation
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)
        if withdraw and self._names:
            works = [self._withdraw(place, name) for place, name in self._names.items()]
            await asyncio.wait([asyncio.ensure_future(work) for work in works], timeout=_STOP_SECONDS)
        asyncio.get_running_loop().stop()

    async def _withdraw(self, place: Place, name: _Name) -> None:
        wanted = self._wanted[place]
        wishes = {address: Wish(Will.GO, wish.ttl, _STOPS, wish.vips) for address, wish in wanted.wishes.items()}
        try:
            await self._bring(place, name, Wanted(wanted.key_file, wishes))
        except (PlatformError, OSError) as error:
            _log.warning("what this node has at %s in DNS is not withdrawn: %s", place.name, error)

    async def _keep(self, place: Place, name: _Name) -> None:
        """Until the name is done with: bring it to what is wanted, and look at it again from time to time."""
        retry = 0.0
        while True:
            name.wake.clear()
            wanted = self._wanted[place]
            try:
                async with self._at_once:
                    await self._bring(place, name, wanted)
                wait, retry = self._look_seconds(name), 0.0
                if self._is_done(place, wanted):
                    return
            except (PlatformError, OSError) as error:
                if self._is_left_behind(place, wanted, error):
                    return
                self._failed(place, name, wanted, error)
                wait = retry = min(max(2 * retry, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.9, 1.1)):  # noqa: S311 - so that nodes do not meet
                    await name.wake.wait()

    @staticmethod
    def _look_seconds(name: _Name) -> float:
        return _LAST_LOOK_SECONDS if Standing.LAST in name.standings.values() else _LOOK_SECONDS

    async def _bring(self, place: Place, name: _Name, wanted: Wanted) -> None:
        """Change the name until it is what is wanted. Raises PlatformError or OSError."""
        wishes = wanted.wishes
        name.wishes.update(wishes)
        async with _talk(place, wanted.key_file) as conversation:
            found = await conversation.read()
            self.found = {**self.found, place: found}
            self._notice_drift(place, name, found, wishes)
            for each in range(_TRIES):
                if not (change := self._next_change(place, found, wishes)):
                    self._see(place, name, found, wishes)
                    return
                if change.claimed:
                    self._book.note(place, wanted.key_file, self.node)
                if await conversation.change(change):
                    self.counts.made += 1
                    tell_change(self._events.say, place, self.node, change, wishes, before=name.wishes)
                else:
                    self.counts.lost += 1
                    await asyncio.sleep(_LOST_SECONDS * (each + random.random()))  # noqa: S311
                found = await conversation.read()
                self.found = {**self.found, place: found}
        raise PlatformError(
            f"{place.name} was another each time it was to be changed", hint="who changes it all the time?"
        )

    def _next_change(self, place: Place, found: Found, wishes: Mapping[IPAddress, Wish]) -> Change:
        """Return the next change that is needed: of this node's claims, then of those it had by an earlier name."""
        if change := change_of(found, self.node, wishes):
            return change
        gone = {address: Wish(Will.GO, wish.ttl) for address, wish in wishes.items()}
        for other in sorted(self._book.nodes_at(place) - {self.node}):
            if change := change_of(found, other, gone):
                return change
            if not any(claim.node == other for claim in found.claims):
                self._book.strike(place, other)
        return change

    def _see(self, place: Place, name: _Name, found: Found, wishes: Mapping[IPAddress, Wish]) -> None:
        """Note how the name stands, which is as it should be."""
        for address in [address for address in name.wishes if address not in wishes]:
            del name.wishes[address]
            name.standings.pop(address, None)
        now = {address: standing_of(found, self.node, address, wish.will) for address, wish in wishes.items()}
        for address, standing in now.items():
            if standing is not name.standings.get(address):
                tell_standing(self._events.say, place, address, standing, wishes[address])
        name.standings = now
        if found.alias:
            why = f"{place.name} is an alias of {found.alias}, and so cannot have addresses: remove the CNAME"
            self._drifts.stands(DriftKind.DNS, place.name, why)
        else:
            self._drifts.well(DriftKind.DNS, place.name)
        words = {address: standing_words(standing, wishes[address]) for address, standing in now.items()}
        self._show(place, {each: self._standing(place, each, now[each], words[each]) for each in now})

    def _failed(self, place: Place, name: _Name, wanted: Wanted, error: PlatformError | OSError) -> None:
        self.counts.failed += 1
        self._drifts.stands(DriftKind.DNS, place.name, f"DNS is not as it should be: {error}")
        shown = {}
        for address in wanted.wishes:
            standing = name.standings.get(address)
            shown[address] = self._standing(place, address, standing, str(error), is_behind=True)
        self._show(place, shown)

    def _standing(
        self, place: Place, address: IPAddress, standing: Standing | None, reason: str, *, is_behind: bool = False
    ) -> AddressStanding:
        before = self.standings.get((place, address))
        since = before.since if before is not None and before.standing is standing else self._now()
        return AddressStanding(standing, since, reason, is_behind)

    def _show(self, place: Place, shown: Mapping[IPAddress, AddressStanding]) -> None:
        others = {key: value for key, value in self.standings.items() if key[0] != place}
        self.standings = others | {(place, address): each for address, each in shown.items()}

    def _notice_drift(self, place: Place, name: _Name, found: Found, wishes: Mapping[IPAddress, Wish]) -> None:
        """Tell it if somebody has taken away what this node had put there; it is put there again."""
        for address, standing in name.standings.items():
            wish = wishes.get(address)
            if standing is not Standing.IN or wish is None or wish.will is Will.GO:
                continue
            if standing_of(found, self.node, address, wish.will) is not Standing.IN:
                why = f"{address} or this node's claim on it was removed from {place.name} by somebody else"
                self._drifts.repaired(DriftKind.DNS, place.name, why)

    def _is_done(self, place: Place, wanted: Wanted) -> bool:
        """Forget a name at which nothing is wanted any more, and no claim is left; return whether it is one."""
        if wanted.wishes or self._wanted[place].wishes:
            return False
        self._book.strike(place, self.node)
        self._forget_name(place)
        for other, name in self._names.items():
            if other.name == place.name:  # the same one by another server, it may be
                name.wake.set()
        return True

    def _is_left_behind(self, place: Place, wanted: Wanted, error: PlatformError | OSError) -> bool:
        """Give a name up at which nothing is wanted if there is no key any more to change it; return whether it was."""
        if wanted.wishes or self._wanted[place].wishes or Path(wanted.key_file).exists():
            return False
        self._events.say(DnsLeftBehind(place.name, place.server_text, str(error)))
        for node in self._book.nodes_at(place):
            self._book.strike(place, node)
        self._forget_name(place)
        return True

    def _forget_name(self, place: Place) -> None:
        del self._names[place]
        self.found = {each: found for each, found in self.found.items() if each != place}
        self._show(place, {})
        self._drifts.well(DriftKind.DNS, place.name)

    async def _forget(self, node: str, *, dry_run: bool) -> list[Forgotten]:
        done: list[Forgotten] = []
        for place in list(self._names):
            wanted = self._wanted[place]
            async with _talk(place, wanted.key_file) as conversation:
                for _ in range(_TRIES):
                    found = await conversation.read()
                    claimed = {claim.address for claim in found.claims if claim.node == node}
                    change = change_of(found, node, {address: Wish(Will.GO, 0) for address in claimed})
                    if not change:
                        break
                    if dry_run or await conversation.change(change):
                        gone = sorted({claim.address for claim in change.released}, key=address_order)
                        done += [Forgotten(place.name, str(each), each in change.removed) for each in gone]
                    if dry_run:
                        break
                    tell_change(self._events.say, place, node, change, wanted.wishes)
            self._woken(place)
        return done


@asynccontextmanager
async def _talk(place: Place, key_file: str) -> AsyncIterator[Conversation]:
    """Talk to the server of a name while in the block."""
    from xdplb.dns.client import talk  # noqa: PLC0415 - dnspython takes 11 MB, which only those pay who use it

    async with talk(place, read_key(Path(key_file))) as conversation:
        yield conversation
