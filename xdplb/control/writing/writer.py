"""The single writer: everything that changes state or maps goes through here, one thing at a time.

A change is checked, saved, planned and applied, in this order, and only then answered. What was saved is kept even if
the data plane cannot take it: the reconcile loop tries again. A caller that goes away does not stop a change midway.
Only a program that a change needs is compiled beside all else: that takes seconds, in which backends may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TypeVar

from xdplb.control.answers.views import DryRun
from xdplb.control.edits.describe import describe_edit
from xdplb.control.health.checks import CheckTarget, HealthSource
from xdplb.control.health.known import added, check_targets, health_after, health_at_start, reissued
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.observe import addresses_of, observe
from xdplb.control.state.snapshot import KnownHealth, Snapshot
from xdplb.control.state.sqlite import Store
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.change import Change, Edit
from xdplb.control.writing.dirty import Dirty, Index
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.dataplane.features import Features
from xdplb.model.address import IPAddress, IPNetwork, address_order
from xdplb.model.backend import Health
from xdplb.model.errors import PlatformError, XdplbError
from xdplb.model.next_hop import Resolution
from xdplb.net.next_hops import NextHopSource

__all__ = ["Writer"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_GATHER_SECONDS = 0.001
_HEARTBEAT_SECONDS = 10.0
_NEW_NEXT_HOP_SECONDS = 0.25
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 10.0


class Writer:
    """Holds the state, the last known health, and the data plane's view of both."""

    def __init__(
        self,
        applier: Applier,
        store: Store,
        next_hops: NextHopSource,
        checker: HealthSource | None,
        *,
        tunnel_sources: tuple[IPNetwork, ...],
        now: Callable[[], datetime],
    ) -> None:
        self.state = Snapshot()
        self.observed = Snapshot()
        """The latest state that the maps hold in full."""
        self.health: dict[int, KnownHealth] = {}
        self.last_error = ""
        self.applier = applier
        self._store, self._next_hops, self._checker, self._now = store, next_hops, checker, now
        self._tunnel_sources = tunnel_sources
        self._lock = asyncio.Lock()
        self._disk, self._maps, self._compiler = (Worker(f"xdplb-{name}") for name in ("state", "maps", "compiler"))
        self._disturbed, self._applied = asyncio.Event(), asyncio.Event()
        self._dirty = Dirty()
        self._unsaved: set[int] = set()
        self._to_the_end = Unbroken()
        self._retry_seconds = 0.0
        self._index = Index(Snapshot())
        self._targets: Mapping[int, CheckTarget] = {}

    async def open(self) -> None:
        """Read the store and the maps, which are not changed yet, and find what health to start with."""
        self.state, self.health = await self._disk(self._store.open)
        held = await self._maps(self.applier.read)
        adopted = {vip.id for key, vip in self.state.vips.items() if held.balances(vip.id, key)}
        anew = health_at_start(self.state, self.health, adopted, self._now())
        self.health.update(anew)
        if anew:
            await self._disk(lambda: self._store.save_health(anew))

    async def close(self) -> None:
        """Return when all that was begun is done, and let go of the store."""
        await self._to_the_end.all_done()
        if self._unsaved:
            with contextlib.suppress(XdplbError):
                await self._save_health()
        await self._disk(self._store.close)
        await self._disk.stop()
        await self._maps.stop()
        await self._compiler.stop()

    async def change(self, edit: Edit) -> Change:
        """Make a change: the maps hold it when this returns, the next hops of new backends too if they are quick.

        Raises what `edit` raises, CapacityError when the maps have no room for it, PlatformError when the program it
        needs cannot be loaded or it could not be saved (nothing is changed) or when the data plane has not taken it
        (it is kept, and tried again).
        """
        done = await self._to_the_end(self._change(edit))
        await self._wait_for_next_hops(added(done.before, done.after), _NEW_NEXT_HOP_SECONDS)
        return done

    async def preview(self, edit: Edit) -> DryRun:
        """Say what a change would do."""
        async with self._lock:
            before = self.state
            after = edit(before)
            if after is before:
                return DryRun(would_change=False)
            health = self.health | health_after(before, after, self.health, self._now())
            dirty = Dirty(everything=False)
            dirty.note(before, after)
            observed = self._observe(after, health, dirty.only)
            planned = await self._maps(lambda: self.applier.preview(before, after, observed, dirty.only))
        return DryRun(would_change=True, changes=(*describe_edit(before, after), *planned))

    async def wait_resolved(self, seconds: float) -> None:
        """Return when the next hop of every backend that the maps send to is known, but after `seconds` at most.

        Slots of a backend without a next hop move: a restart must not plan before it knows what it knew.
        """
        in_use = await self._maps(self.applier.addresses_in_use)
        sent_to = in_use & addresses_of(self.state)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(self._next_hops.lookup(address).next_hop is None for address in sent_to):
                    self._disturbed.clear()
                    await self._disturbed.wait()

    async def adopt(self) -> None:
        """Bring the maps to the state for the first time."""
        async with self._lock:
            await self._apply()

    async def with_maps(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread of the maps, while nothing else changes them."""
        return await self._to_the_end(self._with_maps(work))

    async def read_maps(self, work: Callable[[], T]) -> T:
        """Run `work`, which changes nothing, in the thread of the maps."""
        return await self._maps(work)

    def next_hops_changed(self, addresses: frozenset[IPAddress]) -> None:
        """Plan anew soon, since the network has changed: these next hops, or, without any, the VLANs on our NICs."""
        for address in sorted(addresses, key=address_order):
            resolution = self._next_hops.lookup(address)
            hop = resolution.next_hop
            said = f"reason={resolution.reason!r}" if hop is None else f"interface={hop.interface}"
            log.info("next hop changed: backend=%s %s", address, said)
            self._dirty.vips |= self._index.vips_of(address)
        self._disturbed.set()

    def health_flipped(self, backend_id: int, health: Health, reason: str) -> None:
        """Note the new health of a backend and plan anew soon."""
        self.health[backend_id] = KnownHealth(health, reason, self._now())
        self._unsaved.add(backend_id)
        vip, backend = self._index.backends[backend_id]
        address = backend.backend.address
        log.warning("health: vip=%s backend=%s health=%s reason=%r", vip.vip.key, address, health, reason)
        self._dirty.vips.add(vip.id)
        self._disturbed.set()

    def watch(self) -> None:
        """Tell next hops and checks what there is to watch now."""
        self._index = Index(self.state)
        self._next_hops.watch(addresses_of(self.state))
        if self._checker is not None:
            last_known = {backend_id: known.health for backend_id, known in self.health.items()}
            self._targets = check_targets(self.state, self._targets)
            self._checker.watch(self._targets, last_known)

    def resolution(self, address: IPAddress) -> Resolution:
        """Return the next hop of a backend as known now."""
        return self._next_hops.lookup(address)

    async def reconcile(self) -> None:
        """For ever: bring the maps to what they should hold, when something changed, failed, or looks wrong."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._disturbed.wait()
            # What happens together is planned together; what failed is tried again a little later each time.
            await asyncio.sleep(self._retry_seconds or _GATHER_SECONDS)
            await self._to_the_end(self._reconcile_once())

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
                log.error("reconcile failed: retry_seconds=%g error=%r", self._retry_seconds, str(error))
            except Exception:
                log.exception("reconcile failed: retry_seconds=%g", self._retry_seconds)

    async def _change(self, edit: Edit) -> Change:
        while not isinstance(done := await self._change_now(edit), Change):
            await self._compile(done)
        return done

    async def _compile(self, features: Features) -> None:
        await self._compiler(lambda: self.applier.require(features))

    async def _change_now(self, edit: Edit) -> Change | Features:
        """Make a change, or return what the program must be compiled for first, with nothing changed."""
        async with self._lock:
            before = self.state
            after = edit(before)
            if after is before:
                return Change(before, before, dict(self.health))
            health = health_after(before, after, self.health, self._now())
            if lacking := await self._check(before, after, health):
                return lacking
            await self._disk(lambda: self._store.save(before, after, health))
            self._take(before, after, health)
            try:
                await self._apply()
            except XdplbError as error:
                raise PlatformError(
                    f"the change is kept, but the data plane has not taken it yet: {error.detail}",
                    hint=error.hint or "it is tried again until it works; xdplb status says when it has",
                ) from error
            return Change(before, after, dict(self.health))

    async def _check(self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]) -> Features:
        """Return the features that the program lacks for a change; CapacityError where the maps have no room for it."""
        dirty = Dirty(everything=False)
        dirty.note(before, after)
        observed = self._observe(after, {**self.health, **health}, dirty.only)
        return await self._maps(lambda: self.applier.check(before, after, observed))

    def _take(self, before: Snapshot, after: Snapshot, health: dict[int, KnownHealth]) -> None:
        for backend_id in reissued(before, after):
            self.health.pop(backend_id, None)
        self.health.update(health)
        self._dirty.note(before, after)
        self.state = after
        self.watch()

    async def _apply(self) -> None:
        """Bring the maps to the state. If that fails, it is tried again, ever later."""
        state, dirty, self._dirty = self.state, self._dirty, Dirty(everything=False)
        observed = self._observe(state, self.health, dirty.only)
        try:
            await self._maps(lambda: self.applier.bring(state, observed, dirty.only))
        except Exception as error:
            self.last_error = str(error)
            self._retry_seconds = min(max(2 * self._retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            self._dirty.everything = True
            self._disturbed.set()
            raise
        self.observed, self.last_error, self._retry_seconds = state, "", 0.0
        self._applied.set()

    async def _wait_for_next_hops(self, backend_ids: Collection[int], seconds: float) -> None:
        """Return when the maps hold the next hops of these, but after `seconds` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.applier.has_next_hops(backend_ids):
                    self._applied.clear()
                    await self._applied.wait()

    async def _save_health(self) -> None:
        unsaved, self._unsaved = self._unsaved, set()
        health = {backend_id: self.health[backend_id] for backend_id in unsaved if backend_id in self.health}
        if health:
            try:
                await self._disk(lambda: self._store.save_health(health))
            except XdplbError:
                self._unsaved |= unsaved
                raise

    async def _with_maps(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await self._maps(work)

    def _observe(self, state: Snapshot, health: Mapping[int, KnownHealth], only: AbstractSet[int] | None) -> Observed:
        return observe(
            [record for vip, record in state.backends() if only is None or vip.id in only],
            health,
            self._next_hops,
            self.applier.attachments,
            self._tunnel_sources,
        )
