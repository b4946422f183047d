# SPDX-License-Identifier: Apache-2.0
"""What follows from the handshakes of clients: backends are ejected, suspected and checked at once, and it is told.

While no VIP samples handshakes, this waits and costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xdplb.control.events import (
    BackendDiffers,
    BackendEjected,
    BackendNotEjected,
    BackendReturned,
    Events,
    HandshakesNotRead,
)
from xdplb.control.health.health_source import HealthSource
from xdplb.control.health.passive.ejections import Ejection, Ejections, room
from xdplb.control.health.passive.reader import HandshakeReader, Seen
from xdplb.control.health.passive.rule import EJECT_BELOW, Finding, unanswered_sentence
from xdplb.control.health.passive.totals import Latency
from xdplb.control.plan.eligibility import Eligibility, Use
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.control.writing.threads import Worker
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import DataPlane
from xdplb.model.errors import XdplbError
from xdplb.model.vip import Passive

__all__ = ["HandshakeCounts", "PassiveView", "PassiveWatch"]

_RESULTS = ("begun", "repeated", "answered", "refused", "reset")
_PERIOD_SECONDS = 0.1
_HURRY_SECONDS = 1.0
_TELL_AGAIN_SECONDS = 60.0
_DIFFERS_AGAIN_SECONDS = 600.0

Place = tuple[int, int]
"""A backend's id and its epoch."""


@dataclass(frozen=True, slots=True)
class PassiveView:
    """What passive health knows of a backend; `differs` is how it differs from its peers, empty if it does not."""

    ejection: Ejection | None = None
    latency: Latency | None = None
    differs: str = ""


@dataclass(frozen=True, slots=True)
class HandshakeCounts:
    """The sampled handshakes of a backend since it is there, by result, and how often it was ejected since the start.

    `latency` are those that were answered, by bucket, and `latency_seconds` is their sum.
    """

    results: Mapping[str, int]
    latency: Sequence[int]
    latency_seconds: float
    ejections: int
    is_ejected: bool


