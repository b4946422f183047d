# SPDX-License-Identifier: Apache-2.0
"""The single writer: everything that changes the desired state or the maps goes through here, one change at a time.

A change is checked, forecast, saved and carried out, in this order, and only then answered. A saved change is kept even
if the data plane fails to apply it: the reconcile loop retries. A change goes on even if its caller disconnects.
Only compiling a program that a change needs runs outside the lock: it takes seconds, in which backends may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from xdplb.control.clock import SteadyClock
from xdplb.control.edits.edit import addresses_of_edit
from xdplb.control.events import (
    ChangeMade,
    DriftKind,
    Events,
    HealthChanged,
    NextHopChanged,
)
from xdplb.control.flows.drain import FlowCounts
from xdplb.control.flows.traffic import Traffic
from xdplb.control.health.book import HealthBook
from xdplb.control.health.health_source import CheckTarget, CheckTargets, HealthSource
from xdplb.control.health.known import check_targets, health_at_start, reissued
from xdplb.control.history.history import History
from xdplb.control.paths.book import PathBook
from xdplb.control.plan.eligibility import Observed
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.state.store import Store
from xdplb.control.state.store_copy import NO_COPY
from xdplb.control.state.touched import Touched, touched
from xdplb.control.writing.agent_watch import AgentWatch
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.batches import batches
from xdplb.control.writing.dirty import Dirty, Index
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.flap_watch import FlapWatch
from xdplb.control.writing.foreseen import Foreseen
from xdplb.control.writing.host_watch import HostWatch
from xdplb.control.writing.many_events import ManyEvents
from xdplb.control.writing.observe import observe
from xdplb.control.writing.preparer import Prepared, Preparer
from xdplb.control.writing.pulses import MAPS_THREAD, Pulses
from xdplb.control.writing.request import Outcome, Request, event_of
from xdplb.control.writing.risk_finder import RiskFinder
from xdplb.control.writing.saver import Saver
from xdplb.control.writing.seeking import Seeking
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.control.writing.way_watch import WayWatch
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPAddress, IPNetwork, address_order
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.config import Settings
from xdplb.model.errors import HeadMovedError, PendingError, StateError, XdplbError
from xdplb.model.key import VipKey
from xdplb.model.next_hop import Resolution
from xdplb.net.next_hops import NextHopSource

__all__ = ["Writer"]

T = TypeVar("T")

_GATHER_SECONDS = 0.001
_MOST_VIPS = 50
"""By how many of its VIPs the event of a next hop is found."""
_HEARTBEAT_SECONDS = 10.0
_AFTER_STEP_SECONDS = 0.001
"""A timer may end a little early, by the clock that steps go by."""
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 10.0
_DESIRED = "the desired state"
_MOST_TRIES = 20
"""How often a change is prepared anew since other balancers were first."""


class SharedState(Protocol):
    """A store that balancers share, which a change is written to before it is made here."""

    async def write(self, request: Request, outcome: Outcome) -> Snapshot:
        """Write a change, and return the state after it. HeadMovedError if another balancer was first.

        Changes wait meanwhile; the maps do not.
        """
        ...

    async def newer(self) -> None:
        """Wait a while for what another balancer has written."""
        ...

    def lost_track(self) -> None:
        """Note that what was written to the store could not be made here."""
        ...


class Writer:
    """Holds the desired state, the health of backends, and how far the data plane has applied both."""

    def __init__(  # noqa: PLR0915 (it puts the parts together)
        self,
        applier: Applier,
        store: Store,
        next_hops: NextHopSource,
        checker: HealthSource | None,
        events: Events,
        *,
        drifts: Drifts,
        history: History,
        capacity: Capacity,
        tunnel_sources: tuple[IPNetwork, ...],
        steady: SteadyClock,
        recorded_flows: Callable[[], FlowCounts | None],
        records: Callable[[], int],
        on_settings: Callable[[Settings], None],
    ) -> None:
        self.snapshot = Snapshot()
        self.applied = Snapshot()
        """The last snapshot that the maps hold completely."""
        self.health = HealthBook(steady.now)
        self.paths = PathBook()
        self.last_error = ""
        self.sampling = asyncio.Event()
        """Set while the handshakes of a VIP are sampled, and until whoever looks at them has seen that none are."""
        self._ejected: Mapping[int, str] = {}
        self.saver = Saver(store, events, steady)
        self.host = HostWatch(next_hops, events, drifts, tunnel_sources)
        self.ways = WayWatch(next_hops, drifts)
        self.traffic = Traffic()
        """Which backends have packets, as of the last reading of the counters."""
        self.cuts: Mapping[int, datetime] = {}
        """When drains were cut at their deadline, by backend id. Replaced as a whole."""
        self.on_change: Callable[[Outcome], None] = lambda _: None
        """Called with each change once the maps have it."""
        self.on_targets: Callable[[Collection[int], CheckTargets], None] = lambda _gone, _targets: None
        """Called with the ids of backends that are checked no more, and what is checked anew."""
        self.on_flipped: Callable[[Iterable[tuple[VipKey, IPAddress]], Health], None] | None = None
        """Called with backends, each by VIP and address, whose checks have given them another health."""
        self.on_brought: Callable[[Dirty], None] = lambda _: None
        """Called with what was dirty whenever the maps have been brought up to date."""
        self.shared: SharedState | None = None
        """The store that balancers share, None if this one is alone."""
        self.applier = applier
        self._drifts = drifts
        self._events, self._history = events, history
        self._on_settings = on_settings
        self._risks = RiskFinder(self.traffic, applier, capacity, recorded_flows=recorded_flows, records=records)
        self._many_events = ManyEvents(events)
        self._next_hops, self._checker = next_hops, checker
        self.now = steady.now
        """Returns the time, which never goes back."""
        self._seeking = Seeking(next_hops, lambda: self.snapshot.addresses())  # noqa: PLW0108 - the snapshot changes
        self._lock = asyncio.Lock()
        self.waiting = 0
        """How many changes are waiting or being made."""
        self._queue = asyncio.Lock()  # changes wait here, so that what checks found waits for one of them at most
        self._maps, self._compiler = Worker("xdplb-maps"), Worker("xdplb-compiler")
        self._preparer = Preparer(
            applier,
            self._maps,
            self.health,
            next_hops,
            self.host,
            risks=self._risks,
            capacity=capacity,
            recorded_flows=recorded_flows,
            observe=self.observe,
            runs_commands=checker is None or checker.runs_commands,
            now=steady.now,
        )
        self._disturbed = asyncio.Event()
        self._dirty = Dirty()
        self._to_the_end = Unbroken()
        self._retry_seconds, self._is_stopping, self._times_brought = 0.0, False, 0
        self._foreseen: Foreseen | None = None  # what is waiting for the store that balancers share
        self._index = Index()
        self._flaps = FlapWatch(steady.now, self._index, self._many_events, self._observed_anew)
        self.agents = AgentWatch(self.health, self._index, self._many_events, touch=self._observed_anew, now=steady.now)
        self._targets: dict[int, tuple[CheckTarget, ...]] = {}
        self._step_timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Read the store and the maps, and set the health that backends start with. The maps are not changed yet."""
        self.snapshot, known = await self.saver.open()
        self._on_settings(self.snapshot.desired.settings)
        self.health.start_with(known)
        found = await self._maps(self.applier.find)
        self.paths.adopt(found.backends.values(), self.now())
        self._risks.tracked.start_with(self.snapshot.vips, self.now())
        adopted = {vip.id for key, vip in self.snapshot.vips.items() if found.balances(vip.id, key)}
        reset = health_at_start(self.snapshot, known, adopted, self.now())
        self.health.set(reset)
        if reset:
            await self.saver.save_health(reset)

    def stop_soon(self) -> None:
        """Begin no more of what only follows the checks and the network; changes under way go on."""
        self._is_stopping = True

    async def close(self) -> None:
        """Finish all work under way, save the health, and close the store."""
        if self._step_timer is not None:
            self._step_timer.cancel()
        self._flaps.stop()
        await self._to_the_end.all_done()
        self._many_events.say_the_rest()
        with contextlib.suppress(XdplbError):
            await self._save_health()
        await self.saver.close()
        await self._maps.stop()
        await self._compiler.stop()

    async def change(self, request: Request) -> Outcome:
        """Make a change. The maps hold it when this returns, with the next hops of new backends if found quickly.

        Those are looked up first, so that the table is built and published once, with the new backends in it.

        With `dry_run`, only return what it would do. Raises PreconditionError, the errors of the edit, CapacityError if
        the maps have no room, and PlatformError: if the program cannot be loaded or the change cannot be saved (nothing
        is changed), or if the data plane failed to apply it (it is kept and retried).
        """
        self.waiting += 1
        try:
            return await self._change_sought(request)
        finally:
            self.waiting -= 1

    async def _change_sought(self, request: Request) -> Outcome:
        async with self._seeking.seek(addresses_of_edit(request.edit)):
            if request.dry_run:
                async with self._queue, self._lock:
                    return (await self._preparer.prepare(self.snapshot, request, Dirty(everything=False)))[0]
            return await self._to_the_end(self._change(request))

    async def wait_resolved(self, seconds: float) -> None:
        """Wait until the next hop of every backend in use is known, for `seconds` at most.

        Slots of a backend without a next hop move, so a restart must not plan before it knows the next hops again.
        """
        in_use = await self._maps(self.applier.addresses_in_use)
        sent_to = in_use & self.snapshot.addresses()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(self._next_hops.lookup(address).next_hop is None for address in sent_to):
                    self._disturbed.clear()
                    await self._disturbed.wait()

    async def adopt(self) -> None:
        """Bring the maps to the desired state for the first time."""
        self.host.look(self.snapshot.desired)
        links = {address: self.link_mtu(address) for address in self.paths.mtus}
        self.paths.keep_lower_than({address: mtu for address, mtu in links.items() if mtu is not None})
        async with self._lock:
            instance, generation = self.saver.instance, self.snapshot.generation
            await self._maps(lambda: self.applier.belong_to(instance, generation))
            snapshot, observed = self.snapshot, self.observe(self.snapshot, dict(self.health.known))
            with self._planning() as dirty:
                await self._bringing(dirty, self._maps(lambda: self.applier.adopt(snapshot, observed)))

    async def with_maps(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread of the maps, with the lock that changes take."""
        return await self._to_the_end(self._with_maps(work))

    async def compile(self, work: Callable[[], T]) -> T:
        """Run `work`, which compiles a program and puts it on the NICs, beside all else: it takes seconds."""
        return await self._to_the_end(self._compiler(work))

    def watch_threads(self, pulses: Pulses) -> None:
        """Have the threads that write the maps and the state watched."""
        pulses.watch(MAPS_THREAD, self._maps.ask, "changes and failed checks do not reach the packet path")
        self.saver.watch_thread(pulses)

    def find_backend(self, backend_id: int) -> tuple[BoundVip, BoundBackend] | None:
        """Return the backend with this id and its VIP, None if there is none."""
        return self._index.find_backend(backend_id)

    def backends_other(self, address: IPAddress, vip: str, health: Health) -> list[int]:
        """Return the ids of the backends at an address whose health is another one: of a VIP, of all if that is ""."""
        others = [number for number in self._index.backends_at(address) if self.health.of(number) is not health]
        return [number for number in others if not vip or str(self._index.backend(number)[0].vip.key) == vip]

    async def read_maps(self, work: Callable[[], T]) -> T:
        """Run `work`, which must not change anything, in the thread of the maps."""
        return await self._maps(work)

    def next_hops_changed(self, addresses: frozenset[IPAddress]) -> None:
        """Plan again soon, since these next hops changed; if there are none, the host's interfaces or addresses did."""
        self._seeking.next_hops_changed()
        self.ways.changed(addresses)
        for address in sorted(addresses, key=address_order):
            resolution = self._next_hops.lookup(address)
            hop = resolution.next_hop
            interface, mac = (None, None) if hop is None else (hop.interface, hop.destination_mac.hex(":"))
            reason = resolution.reason if hop is None else None
            vips = tuple(islice(self._index.keys_of(address), _MOST_VIPS))
            self._events.say(NextHopChanged(str(address), interface, mac, reason, vips))
            self._touch(address)
            if self._checker is not None and hop is not None:
                self._checker.recheck(self._index.backends_at(address))
        if self.host.look(self.snapshot.desired):
            self._dirty.everything = True  # any backend may have to be sent to from another address
        self._disturbed.set()

    def path_mtus_changed(self, addresses: Collection[IPAddress]) -> None:
        """Plan again soon, since the paths to these backends take more or less now."""
        for address in addresses:
            self._touch(address)
        self._disturbed.set()

    def health_flipped(self, backend_ids: Sequence[int], health: Health, reason: str) -> None:
        """Set the new health of these backends, which one result showed, and plan again soon."""
        fell = [number for number in backend_ids if self.health.is_up(number)] if health is Health.DOWN else []
        flipped = (
            () if self.on_flipped is None else [each for each in backend_ids if self.health.of(each) is not health]
        )
        self.health.flip(backend_ids, health, reason)
        found = self._observed_anew(backend_ids)
        self._many_events.say(
            HealthChanged(str(vip.vip.key), str(backend.backend.address), health, reason) for vip, backend in found
        )
        if fell:
            self._flaps.fell(fell)
        if flipped and self.on_flipped is not None:
            places = (self._index.backend(number) for number in flipped)
            self.on_flipped([(vip.vip.key, backend.backend.address) for vip, backend in places], health)

    def _observed_anew(self, backend_ids: Iterable[int]) -> list[tuple[BoundVip, BoundBackend]]:
        """Plan again soon, since something new was observed about these backends; return them with their VIPs."""
        found = [self._index.backend(backend_id) for backend_id in backend_ids]
        for vip, backend in found:
            self._dirty.touch(vip.id, [backend.id])
        self._disturbed.set()
        return found

    def ejected(self, ejected: Mapping[int, str]) -> None:
        """Let these backends, by id, take no new connections, with the reason, and plan again soon."""
        changed = self._ejected.keys() ^ ejected.keys()
        self._ejected = ejected
        self._observed_anew(number for number in changed if self.find_backend(number) is not None)

    @property
    def sampled_ids(self) -> Collection[int]:
        """The ids of the VIPs whose handshakes are sampled, in any thread: a mapping that is replaced as a whole."""
        return self._index.sampled.keys()

    def sampled_vips(self) -> dict[int, BoundVip]:
        """Return the VIPs whose handshakes are sampled, by id."""
        return {vip_id: self.snapshot.vips[key] for vip_id, key in self._index.sampled.items()}

    def cut(self, backend_ids: Collection[int]) -> None:
        """Send these backends no packets any more soon, since the deadline of their drains has come."""
        kept = {number: at for number, at in self.cuts.items() if number in self._index.draining}
        self.cuts = kept | dict.fromkeys(backend_ids, self.now())
        self._observed_anew(backend_ids)

    def watch(self) -> None:
        """Tell the next-hop source and the checker what to watch."""
        self._watch(Snapshot(), touched(Snapshot(), self.snapshot))

    def _watch(self, before: Snapshot, changes: Collection[Touched]) -> None:
        """Tell the next-hop source and the checker what has changed of what to watch."""
        was_sampled = self._index.sampled
        self._index.follow(self.snapshot, changes)
        if self._index.sampled is not was_sampled:
            self.sampling.set()
        if before.desired.places.backends is not self.snapshot.desired.places.backends:
            self._seeking.watch()
            self.paths.keep(self.snapshot.addresses())
            self.ways.keep(self.snapshot.addresses())
        if self._checker is not None:
            gone, targets = check_targets(changes, self._targets)
            for backend_id in gone:
                del self._targets[backend_id]
            self._targets.update(targets)
            self.on_targets(gone, targets)
            self._checker.change(gone, targets, self.health.known)

    def draining(self) -> list[tuple[BoundVip, BoundBackend]]:
        """Return the backends that drain, each with its VIP."""
        return [self._index.backend(backend_id) for backend_id in sorted(self._index.draining)]

    def has_all_recorded(self, vip: BoundVip) -> bool:
        """Return whether each open connection of a VIP has a record, if none was evicted."""
        return self._risks.tracked.is_complete(vip.id, vip.vip.idle_timeout_seconds, self.now())

    @property
    def overlaid(self) -> frozenset[int]:
        """The ids of the backends under an overlay, in any thread."""
        return self._index.overlaid

    def resolution(self, address: IPAddress) -> Resolution:
        """Return the next hop of a backend, as known now."""
        return self._next_hops.lookup(address)

    def link_mtu(self, address: IPAddress) -> int | None:
        """Return the MTU of the NIC or the route to a backend, None while it is not known."""
        hop = self._next_hops.lookup(address).next_hop
        return None if hop is None else hop.mtu

    def observe(self, snapshot: Snapshot, health: Mapping[int, KnownHealth]) -> Observed:
        """Return what is known now of the host and of the backends, for a plan of this snapshot; `health` is kept."""
        return observe(
            health,
            self._next_hops,
            self.applier.nics,
            path_mtus=self.paths.mtus,
            tunnel_sources=self.host.tunnel_sources,
            sources=self.host.sources(snapshot.desired),
            ejected=self._ejected,
            now=self.now(),
            cuts=self.cuts,
            holds=self._flaps.holds,
            has_peers=self.applier.peers_late_seconds > 0,
        )

    def plan_everything(self) -> None:
        """Plan everything again soon."""
        self._dirty.everything = True
        self._disturbed.set()

    async def run(self) -> None:
        """Forever: bring the maps to the desired state when something changed or failed."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._disturbed.wait()
            # Events that come together are planned together; failures are retried with a growing delay.
            await asyncio.sleep(self._retry_seconds or _GATHER_SECONDS)
            await self._to_the_end(self._reconcile_once())

    async def _reconcile_once(self) -> None:
        async with self._lock:
            disturbed = self._disturbed.is_set()
            self._disturbed.clear()
            try:
                if not disturbed and not self.applier.knows_the_maps:
                    self._dirty.everything = disturbed = True
                if disturbed:
                    await self._apply()
            except XdplbError as error:
                self._say_behind(str(error))
            except Exception as error:
                self._say_behind(repr(error), trace=error)
            with contextlib.suppress(XdplbError):  # the saver has told it
                await self._save_health()

    def _say_behind(self, why: str, *, trace: BaseException | None = None) -> None:
        reason = f"the maps are not as they were asked to be, which is tried again: {why}"
        self._drifts.stands(DriftKind.MAP, _DESIRED, reason, trace=trace)

    async def _change(self, request: Request) -> Outcome:
        # While a program is compiled, other changes may be made, so this one is then checked and planned again.
        compiled: Features = frozenset()
        tries = 1
        while True:
            try:
                done = await (self._change_now(request) if self.shared is None else self._change_shared(request))
            except HeadMovedError:
                if self.shared is None or tries == _MOST_TRIES:
                    raise
                tries += 1
                await self.shared.newer()
                continue
            if isinstance(done, Outcome):
                return replace(done, impact=replace(done.impact, features=compiled)) if compiled else done
            await self._compile_with(done)
            compiled |= done

    async def _compile_with(self, features: Features) -> None:
        await self._compiler(lambda: self.applier.require(features))

    async def _change_now(self, request: Request) -> Outcome | Features:
        """Make a change, or change nothing and return the features that the program must be compiled with first."""
        async with self._queue, self._lock:
            # Dirty VIPs are planned with the change, so that the maps hold the whole snapshot afterwards.
            with self._planning() as dirty:
                outcome, prepared = await self._preparer.prepare(self.snapshot, request, dirty)
                if prepared is None:
                    return outcome
                if outcome.impact.features:
                    return outcome.impact.features
                if outcome.after.copy is not NO_COPY:  # of a store that is not given any more: the state is our own now
                    outcome = replace(outcome, after=outcome.after.copied(NO_COPY))
                await self._make(outcome, prepared, dirty, event_of(request, outcome))
            return outcome

    async def _change_shared(self, request: Request) -> Outcome | Features:
        """Make a change as `_change_now` does, after it was written to the store that balancers share.

        Meanwhile other changes wait, and what checks find does not: so it is planned again afterwards.
        """
        assert self.shared is not None
        async with self._queue:
            async with self._lock:
                dirty, noted = self._dirty.copied(), self._dirty.copied()
                outcome, prepared = await self._preparer.prepare(self.snapshot, request, noted)
            if prepared is None:
                return outcome
            self._foreseen = Foreseen(outcome, prepared, dirty, noted, self._times_brought)
            if outcome.impact.features:
                return outcome.impact.features
            after = await self.shared.write(request, outcome)
            outcome = replace(outcome, after=after)
            try:
                await self._make_given(after, event_of(request, outcome))
            except PendingError:
                raise
            except StateError as error:
                self.shared.lost_track()
                raise PendingError(
                    f"the change is in the store, and the other balancers make it; here it cannot be saved: "
                    f"{error.detail}",
                    hint=error.hint,
                ) from error
            except BaseException:
                self.shared.lost_track()
                raise
            return outcome

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have changes wait, for one that comes from elsewhere."""
        async with self._queue:
            yield

    def seek(self, addresses: frozenset[IPAddress]) -> AbstractAsyncContextManager[None]:
        """Look up the next hops of backends that are about to come, for a moment, so that their table is built once."""
        return self._seeking.seek(addresses)

    async def make_given(self, after: Snapshot, event: Callable[[Outcome], ChangeMade | None]) -> None:
        """Bring this balancer to a state that another one has written, in a `turn`; `event` says what to tell of it.

        Raises StateError if it cannot be saved, and PendingError if the maps do not have it yet.
        """
        await self._to_the_end(self._make_given(after, event))

    async def foresee_given(self, after: Snapshot) -> Features:
        """Return the features that a state needs in a `turn`; CapacityError if the maps have no room for it."""
        async with self._lock:
            dirty, noted = self._dirty.copied(), self._dirty.copied()
            outcome, prepared = await self._preparer.prepare_given(self.snapshot, after, noted)
            self._foreseen = Foreseen(outcome, prepared, dirty, noted, self._times_brought)
        return outcome.impact.features

    async def compile_with(self, features: Features) -> None:
        """Have the program do this, too, in some seconds; PlatformError if it cannot be loaded."""
        await self._to_the_end(self._compile_with(features))

    async def _make_given(self, after: Snapshot, event: ChangeMade | Callable[[Outcome], ChangeMade | None]) -> None:
        async with self._lock:
            with self._planning() as dirty:
                foreseen, self._foreseen = self._foreseen, None
                if foreseen is not None and foreseen.is_still_so(
                    self.snapshot, after, dirty, self._times_brought, self.applier
                ):
                    dirty.add(foreseen.noted)
                    outcome, prepared = replace(foreseen.outcome, after=after), foreseen.prepared
                else:
                    outcome, prepared = await self._preparer.prepare_given(self.snapshot, after, dirty)
                if outcome.impact.features:  # something was observed since: it is brought with the program it needs
                    prepared = prepared._replace(forecast=None)
                told = event(outcome) if callable(event) else event
                await self._make(outcome, prepared, dirty, told)

    async def _make(self, outcome: Outcome, prepared: Prepared, dirty: Dirty, event: ChangeMade | None) -> None:
        """Save a change and carry it out; `event` tells of it, None if it changes nothing that is desired."""
        told = None if event is None else self._history.told(event)
        await self.saver.save(outcome.before, outcome.after, prepared.health, told)
        self._take(outcome, prepared)
        if event is not None:
            self._events.say(event)
        try:
            await self._carry_out(prepared, dirty)
        except XdplbError as error:
            raise PendingError(
                f"the change is saved, but the data plane does not have it yet: {error.detail}",
                hint=error.hint or "xdplb retries until it succeeds; see xdplb status",
            ) from error
        finally:
            self.traffic.reissued(reissued(prepared.changes))
        self.on_change(outcome)

    async def _carry_out(self, prepared: Prepared, dirty: Dirty) -> None:
        forecast, only = prepared.forecast, dirty.only
        if forecast is None:
            await self._bring(dirty)
        else:
            generation = self.snapshot.generation
            await self._bringing(dirty, self._maps(lambda: self.applier.carry_out(forecast, only, generation)))

    def _take(self, outcome: Outcome, prepared: Prepared) -> None:
        gone = reissued(prepared.changes)
        self.health.set(prepared.health, gone=gone)
        if not gone.isdisjoint(self._ejected):
            self._ejected = {number: why for number, why in self._ejected.items() if number not in gone}
        self._risks.tracked.note(prepared.changes, self.now())
        self.snapshot = outcome.after
        if outcome.before.desired.settings != outcome.after.desired.settings:
            self._on_settings(outcome.after.desired.settings)
        if outcome.before.vips.keys() != outcome.after.vips.keys():
            self.host.look(self.snapshot.desired)
        self._watch(outcome.before, prepared.changes)
        self._flaps.changed(prepared.changes, gone)
        self.agents.forget(gone)

    @contextmanager
    def _planning(self) -> Iterator[Dirty]:
        """Yield what is dirty, to be cleared once it is applied. What is left in it afterwards stays dirty."""
        dirty, self._dirty = self._dirty, Dirty(everything=False)
        try:
            yield dirty
        finally:
            self._dirty.add(dirty)

    async def _apply(self) -> None:
        """Bring the maps to the snapshot. Failures are retried with a growing delay."""
        with self._planning() as dirty:
            await self._bring(dirty)

    async def _bring(self, dirty: Dirty) -> None:
        """Plan what is dirty and carry the plan out."""
        await self._bringing(dirty, self._bring_parts(dirty))

    async def _bring_parts(self, dirty: Dirty) -> None:
        """Bring VIPs about which only something else was observed in turn, those with most traffic first."""
        snapshot, seen = self.snapshot, dirty.seen
        parts: Iterable[AbstractSet[int] | None] = [dirty.only]
        if dirty.vips and not dirty.everything and self.applied is snapshot:
            parts = batches(self.traffic.busiest_first(dirty.vips.keys()))
        observed = self.observe(snapshot, dict(self.health.known))
        for only in parts:
            if self._is_stopping:  # what is dirty stays so: the next start plans everything, by the health saved here
                raise asyncio.CancelledError
            await self._maps(partial(self.applier.bring, snapshot, observed, only, seen))

    async def _bringing(self, dirty: Dirty, work: Awaitable[None]) -> None:
        """Wait for `work`, which brings the dirty parts of the maps to the snapshot."""
        snapshot = self.snapshot
        self._times_brought += 1
        try:
            await work
            if not self.applier.is_marked(snapshot.generation):
                await self._maps(partial(self.applier.brought_to, snapshot.generation))
        except Exception as error:
            self.last_error = str(error)
            self._retry_seconds = min(max(2 * self._retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            self._dirty.everything = True  # after a failure it is not known which VIPs are up to date
            self._disturbed.set()
            raise
        self.on_brought(dirty)
        dirty.clear()
        self.applied, self.last_error, self._retry_seconds = snapshot, "", 0.0
        self._drifts.well(DriftKind.MAP, _DESIRED)
        self._await_step()

    def _await_step(self) -> None:
        """Plan again when backends that ramp up get more."""
        if self._step_timer is not None:
            self._step_timer.cancel()
            self._step_timer = None
        if due := self.applier.steps_due:
            seconds = max(0.0, (min(due.values()) - self.now()).total_seconds())
            self._step_timer = asyncio.get_running_loop().call_later(seconds + _AFTER_STEP_SECONDS, self._step)

    def _step(self) -> None:
        self._step_timer, now = None, self.now()
        for vip_id, at in self.applier.steps_due.items():
            if at <= now:
                self._dirty.touch(vip_id)
        self._disturbed.set()

    async def _save_health(self) -> None:
        if health := self.health.take_unsaved():
            try:
                await self.saver.save_health(health)
            except XdplbError:
                self.health.put_back(health)
                raise

    async def _with_maps(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await self._maps(work)

    def _touch(self, address: IPAddress) -> None:
        """Note that something new was observed about the backends at this address."""
        if self._dirty.everything:  # as at the start, when the next hops of all are found
            return
        for vip_id, backend_id in self._index.vips_of(address).items():
            self._dirty.touch(vip_id, [backend_id])
