"""The single writer: everything that changes the desired state or the maps goes through here, one change at a time.

A change is checked, forecast, saved and carried out, in this order, and only then answered. A saved change is kept even
if the data plane fails to apply it: the reconcile loop retries. A change goes on even if its caller disconnects.
Only compiling a program that a change needs runs outside the lock: it takes seconds, in which backends may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.codec import kind_of
from xdplb.control.edits.edit import addresses_of_edit, backend_of_edit, vip_of_edit
from xdplb.control.edits.precondition import check_precondition
from xdplb.control.events import (
    ChangeMade,
    Events,
    HealthChanged,
    NextHopChanged,
    NicsUnknown,
    ReconcileFailed,
    StateNotWritable,
    StateWritable,
    VipInTheWay,
)
from xdplb.control.flows.traffic import Traffic, breaking
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import CheckTarget, HealthSource
from xdplb.control.health.known import check_targets, health_after, health_at_start, reissued
from xdplb.control.paths.book import PathBook
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.forecast import Forecast
from xdplb.control.plan.host_concerns import host_concerns
from xdplb.control.plan.impact import NO_IMPACT, Impact, Warned
from xdplb.control.plan.sentences import warning_sentence
from xdplb.control.plan.sources import ANY_SOURCE, NO_SOURCES, Source, Sources
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store import Store
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.dirty import Dirty, Index, touched_vips
from xdplb.control.writing.observe import observe
from xdplb.control.writing.patience import Patience
from xdplb.control.writing.request import Outcome, Request
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPAddress, IPNetwork, address_order
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.errors import PlatformError, StateError, XdplbError
from xdplb.model.host import NO_HOST, Host, OwnAddress
from xdplb.model.next_hop import Resolution
from xdplb.net.next_hops import NextHopSource

__all__ = ["Writer"]

T = TypeVar("T")

_GATHER_SECONDS = 0.001
_HEARTBEAT_SECONDS = 10.0
_NIC_SECONDS = 0.5
_STATE_SECONDS = 2.0
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 10.0


class _Prepared(NamedTuple):
    """What it takes to make a change: its forecast, None if the maps cannot be read, and the health that it sets."""

    forecast: Forecast | None
    health: dict[int, KnownHealth]


class Writer:
    """Holds the desired state, the health of backends, and how far the data plane has applied both."""

    def __init__(
        self,
        applier: Applier,
        store: Store,
        next_hops: NextHopSource,
        checker: HealthSource | None,
        events: Events,
        *,
        capacity: Capacity,
        tunnel_sources: tuple[IPNetwork, ...],
        now: Callable[[], datetime],
        recorded_flows: Callable[[], NDArray[np.int64] | None],
    ) -> None:
        self.snapshot = Snapshot()
        self.applied = Snapshot()
        """The last snapshot that the maps hold completely."""
        self.health = HealthBook(now)
        self.paths = PathBook()
        self.last_error = ""
        self.state_error = ""
        """Why the state cannot be written; empty if it can."""
        self.traffic = Traffic()
        """Which backends have packets, as of the last reading of the counters."""
        self.applier = applier
        self._events, self._capacity, self._recorded_flows = events, capacity, recorded_flows
        self._store, self._next_hops, self._checker, self._now = store, next_hops, checker, now
        self._tunnel_sources = tunnel_sources
        self._lock = asyncio.Lock()
        self._disk, self._maps, self._compiler = (Worker(f"xdplb-{name}") for name in ("state", "maps", "compiler"))
        self._disturbed, self._hops_changed, self._nics_disturbed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._sought: Counter[IPAddress] = Counter()  # next hops that changes under way wait for
        self._patience = Patience(time.monotonic)
        self._dirty = Dirty()
        self._to_the_end = Unbroken()
        self._retry_seconds = 0.0
        self.nic_error = ""
        """Why it is not known which NICs have the program, "" if it is."""
        self._index = Index(Snapshot())
        self._targets: Mapping[int, CheckTarget] = {}
        self._own_addresses: tuple[OwnAddress, ...] = ()
        self._concerns: frozenset[Warned] = frozenset()
        self._sources: tuple[object, Host, Sources] = (None, NO_HOST, NO_SOURCES)

    async def open(self) -> None:
        """Read the store and the maps, and set the health that backends start with. The maps are not changed yet."""
        self.snapshot, known = await self._disk(self._store.open)
        self.health.start_with(known)
        held = await self._maps(self.applier.read)
        self.paths.adopt(held.backends.values(), self._now())
        adopted = {vip.id for key, vip in self.snapshot.vips.items() if held.balances(vip.id, key)}
        reset = health_at_start(self.snapshot, known, adopted, self._now())
        self.health.set(reset)
        if reset:
            await self._disk(lambda: self._store.save_health(reset))

    async def close(self) -> None:
        """Finish all work under way, save the health, and close the store."""
        await self._to_the_end.all_done()
        with contextlib.suppress(XdplbError):
            await self._save_health()
        await self._disk(self._store.close)
        await self._disk.stop()
        await self._maps.stop()
        await self._compiler.stop()

    async def change(self, request: Request) -> Outcome:
        """Make a change. The maps hold it when this returns, with the next hops of new backends if found quickly.

        Those are looked up first, so that the table is built and published once, with the new backends in it.

        With `dry_run`, only return what it would do. Raises PreconditionError, the errors of the edit, CapacityError if
        the maps have no room, and PlatformError: if the program cannot be loaded or the change cannot be saved (nothing
        is changed), or if the data plane failed to apply it (it is kept and retried).
        """
        async with self._looking_up(addresses_of_edit(request.edit)):
            if request.dry_run:
                async with self._lock:
                    return (await self._prepare(request, Dirty(everything=False)))[0]
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
        self._look_at_host()
        links = {address: self.link_mtu(address) for address in self.paths.mtus}
        self.paths.keep_lower_than({address: mtu for address, mtu in links.items() if mtu is not None})
        async with self._lock:
            await self._apply()

    async def with_maps(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread of the maps, with the lock that changes take."""
        return await self._to_the_end(self._with_maps(work))

    async def read_maps(self, work: Callable[[], T]) -> T:
        """Run `work`, which must not change anything, in the thread of the maps."""
        return await self._maps(work)

    def next_hops_changed(self, addresses: frozenset[IPAddress]) -> None:
        """Plan again soon, since these next hops changed; if there are none, the host's interfaces or addresses did."""
        self._hops_changed.set()
        for address in sorted(addresses, key=address_order):
            resolution = self._next_hops.lookup(address)
            hop = resolution.next_hop
            self._events.say(
                NextHopChanged(str(address), None, None, resolution.reason)
                if hop is None
                else NextHopChanged(str(address), hop.interface, hop.destination_mac.hex(":"), None)
            )
            self._dirty.vips |= self._index.vips_of(address)
            if self._checker is not None and hop is not None:
                self._checker.recheck(self._index.backends_at(address))
        if self._look_at_host():
            self._dirty.everything = True  # any backend may have to be sent to from another address
        self._nics_disturbed.set()
        self._disturbed.set()

    def path_mtus_changed(self, addresses: Collection[IPAddress]) -> None:
        """Plan again soon, since the paths to these backends take more or less now."""
        for address in addresses:
            self._dirty.vips |= self._index.vips_of(address)
        self._disturbed.set()

    def health_flipped(self, backend_id: int, health: Health, reason: str) -> None:
        """Set the new health of a backend and plan again soon."""
        self.health.flip(backend_id, health, reason)
        vip, backend = self._index.backends[backend_id]
        self._events.say(HealthChanged(str(vip.vip.key), str(backend.backend.address), health, reason))
        self._dirty.vips.add(vip.id)
        self._disturbed.set()

    def watch(self) -> None:
        """Tell the next-hop source and the checker what to watch now."""
        self._index = Index(self.snapshot)
        addresses = self.snapshot.addresses()
        self._next_hops.watch(addresses | self._sought.keys())
        self.paths.keep(addresses)
        if self._checker is not None:
            self._targets = check_targets(self.snapshot, self._targets)
            self._checker.watch(self._targets, self.health.known)

    def resolution(self, address: IPAddress) -> Resolution:
        """Return the next hop of a backend, as known now."""
        return self._next_hops.lookup(address)

    def link_mtu(self, address: IPAddress) -> int | None:
        """Return the MTU of the NIC or the route to a backend, None while it is not known."""
        hop = self._next_hops.lookup(address).next_hop
        return None if hop is None else hop.mtu

    def sources(self, snapshot: Snapshot) -> Sources:
        """Return where packets of this host's own leave from, while it balances the VIPs of `snapshot`."""
        host = self._next_hops.host()
        vips, known, sources = self._sources
        if vips is not snapshot.vips or known != host:
            sources = Sources.of(host, snapshot.vips)
            self._sources = snapshot.vips, host, sources
        return sources

    def host_concerns(self) -> list[Warned]:
        """Return which VIPs are in the way of what this host sends itself."""
        return list(host_concerns(self.snapshot.vips, self.sources(self.snapshot), self._tunnel_sources))

    def check_source(self, backend: IPAddress) -> Source:
        """Return where a check of this backend must leave from now."""
        sources = self.sources(self.snapshot)
        return sources.of_check(backend, self.resolution(backend)) if sources.over else ANY_SOURCE

    async def reconcile(self) -> None:
        """Forever: bring the maps to the desired state when something changed, failed, or looks wrong."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._disturbed.wait()
            # Events that come together are planned together; failures are retried with a growing delay.
            await asyncio.sleep(self._retry_seconds or _GATHER_SECONDS)
            await self._to_the_end(self._reconcile_once())

    async def keep_nics(self) -> None:
        """Forever: keep the program on the NICs that are asked for. The kernel announces NICs, but not programs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NIC_SECONDS):
                    await self._nics_disturbed.wait()
            self._nics_disturbed.clear()
            await self._to_the_end(self.check_nics())

    async def check_nics(self) -> None:
        """Look at the NICs, and attach where the program is missing; plan everything again soon if that changed any."""
        async with self._lock:
            links = self._next_hops.links()
            try:
                changed = await self._maps(lambda: self.applier.nics.check(links))
            except Exception as error:
                self._say_nics_unknown(error)
                return
        self.nic_error = ""
        if changed:
            self._dirty.everything = True
            self._disturbed.set()

    def _say_nics_unknown(self, error: Exception) -> None:
        """Say it once: the next look is half a second away."""
        expected = isinstance(error, XdplbError)
        text = str(error) if expected else repr(error)
        if text != self.nic_error:
            self._events.say(NicsUnknown(text), trace=None if expected else error)
        self.nic_error = text

    async def watch_state(self) -> None:
        """Forever: find out whether the state can be written, soon after it cannot, and soon after it can again."""
        while True:
            await asyncio.sleep(_STATE_SECONDS)
            with contextlib.suppress(XdplbError):
                in_doubt = await self._disk(self._store.is_in_doubt)
                if in_doubt or self.state_error:
                    await self._to_the_end(self._saving(self._store.touch))

    async def _saving(self, work: Callable[[], None]) -> None:
        """Write to the store, and note whether it can be written."""
        try:
            await self._disk(work)
        except StateError as error:
            if self.state_error != str(error):
                self.state_error = str(error)
                self._events.say(StateNotWritable(self.state_error))
            raise
        if self.state_error:
            self.state_error = ""
            self._events.say(StateWritable())

    async def _reconcile_once(self) -> None:
        async with self._lock:
            disturbed = self._disturbed.is_set()
            self._disturbed.clear()
            try:
                if not disturbed and not await self._maps(self.applier.verify):
                    self._dirty.everything = disturbed = True
                if disturbed:
                    await self._apply()
                await self._save_health()
            except XdplbError as error:
                self._events.say(ReconcileFailed(self._retry_seconds, str(error)))
            except Exception as error:
                self._events.say(ReconcileFailed(self._retry_seconds, repr(error)), trace=error)

    async def _change(self, request: Request) -> Outcome:
        # While a program is compiled, other changes may be made, so this one is then checked and planned again.
        compiled: Features = frozenset()
        while not isinstance(done := await self._change_now(request), Outcome):
            await self._compile(done)
            compiled |= done
        return replace(done, impact=replace(done.impact, features=compiled)) if compiled else done

    async def _compile(self, features: Features) -> None:
        await self._compiler(lambda: self.applier.require(features))

    async def _change_now(self, request: Request) -> Outcome | Features:
        """Make a change, or change nothing and return the features that the program must be compiled with first."""
        async with self._lock:
            # Dirty VIPs are planned with the change, so that the maps hold the whole snapshot afterwards.
            with self._planning() as dirty:
                outcome, prepared = await self._prepare(request, dirty)
                if prepared is None:
                    return outcome
                if outcome.impact.features:
                    return outcome.impact.features
                await self._saving(lambda: self._store.save(outcome.before, outcome.after, prepared.health))
                self._take(outcome, prepared.health)
                self._say_change(request)
                try:
                    await self._carry_out(prepared, dirty)
                except XdplbError as error:
                    raise PlatformError(
                        f"the change is saved, but the data plane does not have it yet: {error.detail}",
                        hint=error.hint or "xdplb retries until it succeeds; see xdplb status",
                    ) from error
            return outcome

    async def _prepare(self, request: Request, dirty: Dirty) -> tuple[Outcome, _Prepared | None]:
        """Return the outcome of a change and what is needed to make it; None if nothing changes.

        VIPs that are `dirty` are planned with it; those that the change touches are added to `dirty`.
        """
        before, known = self.snapshot, self.health.known
        check_precondition(request.edit, before.generations, request.if_match)
        desired = apply_edit(before.desired, request.edit, request.at or self._now(), self._next_hops.host())
        if desired is before.desired or desired == before.desired:
            return Outcome(before=before, after=before, health=dict(known)), None
        after = before.then(desired, self._capacity)
        changed = health_after(before, after, known, self._now())
        health = {**known, **changed}
        touched = Dirty(everything=False)
        touched.note(before, after)
        dirty.add(touched)
        only, about = dirty.only, touched_vips(before, after)
        observed, flows = self._observe(after, health, only), self._recorded_flows()
        forecast = None
        try:
            forecast = await self._maps(
                lambda: self.applier.forecast(before, after, observed, only=only, about=about, flows=flows)
            )
        except PlatformError:
            # The maps cannot be read. What was asked for can be saved all the same: bringing the maps to it is retried.
            if request.dry_run:
                raise
        impact = NO_IMPACT if forecast is None else await self._with_breaking(forecast.impact)
        return Outcome(before=before, after=after, health=health, impact=impact), _Prepared(forecast, changed)

    async def _with_breaking(self, impact: Impact) -> Impact:
        """Return the impact with warnings about open connections that break."""
        if not impact.cut_off:
            return impact
        self.traffic.note(await self._maps(self.applier.packets), self._now())
        return replace(impact, warnings=(*breaking(impact.cut_off, self.traffic, self._now()), *impact.warnings))

    async def _carry_out(self, prepared: _Prepared, dirty: Dirty) -> None:
        forecast, only = prepared.forecast, dirty.only
        if forecast is None:
            await self._bring(dirty)
        else:
            await self._bringing(dirty, lambda: self.applier.carry_out(forecast, only))

    def _look_at_host(self) -> bool:
        """Say which VIPs are newly in the way of what the host sends; return whether its addresses have changed."""
        before, self._own_addresses = self._own_addresses, self._next_hops.host().addresses
        self._next_hops.avoid(frozenset(self.sources(self.snapshot).over))
        concerns = frozenset(self.host_concerns())
        for warned in sorted(concerns - self._concerns, key=lambda warned: (warned.vip, warned.detail)):
            self._events.say(VipInTheWay(str(warned.vip), warning_sentence(warned)))
        self._concerns = concerns
        return self._own_addresses != before

    def _take(self, outcome: Outcome, health: Mapping[int, KnownHealth]) -> None:
        self.health.set(health, gone=reissued(outcome.before, outcome.after))
        self.snapshot = outcome.after
        if outcome.before.vips.keys() != outcome.after.vips.keys():
            self._look_at_host()
        self.watch()

    def _say_change(self, request: Request) -> None:
        vip, backend = vip_of_edit(request.edit), backend_of_edit(request.edit)
        self._events.say(
            ChangeMade(
                actor=request.actor,
                generation=self.snapshot.generation,
                edit=kind_of(request.edit),
                vip=None if vip is None else str(vip),
                backend=None if backend is None else str(backend),
                asked=request.edit,
            )
        )

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
        snapshot, only = self.snapshot, dirty.only
        observed = self._observe(snapshot, self.health.known, only)
        await self._bringing(dirty, lambda: self.applier.bring(snapshot, observed, only))

    async def _bringing(self, dirty: Dirty, work: Callable[[], None]) -> None:
        """Run `work`, which brings the dirty parts of the maps to the snapshot."""
        snapshot = self.snapshot
        try:
            await self._maps(work)
        except Exception as error:
            self.last_error = str(error)
            self._retry_seconds = min(max(2 * self._retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            self._dirty.everything = True  # after a failure it is not known which VIPs are up to date
            self._disturbed.set()
            raise
        dirty.clear()
        self.applied, self.last_error, self._retry_seconds = snapshot, "", 0.0

    @contextlib.asynccontextmanager
    async def _looking_up(self, addresses: frozenset[IPAddress]) -> AsyncIterator[None]:
        """Look up the next hops of these addresses, as far as they are not known and patience allows, for the block."""
        unknown = [address for address in addresses if self._next_hops.lookup(address).pending]
        if not unknown:
            yield
            return
        self._sought.update(unknown)
        try:
            self._next_hops.watch(self.snapshot.addresses() | self._sought.keys())
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.left()):
                    while any(self._next_hops.lookup(address).pending for address in unknown):
                        self._hops_changed.clear()
                        await self._hops_changed.wait()
            self._patience.spend(time.monotonic() - began)
            yield
        finally:
            self._sought.subtract(unknown)
            self._sought = +self._sought
            self._next_hops.watch(self.snapshot.addresses() | self._sought.keys())

    async def _save_health(self) -> None:
        if health := self.health.take_unsaved():
            try:
                await self._saving(lambda: self._store.save_health(health))
            except XdplbError:
                self.health.put_back(health)
                raise

    async def _with_maps(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await self._maps(work)

    def _observe(
        self, snapshot: Snapshot, health: Mapping[int, KnownHealth], only: AbstractSet[int] | None
    ) -> Observed:
        return observe(
            [backend for vip, backend in snapshot.backends() if only is None or vip.id in only],
            health,
            self._next_hops,
            self.applier.nics,
            path_mtus=self.paths.mtus,
            tunnel_sources=self._tunnel_sources,
            sources=self.sources(snapshot),
        )
