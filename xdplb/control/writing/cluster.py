# SPDX-License-Identifier: Apache-2.0
"""The store that balancers share: changes are written to it first, and what others write to it is made here.

Who changes something writes it by compare-and-swap on the head, so that all have the same history. What is on this
host's disk is a copy, with which it starts and goes on while the store is away. Changes wait for the store in a queue;
what checks find, and all that brings the maps to the state, does not.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime

from xdplb.cluster.repository import ABSENT, Away, Back, Change, Delta, Json, Nodes, Repository, Seen, Version, Whole
from xdplb.control.edits.belonging import foreign, has_state, head_of, headless, why_newer
from xdplb.control.edits.edit import PutConfig
from xdplb.control.edits.joined import Joined, News, joined, news_of_all
from xdplb.control.edits.overlay import release_config
from xdplb.control.edits.pending import Rebased, based, may_wait, rebased, stamped, with_pending
from xdplb.control.events import (
    ChangeMade,
    DriftKind,
    Events,
    PendingDropped,
    PendingWritten,
    StoreAway,
    StoreBack,
    StoreDiverged,
    StoreJoined,
    StoreWritten,
)
from xdplb.control.state.differing import differing
from xdplb.control.state.lineage import Verdict, judged
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import Digest, Place, StoreCopy
from xdplb.control.state.touched import touched
from xdplb.control.state.written import HEAD, SCHEMA, all_entries, all_written, restamp, written
from xdplb.control.writing.commands_allowed import refuse_commands
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.head_change import change_in_head, event_of_head
from xdplb.control.writing.request import Outcome, Request
from xdplb.control.writing.store_standing import Standing, StoreState
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import (
    CapacityError,
    ConflictError,
    HeadMovedError,
    PendingError,
    PlatformError,
    StoreAwayError,
    StoreDoubtError,
    StoreRefusedError,
    XdplbError,
)
from xdplb.model.host import Host
from xdplb.model.vip import VipKey

__all__ = ["Cluster"]

_log = logging.getLogger(__name__)

_START_SECONDS = 3.0
"""For so long a start waits for the store; then it goes on with the copy."""
_NEWS_SECONDS = 0.5
_MEND_SECONDS = 1.0
_MOST_TRIES = 20
_STORE = "the store"
_MEANWHILE = "meanwhile drain, undrain, weight and maint work on this balancer, and are written later; see xdplb status"


class Cluster:
    """Keeps the writer's state and the store's the same. It is the writer's `shared`."""

    def __init__(
        self,
        repository: Repository,
        writer: Writer,
        events: Events,
        drifts: Drifts,
        *,
        node: str,
        place: str,
        capacity: Capacity,
        host: Callable[[], Host],
        runs_commands: bool,
    ) -> None:
        self._repository, self._writer, self._events, self._drifts = repository, writer, events, drifts
        self.place = place
        """Where the store is, as `xdplb up` was told."""
        self._node, self._capacity, self._host, self._runs_commands = node, capacity, host, runs_commands
        self.on_nodes: Callable[[Nodes], None] = lambda _: None
        """Called with what all nodes publish, whenever it changes."""
        self.standing = Standing(StoreState.JOINING, "it was not asked yet", writer.now())
        """How this balancer stands to the store, in any thread: replaced as a whole."""
        self._version: Version = ABSENT
        self._settled = False
        self._told_away: datetime | None = None
        self._news = asyncio.Event()
        self._refused_told: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Take the state that is in the store, or write what is here, if the store answers soon.

        ConflictError if what is here does not belong to the store.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._settle_in_turn()
        except TimeoutError:
            self._is_away(f"it did not answer within {_START_SECONDS:.0f} s")
        if self.standing.state is StoreState.APART and not self._writer.snapshot.copy.lineage:
            raise ConflictError(self.standing.reason)

    async def run(self) -> None:
        """Forever: make here what others write to the store."""
        mending = asyncio.create_task(self._mend())
        try:
            while True:
                try:
                    async for seen in self._repository.watch():
                        await self._see(seen)
                except XdplbError as error:
                    self._is_away(error.detail)
                except Exception as error:
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise asyncio.CancelledError from error
                    _log.exception("what the store says cannot be followed")
                    self._is_away(repr(error))
                self._settled = False
                await asyncio.sleep(_MEND_SECONDS)
        finally:
            mending.cancel()

    async def write(self, request: Request, outcome: Outcome) -> Snapshot:
        """Write a change to the store, and return the state after it, as others get it.

        While the store is away, what may wait is only made here. HeadMovedError if another balancer was first.
        """
        if not self._settled:
            return self._here_alone(request, outcome, self._why_not())
        try:
            return await self._write(request, outcome)
        except HeadMovedError:
            self._count(conflicts=1)
            raise
        except StoreDoubtError:
            self._settled = False  # what the store has is looked at before anything else is written
            raise
        except StoreAwayError as error:
            self._is_away(error.detail)
            return self._here_alone(request, outcome, self._why_not())

    async def newer(self) -> None:
        """Wait a while for what another balancer has written; if nothing comes, it is read."""
        try:
            async with asyncio.timeout(_NEWS_SECONDS):
                await self._news.wait()
        except TimeoutError:
            await self._settle_in_turn()

    def lost_track(self) -> None:
        """Note that what was written to the store could not be made here: it is read again soon."""
        self._settled = False

    async def _write(self, request: Request, outcome: Outcome) -> Snapshot:
        before, after = outcome.before, outcome.after
        if isinstance(request.edit, PutConfig) and (refused := before.copy.refused()):
            path, why = next(iter(refused.items()))
            raise ConflictError(
                f"this would replace the whole configuration, and this balancer does not take all of it: {path}: {why}",
                hint="apply it on a balancer that takes all, see xdplb node ls",
            )
        copy = before.copy
        lineage = copy.lineage or uuid.uuid4().hex
        made = written(before.desired, after.desired, after.generation, copy)
        head = made.head(copy, lineage, after.generation, change_in_head(self._node, request))
        self._news.clear()
        version = await self._repository.commit(self._version, Change(head, made.puts, sorted(made.deletes)))
        self._version = version
        self._count(writes=1)
        return after.copied(StoreCopy(lineage, after.generation, made.digest, head, made.odd))

    def _here_alone(self, request: Request, outcome: Outcome, error: XdplbError) -> Snapshot:
        if self.standing.state is not StoreState.APART and may_wait(request.edit):
            return with_pending(outcome.before, outcome.after)
        raise error

    def _why_not(self) -> XdplbError:
        """Return the error for a change that cannot be made now."""
        standing = self.standing
        if standing.state is StoreState.APART:
            return StoreRefusedError(f"changes are refused here: {standing.reason}", hint="see xdplb status")
        if standing.state is StoreState.JOINING:
            why = (
                f"the change was not made, since this balancer does not have the state of the store: {standing.reason}"
            )
            return StoreAwayError(why, hint=_MEANWHILE)
        return StoreAwayError(f"the change was not made, since the store is away: {standing.reason}", hint=_MEANWHILE)

    async def _see(self, seen: Seen) -> None:
        match seen:
            case Nodes():
                self.on_nodes(seen)
            case Away():
                self._is_away(seen.reason)
            case Whole() if self._settled and seen.version == self._version:
                pass
            case Back() | Whole():
                await self._settle_in_turn()
            case Delta():
                await self._take_in_turn(seen)

    async def _mend(self) -> None:
        """Forever: read the store again after something failed."""
        while True:
            await asyncio.sleep(_MEND_SECONDS)
            if not self._settled:
                await self._settle_in_turn()

    async def _take_in_turn(self, delta: Delta) -> None:
        if not self._settled:
            await self._settle_in_turn()
            return
        async with self._writer.turn():
            await self._attempt(self._take_delta(delta))

    async def _settle_in_turn(self) -> None:
        """Read the store, and make what is there and what is here the same."""
        try:
            whole = await self._repository.read()  # while changes go on: it may be away, and take seconds to say so
        except Exception as error:
            self._is_away(error.detail if isinstance(error, XdplbError) else repr(error))
            return
        async with self._writer.turn():
            if self._settled and whole.version == self._version:
                return
            await self._attempt(self._settle(whole if whole.version == self._version else None))

    async def _attempt(self, work: Awaitable[None]) -> None:
        """Do something about the store's state; if it fails, it is tried again."""
        try:
            await work
        except PendingError:
            pass  # it is saved: bringing the maps to it is retried, and told
        except StoreAwayError as error:
            self._settled = False
            self._is_away(error.detail)
            return
        except XdplbError as error:
            self._settled = False
            self._stands(StoreState.JOINING, error.detail)
            return
        except Exception as error:  # what is in the store may be anything, and must not end what follows it
            self._settled = False
            if self.standing.reason != repr(error):
                _log.exception("what is in the store cannot be taken")
            self._stands(StoreState.JOINING, repr(error))
            return
        self._settled = self.standing.state is not StoreState.APART
        if self._settled:
            self._is_up()
        self._news.set()

    async def _take_delta(self, delta: Delta) -> None:
        """Take a change that another balancer has written; one that is known already is passed over."""
        copy, version = self._writer.snapshot.copy, delta.version
        if version == self._version or version.revision <= self._version.revision:
            return
        head = head_of(Whole(version, delta.head, {}))
        assert head is not None
        is_next = head["instance"] == (copy.lineage or head["instance"]) and head["generation"] >= copy.generation
        if head["schema"] > SCHEMA or not is_next or not (copy.lineage or self._is_empty()):
            await self._settle()
            return
        await self._take_news(News(head, delta.puts, delta.deletes, delta.unreadable))
        self._version = version

    def _is_empty(self) -> bool:
        return not self._writer.snapshot.vips

    async def _settle(self, whole: Whole | None = None) -> None:
        """Make what is in the store, as it was read in this turn, and what is here the same."""
        for _ in range(_MOST_TRIES):
            found = whole or await self._repository.read()
            whole = None
            try:
                if await self._settled_with(found):
                    return
            except HeadMovedError:
                self._count(conflicts=1)
        raise StoreAwayError("other balancers change the store without end")

    async def _settled_with(self, whole: Whole) -> bool:
        """Go on with what the store has; return whether all is settled, else it must be read again."""
        snapshot, head = self._writer.snapshot, head_of(whole)
        past = await self._writer.saver.past()
        verdict = judged(snapshot.copy, past, head, is_empty=not snapshot.vips)
        if head is None:
            return await self._settled_without_head(whole, verdict)
        if verdict is Verdict.NEWER:
            self._stands(StoreState.APART, why_newer(head))
            return True
        if verdict is Verdict.FOREIGN and not has_state(snapshot.desired, head):
            self._stands(StoreState.APART, str(foreign(snapshot, head)))
            return True
        if verdict is Verdict.WRITE:
            why = f"it was at generation {head['generation']}, and this balancer at {snapshot.copy.generation}"
            await self._write_all(whole, why)
            return False
        self._leaves_apart()
        await self._take_whole(whole, head, verdict)
        return True

    async def _settled_without_head(self, whole: Whole, verdict: Verdict) -> bool:
        if verdict is not Verdict.LEAVE:
            await self._write_all(whole, "it was empty")
            return False
        if strays := sorted(whole.entries.keys() | whole.unreadable.keys()):
            self._stands(StoreState.APART, headless(strays))
            return True
        self._version = whole.version
        self._leaves_apart()
        return True

    async def _write_all(self, whole: Whole, why: str) -> None:
        """Write the state here into the store, in the place of what is there."""
        desired, generations, copy = based(self._writer.snapshot)
        desired = release_config(desired)
        entries = all_entries(desired, generations.vips, copy)
        puts = {path: entry for path, entry in entries.items() if whole.entries.get(path) != entry}
        deletes = sorted((whole.entries.keys() | whole.unreadable.keys()) - entries.keys())
        if copy.lineage:
            head = copy.head
        else:
            head = all_written(desired).head(
                copy, uuid.uuid4().hex, max(generations.current, 1), change_in_head(self._node, None)
            )
        version = await self._repository.commit(whole.version, Change(head, puts, deletes))
        self._version = version
        self._count(writes=1)
        self._events.say(StoreWritten(why, head["instance"], head["generation"], len(desired.vips)))
        if not copy.lineage:
            snapshot = self._writer.snapshot
            digest, pending = Digest.parse(head["digest"]), snapshot.copy.pending
            kept = StoreCopy(head["instance"], head["generation"], digest, head, {}, pending)
            desired = release_config(snapshot.desired)
            numbers = replace(snapshot.generations, current=max(snapshot.generation, 1))
            await self._make(snapshot.given(desired, numbers, kept, self._capacity), None)

    async def _take_whole(self, whole: Whole, head: Json, verdict: Verdict) -> None:
        """Take the state in the store, with what is pending here; write what of that still holds."""
        snapshot = self._writer.snapshot
        desired, generations, copy = based(snapshot)
        if not copy.lineage:
            desired = release_config(desired)
            mine = all_written(desired)
            copy = replace(copy, digest=mine.digest.changed(HEAD, mine.settings, None))
        news = news_of_all(desired, generations, copy, head, whole.entries)
        news = replace(news, unreadable=whole.unreadable)

        def join(refused: Mapping[VipKey, str]) -> Joined:
            return joined(desired, generations, copy, news, now=self._writer.now(), host=self._host(), refused=refused)

        made, fitted = await self._fitting(join)
        after, version = await self._with_pending(snapshot, made, fitted, whole.version)
        if after is not snapshot:
            await self._make(after, event_of_head(head, is_one=False) if after.desired != snapshot.desired else None)
        self._version = version
        self._tell_entries(after.copy)
        if verdict is Verdict.DIVERGED:
            difference = differing(snapshot.desired.vips, after.desired.vips)
            changed = tuple(map(str, sorted(difference.all)))
            why = "it has another lineage" if head["instance"] != snapshot.copy.lineage else "it went another way"
            self._events.say(StoreDiverged(why, snapshot.generation, after.generation, changed))
        elif not snapshot.copy.lineage:
            self._events.say(StoreJoined(after.copy.lineage, after.generation, len(after.vips)))

    async def _with_pending(
        self, snapshot: Snapshot, made: Joined, fitted: Snapshot, version: Version
    ) -> tuple[Snapshot, Version]:
        """Return the state with what is pending in it, which is written to the store first, and the store's version.

        No generation that this balancer has shown is given to anything else: the store's is raised above it.
        """
        pending = snapshot.copy.pending
        if not pending and made.copy.generation >= snapshot.generation:
            if made.copy == snapshot.copy and made.generations == snapshot.generations:
                return snapshot, version
            return fitted, version
        found = rebased(snapshot.desired, pending, made.desired, made.generations)
        generation = max(made.copy.generation, snapshot.generation) + 1
        there = [place for place in pending if _is_there(found, place)]
        change = written(made.desired, found.desired, generation, made.copy)
        restamp(change, found.desired, there, generation)
        generations = stamped(made.generations, there, generation)
        head = change.head(made.copy, made.copy.lineage, generation, change_in_head(self._node, None))
        version = await self._repository.commit(version, Change(head, change.puts, sorted(change.deletes)))
        self._count(writes=1)
        copy = StoreCopy(made.copy.lineage, generation, change.digest, head, change.odd)
        for key, address in found.written:
            self._events.say(PendingWritten(str(key), str(address), generation))
        for (key, address), why in found.dropped.items():
            self._events.say(PendingDropped(str(key), str(address), why))
        return snapshot.given(found.desired, generations, copy, self._capacity), version

    async def _take_news(self, news: News) -> None:
        snapshot = self._writer.snapshot

        def join(refused: Mapping[VipKey, str]) -> Joined:
            return joined(
                snapshot.desired,
                snapshot.generations,
                snapshot.copy,
                news,
                now=self._writer.now(),
                host=self._host(),
                refused=refused,
            )

        made, after = await self._fitting(join)
        is_change = made.desired != snapshot.desired
        await self._make(after, event_of_head(news.head, is_one=True) if is_change else None)
        self._tell_entries(after.copy)

    async def _fitting(self, join: Callable[[Mapping[VipKey, str]], Joined]) -> tuple[Joined, Snapshot]:
        """Return the state as others want it, without what this host cannot have; the program can do it then."""
        snapshot = self._writer.snapshot
        refused: dict[VipKey, str] = {}
        while True:
            made = join(refused)
            changed = [key for key in differing(snapshot.desired.vips, made.desired.vips).present if key not in refused]
            if not changed and made.desired.vips.keys() == snapshot.desired.vips.keys():
                return made, snapshot.given(made.desired, made.generations, made.copy, self._capacity)
            try:
                after = snapshot.given(made.desired, made.generations, made.copy, self._capacity)
                self._refuse_commands(snapshot, after, refused)
                if any(key in refused for key in changed):
                    continue
                if features := await self._writer.foresee_given(after):
                    await self._writer.compile_with(features)
                return made, after
            except (CapacityError, PlatformError) as error:
                if not changed:
                    raise
                refused |= self._first_misfit(join, changed, refused, error)

    def _refuse_commands(self, before: Snapshot, after: Snapshot, refused: dict[VipKey, str]) -> None:
        if self._runs_commands:
            return
        for each in touched(before, after):
            try:
                refuse_commands([each])
            except XdplbError as error:
                refused[each.key] = error.detail

    def _first_misfit(
        self,
        join: Callable[[Mapping[VipKey, str]], Joined],
        changed: list[VipKey],
        refused: Mapping[VipKey, str],
        error: XdplbError,
    ) -> dict[VipKey, str]:
        """Return which of the changed VIPs has no room, in their order; all of them, if it is not known which."""
        snapshot, taken = self._writer.snapshot, list[VipKey]()
        if isinstance(error, CapacityError):
            for key in sorted(changed):
                others = {other: error.detail for other in changed if other not in taken and other != key}
                made = join({**refused, **others})
                try:
                    snapshot.given(made.desired, made.generations, made.copy, self._capacity)
                except CapacityError as full:
                    return {key: full.detail}
                taken.append(key)
        return dict.fromkeys(changed, error.detail)

    async def _make(self, after: Snapshot, event: Callable[[Outcome], ChangeMade] | None) -> None:
        new = after.addresses() - self._writer.snapshot.addresses() if event is not None else frozenset()
        async with self._writer.seek(new):
            await self._writer.make_given(after, event or (lambda _: None))

    def _tell_entries(self, copy: StoreCopy) -> None:
        """Tell which entries are not taken here, and which are again."""
        refused = copy.refused()
        for path in self._refused_told - refused.keys():
            self._drifts.well(DriftKind.ENTRY, path)
        for path, why in refused.items():
            self._drifts.stands(DriftKind.ENTRY, path, f"{path} in the store is not taken here: {why}")
        self._refused_told = frozenset(refused)
        if copy.lineage and str(copy.digest) != copy.head["digest"]:
            why = "what the store holds is not what its head says: somebody has written into it by hand"
            self._drifts.stands(DriftKind.STORE, "the entries", why)
        else:
            self._drifts.well(DriftKind.STORE, "the entries")

    def _is_away(self, reason: str) -> None:
        self._settled = False
        if self.standing.state is not StoreState.AWAY:
            self._told_away = self._writer.now()
            self._events.say(StoreAway(reason))
        self._stands(StoreState.AWAY, reason)

    def _is_up(self) -> None:
        if (since := self._told_away) is not None:
            self._told_away = None
            self._events.say(StoreBack(round((self._writer.now() - since).total_seconds(), 1)))
        self._stands(StoreState.UP, "")

    def _leaves_apart(self) -> None:
        if self.standing.state is StoreState.APART:
            self._stands(StoreState.JOINING, "")

    def _stands(self, state: StoreState, reason: str) -> None:
        before = self.standing
        since = before.since if before.state is state else self._writer.now()
        self.standing = replace(before, state=state, reason=reason, since=since, revision=self._version.revision)
        if reason:
            self._drifts.stands(DriftKind.STORE, _STORE, f"the store is {state}: {reason}")
        else:
            self._drifts.well(DriftKind.STORE, _STORE)

    def _count(self, *, writes: int = 0, conflicts: int = 0) -> None:
        standing = self.standing
        self.standing = replace(
            standing,
            writes=standing.writes + writes,
            conflicts=standing.conflicts + conflicts,
            revision=self._version.revision,
        )


def _is_there(found: Rebased, place: Place) -> bool:
    key, address = place
    return key in found.desired.vips and address in found.desired.vips[key].backends