class PassiveWatch:
    """Looks at the sampled handshakes ten times a second, in a thread of its own.

    `suspects` is called in the event loop with the ids of the backends that may be dead, whenever they change.
    """

    def __init__(
        self,
        plane: DataPlane,
        writer: Writer,
        events: Events,
        checker: HealthSource | None,
        *,
        clock: Callable[[], float],
        suspects: Callable[[frozenset[int]], None] = lambda _: None,
    ) -> None:
        self._writer, self._events, self._checker = writer, events, checker
        self._clock, self._tell_suspects = clock, suspects
        self._reader = HandshakeReader(plane, clock)
        self._ejections = Ejections(clock, writer.now)
        self._thread = Worker("xdplb-passive")
        self._suspects: frozenset[int] = frozenset()
        self._unread = ""
        """Why the handshakes could not be read the last time, "" if they could."""
        self._hurried: dict[int, float] = {}
        self._told: dict[tuple[Place, type], float] = {}
        self._ejected_total = Counter[Place]()
        self.differing: Mapping[int, str] = {}
        """How backends differ from their peers, a sentence each, by id. Replaced as a whole."""

    async def run(self) -> None:
        """Forever: look, and do what follows, as long as a VIP needs it."""
        while True:
            await self._writer.sampling.wait()
            try:
                await self.turn()
                self._unread = ""
            except XdplbError as error:
                self._cannot_read(str(error))
            except Exception as error:
                self._cannot_read(repr(error), trace=error)
            await asyncio.sleep(_PERIOD_SECONDS)

    async def turn(self) -> None:
        """Look once; without a VIP that samples, end everything and wait for one."""
        vips = self._writer.sampled_vips()
        if not vips:
            self._writer.sampling.clear()
        seen = await self._thread(partial(self._reader.look, vips, self._ejections.present.keys()))
        self._act(seen)

    def _cannot_read(self, why: str, *, trace: BaseException | None = None) -> None:
        """Tell it, but not at each look; what was found before ends as it would have."""
        if why != self._unread:
            self._unread = why
            self._events.say(HandshakesNotRead(why), trace=trace)
        self._act(Seen({}))

    async def stop(self) -> None:
        """Return when no look is under way any more."""
        await self._thread.stop()

    def of(self, vip: BoundVip, backend: BoundBackend) -> PassiveView:
        """Return what is known of a backend. In any thread."""
        if not vip.vip.samples_handshakes:
            return PassiveView()
        differs = self.differing.get(backend.id, "")
        return PassiveView(self._ejection(backend), self._reader.latency(vip.id, backend.id), differs)

    def warnings(self) -> list[str]:
        """Return a sentence about each backend that differs from its peers. In any thread."""
        if not self.differing:
            return []
        snapshot = self._writer.snapshot
        places = {
            bound.id: f"{bound.backend.address} of {vip.vip.key}"
            for vip in (snapshot.by_id[vip_id] for vip_id in self._writer.sampled_ids if vip_id in snapshot.by_id)
            for bound in vip.backends.values()
            if bound.id in self.differing
        }
        return [f"{place} differs from its peers: {self.differing[number]}" for number, place in places.items()]

    async def counted(self) -> dict[int, HandshakeCounts]:
        """Return the counters of all backends of VIPs that are sampled, by id."""
        bounds = [bound for vip in self._writer.sampled_vips().values() for bound in vip.backends.values()]
        if not bounds:
            return {}
        rows = await self._thread(lambda: self._reader.counters([bound.id for bound in bounds]))
        return await asyncio.to_thread(self._counts, bounds, rows)

    def _counts(self, bounds: Sequence[BoundBackend], rows: NDArray[np.void]) -> dict[int, HandshakeCounts]:
        """Return what `rows` tell of these backends, by id. In any thread."""
        results = zip(*(rows[name].tolist() for name in _RESULTS), strict=True)
        columns = zip(bounds, results, rows["latency"].tolist(), rows["latency_ns"].tolist(), strict=True)
        return {
            bound.id: HandshakeCounts(
                {**dict(zip(_RESULTS, counts, strict=True)), "silent": self._reader.silent.get(bound.id, 0)},
                latency,
                nanoseconds / 1e9,
                self._ejected_total[bound.id, bound.epoch],
                self._ejection(bound) is not None,
            )
            for bound, counts, latency, nanoseconds in columns
        }

    def _ejection(self, backend: BoundBackend) -> Ejection | None:
        found = self._ejections.present.get(backend.id)
        return found if found is not None and found.epoch == backend.epoch else None

    def _act(self, seen: Seen) -> None:
        found = {
            vip_id: [one for number, one in against.items() if self._is_of(vip_id, number)]
            for vip_id, against in seen.findings.items()
        }
        findings = {one.backend for against in found.values() for one in against}
        before = self._ejections.present
        self._end_some()
        for against in found.values():
            if against and (known := self._writer.find_backend(against[0].backend)) is not None:
                self._eject_some(known[0], against)
        self._hurry(findings)
        if before is not self._ejections.present:
            self._writer.ejected({number: one.reason for number, one in self._ejections.present.items()})
        self._suspect(frozenset(findings) | self._ejections.present.keys())
        if seen.differing is not None:
            self._tell_differing(seen.differing)

    def _is_of(self, vip_id: int, backend_id: int) -> bool:
        """Whether this is a backend of this VIP, and the VIP is sampled."""
        known = self._writer.find_backend(backend_id)
        return known is not None and known[0].id == vip_id and known[0].vip.samples_handshakes

    def _end_some(self) -> None:
        """End ejections whose time is over, that are of no backend any more, or are too many by now."""
        over = {one.backend for one in self._ejections.over()}
        ended: dict[int, str] = {}
        left: dict[int, tuple[BoundVip, list[Ejection]]] = {}
        for number, one in self._ejections.present.items():
            known = self._writer.find_backend(number)
            if known is None or (known[0].id, known[1].epoch) != (one.vip, one.epoch):
                ended[number] = ""
            elif known[0].vip.passive is not Passive.EJECT:
                ended[number] = "the VIP's passive is no longer eject"
            elif number in over:
                ended[number] = f"its {one.seconds} s are over"
            else:
                left.setdefault(one.vip, (known[0], []))[1].append(one)
        for vip, mine in left.values():
            most = (self._serving(vip) + len(mine)) // 2
            soonest = sorted(mine, key=lambda one: one.ends)
            ended |= {one.backend: "too few others serve" for one in soonest[: max(0, len(mine) - most)]}
        if ended:
            self._ejections.end(ended.keys())
        for number, why in ended.items():
            if why and (known := self._writer.find_backend(number)) is not None:
                self._events.say(BackendReturned(str(known[0].vip.key), str(known[1].backend.address), why))

    def _eject_some(self, vip: BoundVip, findings: Iterable[Finding]) -> None:
        """Eject the backends against which most speaks, as many as may be."""
        bounds = {bound.id: bound for bound in vip.backends.values()}
        eligibility = self._writer.applier.eligibility
        for found in sorted(findings, key=lambda one: one.chance):
            bound, standing = bounds[found.backend], eligibility.get(found.backend)
            if found.chance >= EJECT_BELOW or not _serves_well(standing):
                continue
            why = unanswered_sentence(found)
            if vip.vip.passive is not Passive.EJECT:
                if vip.vip.passive is Passive.OBSERVE:
                    self._tell_not_ejected(vip, bound, f"{why}; the VIP's passive is observe")
            elif not room(self._serving(vip), self._ejected_of(vip)):
                self._tell_not_ejected(vip, bound, f"{why}; no more than half may be ejected, and not the last")
            else:
                made = self._ejections.begin(bound.id, vip.id, bound.epoch, why)
                self._ejected_total[bound.id, bound.epoch] += 1
                key, address = str(vip.vip.key), str(bound.backend.address)
                self._events.say(BackendEjected(key, address, made.seconds, made.times, why))

    def _serving(self, vip: BoundVip) -> int:
        """Return how many healthy backends take new connections, as the maps have it, without the ejected ones."""
        eligibility, ejected = self._writer.applier.eligibility, self._ejections.present
        numbers = (bound.id for bound in vip.backends.values() if bound.id not in ejected)
        return sum(_serves_well(eligibility.get(number)) for number in numbers)

    def _ejected_of(self, vip: BoundVip) -> int:
        return sum(one.vip == vip.id for one in self._ejections.present.values())

    def _hurry(self, backend_ids: Iterable[int]) -> None:
        """Have the checks of these run now, each once a second at most."""
        now = self._clock()
        self._hurried = {number: at for number, at in self._hurried.items() if now - at < _HURRY_SECONDS}
        due = [number for number in backend_ids if number not in self._hurried]
        if due and self._checker is not None:
            self._hurried |= dict.fromkeys(due, now)
            self._checker.hurry(due)

    def _suspect(self, suspects: frozenset[int]) -> None:
        if suspects != self._suspects:
            self._suspects = suspects
            self._tell_suspects(suspects)

    def _tell_not_ejected(self, vip: BoundVip, bound: BoundBackend, why: str) -> None:
        if self._may_tell(bound, BackendNotEjected, _TELL_AGAIN_SECONDS):
            self._events.say(BackendNotEjected(str(vip.vip.key), str(bound.backend.address), why))

    def _tell_differing(self, differing: Mapping[int, str]) -> None:
        self.differing = differing
        for number, why in differing.items():
            if (known := self._writer.find_backend(number)) is None:
                continue
            vip, bound = known
            if self._may_tell(bound, BackendDiffers, _DIFFERS_AGAIN_SECONDS):
                self._events.say(BackendDiffers(str(vip.vip.key), str(bound.backend.address), why))
        self._ejections.forget()
        self._told = {what: at for what, at in self._told.items() if self._is_there(what[0])}
        self._ejected_total = Counter({place: n for place, n in self._ejected_total.items() if self._is_there(place)})

    def _is_there(self, place: Place) -> bool:
        known = self._writer.find_backend(place[0])
        return known is not None and known[1].epoch == place[1]

    def _may_tell(self, bound: BoundBackend, kind: type, seconds: float) -> bool:
        """Whether this has not been told of the backend for so long."""
        now, what = self._clock(), ((bound.id, bound.epoch), kind)
        if now - self._told.get(what, -seconds) < seconds:
            return False
        self._told[what] = now
        return True


def _serves_well(standing: Eligibility | None) -> bool:
    """Return whether a backend takes new connections, and not only since there is no better one."""
    return standing is not None and standing.use is Use.SERVING and not standing.unfit
