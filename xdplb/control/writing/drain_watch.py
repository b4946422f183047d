# SPDX-License-Identifier: Apache-2.0
"""Drains under way: what became of their connections, the certificates about that, and cutting at the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np

from xdplb.control.events import DrainChanged, Events
from xdplb.control.flows.certify import Found, certify, how_known
from xdplb.control.flows.drain import DrainView, FlowCounts
from xdplb.control.flows.ledger import Ledger, RecordsOf, Seen
from xdplb.control.plan.eligibility import Use
from xdplb.control.state.certificate import NOTHING_SEEN, Certificate, KnownBy, Outcome
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import BackendCounters, FlowRecords
from xdplb.model.errors import XdplbError

__all__ = ["DrainWatch", "Look"]

_PART = 20

_SAVE_SECONDS = 5.0
"""How often numbers are saved that a restart would not find in the flow table again."""


@dataclass(frozen=True, slots=True)
class Look:
    """A draining backend that a scan is to find, with its counters of before the scan."""

    vip: BoundVip
    backend: BoundBackend
    started: datetime
    counters: BackendCounters
    is_usable: bool


@dataclass(slots=True)
class _Open:
    """A drain that is followed: its ledger, since when that counts, and how many records had been evicted then."""

    vip: str
    address: str
    ledger: Ledger
    since: datetime
    lost_before: int
    is_cut: bool = False


View = Callable[[BoundBackend], DrainView | None]
"""Returns how far the drain of a backend is."""


class DrainWatch:
    """Follows the drains from one scan to the next."""

    def __init__(self, writer: Writer, events: Events, now: Callable[[], datetime], view: View) -> None:
        self._writer, self._events, self._now, self._view = writer, events, now, view
        self._open: dict[int, _Open] = {}
        self._certificates: dict[int, tuple[int, Certificate]] = {}
        """By backend id, with the backend's epoch. Other threads look one up, and iterate over none."""
        self.next_deadline: datetime | None = None
        """When the next drain is to be cut, as of the last turn; None if none is."""
        self._told: dict[int, Outcome] = {}
        self._to_clear: set[int] = set()
        """The backends that were cut off and whose records are still to be deleted."""
        self._unsaved: dict[tuple[int, int], Certificate] = {}
        self._saved_at: datetime | None = None
        self._saving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the certificates that were kept, and note what was cut, so that it stays so from the first plan on."""
        kept, now = await self._writer.saver.certificates(), self._now()
        cuts = {}
        for _, backend in self._writer.snapshot.backends():
            if backend.id in kept:
                self._certificates[backend.id] = backend.epoch, kept[backend.id]
            if backend.drain is not None and backend.drain.is_cut(now) and not self.has_drained(backend):
                cuts[backend.id] = now
        self._writer.cuts = cuts
        self._to_clear = set(cuts)

    async def stop(self) -> None:
        """Save what is not saved yet."""
        if self._saving is not None:
            await self._saving
        if self._unsaved:
            await self._write(self._unsaved)

    def certificate(self, backend: BoundBackend) -> Certificate | None:
        """Return the certificate of a backend's drain, or of its last one; None if it has had none. In any thread."""
        epoch, certificate = self._certificates.get(backend.id, (None, None))
        if certificate is None or epoch != backend.epoch:
            return None
        if backend.drain is not None:
            return certificate if backend.drain.started == certificate.started else None
        if certificate.outcome.is_over:
            return certificate
        return replace(certificate, outcome=Outcome.CANCELLED)  # just now: `_cancelled` will note it

    async def needs_scan(self) -> bool:
        """Return whether a drain is under way, or is over without a certificate that says so."""
        async for _, backend, shown in self._draining():
            certificate = self.certificate(backend)
            if not shown.state.is_over or certificate is None or not certificate.outcome.is_over:
                return True
        return False

    async def _draining(self) -> AsyncIterator[tuple[BoundVip, BoundBackend, DrainView]]:
        """Yield the drains; a host may drain in thousands of VIPs, so a flip may have its turn between some of them."""
        for place, (vip, backend) in enumerate(self._writer.draining()):
            if place % _PART == _PART - 1:
                await asyncio.sleep(0)
            if (shown := self._view(backend)) is not None:
                yield vip, backend, shown

    def looks(self, counters: Mapping[int, BackendCounters]) -> list[Look]:
        """Return what to look for in a scan that begins now; these counters were read before it."""
        eligibility, looks = self._writer.applier.eligibility, []
        for vip, backend in self._writer.draining():
            assert backend.drain is not None
            standing = eligibility.get(backend.id)
            counted = counters.get(backend.id, BackendCounters())
            is_usable = standing is None or standing.use is not Use.OUT or self._is_cut(backend)
            looks.append(Look(vip, backend, backend.drain.started, counted, is_usable))
            self._begin(looks[-1])
        return looks

    def note(self, flows: FlowRecords, looks: Collection[Look], at: datetime) -> None:
        """Take in a scan that began at `at`; in the thread that scans."""
        records = RecordsOf(flows, [look.backend.id for look in looks])
        for look in looks:
            vip, backend, known = look.vip, look.backend, self._open.get(look.backend.id)
            if known is not None and not known.is_cut:
                seconds = (at - known.since).total_seconds()
                seen = Seen(records, seconds, backend.id, backend.epoch, vip.vip.idle_timeout_seconds, look.is_usable)
                known.ledger.note(seen, records_udp=vip.vip.tracks_always)

    async def cut_overdue(self, seen_at: datetime) -> None:
        """Send no packets any more to backends whose drains asked for that at their deadline.

        It must have come before the last scan, which was begun at `seen_at`, so that this saw all that is cut.
        """
        overdue = []
        async for _, backend, shown in self._draining():
            if backend.drain is not None and backend.drain.is_cut(seen_at) and not shown.state.is_over:
                overdue.append(backend.id)
        if overdue:
            self._writer.cut(overdue)
            self._to_clear |= set(overdue)

    async def conclude(self, counts: FlowCounts | None) -> None:
        """Make the certificates anew from what the scans found, tell what has changed, and have it saved."""
        under_way, next_deadline = set(), None
        async for vip, backend, shown in self._draining():
            if shown.cut_at_deadline and not shown.state.is_over:
                next_deadline = min(shown.deadline, next_deadline or shown.deadline)
            if backend.id not in self._open:
                continue
            under_way.add(backend.id)
            if counts is not None and counts.at >= shown.started:
                self._certify(vip, backend, Outcome(shown.state), counts)
            self._tell(vip, backend, shown)
        for number in self._open.keys() - under_way:
            self._cancelled(number)
        self.next_deadline = next_deadline
        self._save()

    async def clear(self, scan: Callable[[], Awaitable[FlowRecords]]) -> None:
        """Delete the records of backends that were cut off; `scan` reads the flow table."""
        if not self._to_clear:
            return
        if self._saving is not None:  # first the numbers: once records are gone, nobody can count them again
            await asyncio.wait([self._saving])
        self._to_clear &= {backend.id for _, backend in self._writer.draining() if self._is_cut(backend)}
        eligibility = self._writer.applier.eligibility
        chosen = [number for number in self._to_clear if number in eligibility and eligibility[number].use is Use.OUT]
        if chosen:
            flows = await scan()
            records = np.flatnonzero(np.isin(flows.backend, chosen))
            await self._writer.with_maps(partial(self._writer.applier.delete_records, flows, records))
            self._to_clear -= set(chosen)

    def _is_cut(self, backend: BoundBackend) -> bool:
        return backend.drain is not None and backend.drain.is_cut(self._writer.cuts.get(backend.id))

    def has_drained(self, backend: BoundBackend) -> bool:
        """Return whether the drain has ended, and been watched for as long as it is to be by now. In any thread.

        It stays so when a connection speaks that was not seen, and after a restart.
        """
        certificate, drain = self.certificate(backend), backend.drain
        if certificate is None or drain is None or certificate.outcome is not Outcome.DRAINED:
            return False
        return certificate.seconds >= drain.quiet_seconds

    def _begin(self, look: Look) -> None:
        """Begin to follow a drain, or to follow it again after a restart."""
        backend = look.backend
        before = self.certificate(backend)
        if before is not None and backend.id in self._open:
            return
        if backend.id in self._open:
            self._cancelled(backend.id)
        since, forgotten = look.started, NOTHING_SEEN
        if before is None:
            self._put(backend.id, backend.epoch, self._begun(look))
        elif before.outcome.is_over:  # all that was counted is over; what comes now was not seen until then
            since, forgotten = before.until, before.counted or NOTHING_SEEN
        else:
            forgotten = before.forgotten
            # After a boot of the host there are only the records of those that have sent a packet since.
            is_recorded = before.known_by is KnownBy.RECORDS
            known_by = KnownBy.RECORDS_SINCE if is_recorded else before.known_by
            self._put(backend.id, backend.epoch, replace(before, known_by=known_by, restarts=before.restarts + 1))
        if before is not None:
            self._told[backend.id] = before.outcome
        self._open[backend.id] = _Open(
            str(look.vip.vip.key),
            str(backend.backend.address),
            Ledger(forgotten),
            since,
            self._writer.applier.evictions.evicted - (0 if before is None else before.lost_records),
            is_cut=before is not None and before.outcome is Outcome.CUT,
        )

    def _begun(self, look: Look) -> Certificate:
        return Certificate(
            outcome=Outcome.DRAINING,
            started=look.started,
            until=look.started,
            known_by=how_known(look.vip.vip, has_all_recorded=self._writer.has_all_recorded(look.vip)),
            counted=None,
            silent_at_most=None,
            why="it has just begun",
            packets_before=look.counters.packets,
            made_before=look.counters.new_flows,
        )

    def _certify(self, vip: BoundVip, backend: BoundBackend, outcome: Outcome, counts: FlowCounts) -> None:
        known, before = self._open[backend.id], self._certificates[backend.id][1]
        if outcome.is_over and before.outcome is outcome:
            return
        until = counts.at
        if outcome is Outcome.CUT:
            until = self._writer.cuts[backend.id]
            known.ledger.cut()
        known.is_cut = outcome is Outcome.CUT
        found = Found(
            vip.vip,
            before,
            outcome,
            until,
            known.ledger.counted,
            lost_records=max(0, self._writer.applier.evictions.evicted - known.lost_before),
            packets_within=partial(self._packets_before, backend.id, before),
            last_packet=counts.last_packets.get(backend.id),
        )
        self._put(backend.id, backend.epoch, replace(certify(found), forgotten=known.ledger.forgotten))

    def _packets_before(self, backend_id: int, certificate: Certificate, seconds: float) -> int:
        """Return how many packets a backend got in so many seconds before its drain began, or more."""
        traffic = self._writer.traffic
        return traffic.packets_within(backend_id, certificate.packets_before, seconds, certificate.started)

    def _tell(self, vip: BoundVip, backend: BoundBackend, shown: DrainView) -> None:
        outcome = Outcome(shown.state)
        if self._told.get(backend.id) is not outcome:
            self._told[backend.id] = outcome
            certificate = None if outcome is Outcome.DRAINING else self.certificate(backend)
            address = str(backend.backend.address)
            self._events.say(DrainChanged(str(vip.vip.key), address, outcome.value, shown.flows, certificate))

    def _cancelled(self, number: int) -> None:
        """Close the certificate of a drain that somebody has called off, or whose backend is gone."""
        known = self._open.pop(number)
        self._told.pop(number, None)
        epoch, certificate = self._certificates[number]
        if certificate.outcome.is_over:
            return
        cancelled = replace(certificate, outcome=Outcome.CANCELLED, until=self._now())
        self._put(number, epoch, cancelled)
        left = None if cancelled.counted is None else cancelled.counted.left
        self._events.say(DrainChanged(known.vip, known.address, cancelled.outcome.value, left, cancelled))

    def _put(self, number: int, epoch: int, certificate: Certificate) -> None:
        """Replace a certificate; have it saved at once if more than its numbers have changed."""
        _, before = self._certificates.get(number, (None, None))
        is_another = before is None or (before.started, before.outcome) != (certificate.started, certificate.outcome)
        if is_another:
            self._saved_at = None
        if is_another or before is None or before.forgotten != certificate.forgotten:
            self._unsaved[number, epoch] = certificate
        self._certificates[number] = epoch, certificate

    def _save(self) -> None:
        """Have what is new saved, without waiting for the disk."""
        now = self._now()
        is_saving = self._saving is not None and not self._saving.done()
        is_soon = self._saved_at is not None and (now - self._saved_at).total_seconds() < _SAVE_SECONDS
        if self._unsaved and not is_saving and not is_soon:
            unsaved, self._unsaved, self._saved_at = self._unsaved, {}, now
            self._saving = asyncio.create_task(self._write(unsaved))

    async def _write(self, certificates: Mapping[tuple[int, int], Certificate]) -> None:
        try:
            await self._writer.saver.save_certificates(certificates)
        except XdplbError:  # the saver has told it
            self._unsaved = {**certificates, **self._unsaved}
