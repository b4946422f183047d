# SPDX-License-Identifier: Apache-2.0
"""Reading the sampled handshakes of all VIPs that need it, and what they say. Blocks: used in one thread of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xdplb.control.health.passive.rule import WINDOW_SECONDS, Finding, Sample, judge, overdue_seconds
from xdplb.control.health.passive.shares import share_of
from xdplb.control.health.passive.sources import ProvenSources
from xdplb.control.health.passive.totals import Latency, Totals
from xdplb.control.state.snapshot import BoundVip
from xdplb.dataplane import layout
from xdplb.dataplane.plane import DataPlane, VipCounters

__all__ = ["HandshakeReader", "Seen"]

_RATES_EVERY_SECONDS = 0.5
_TOTALS_EVERY_SECONDS = 1.0
_COMPARED_EVERY_SECONDS = 10.0
_SILENT_SECONDS = 15.0
_HORIZON_SECONDS = WINDOW_SECONDS + 1.0
_IDS = 1 << 16
_ENDED = layout.HANDSHAKE_FIN | layout.HANDSHAKE_RESET


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen: by VIP id, the findings by backend id.

    `differing` has a sentence about each backend that differs from its peers, by id; None if it was not asked for now.
    """

    findings: Mapping[int, Mapping[int, Finding]] = field(default_factory=dict)
    differing: Mapping[int, str] | None = None


@dataclass(slots=True)
class _Rate:
    """The counters of a VIP at the reading before, and the share of it that is sampled."""

    counters: VipCounters
    share: int = 0


@dataclass(frozen=True, slots=True)
class _Keys:
    """The backends of a VIP: their ids, and with them their epochs."""

    ids: NDArray[np.intp]
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, vip: BoundVip) -> _Keys:
        places = tuple([(bound.id, bound.epoch) for bound in vip.backends.values()])
        return cls(np.array([number for number, _ in places], np.intp), places)


class HandshakeReader:
    """Reads what the program has noted. `clock` is CLOCK_MONOTONIC in seconds."""

    def __init__(self, plane: DataPlane, clock: Callable[[], float]) -> None:
        self._plane, self._clock = plane, clock
        self._proven = ProvenSources()
        self._rates: dict[int, _Rate] = {}
        self._totals: dict[int, Totals] = {}
        self.silent = Counter[int]()
        """How many connections of each backend, by id, have fallen silent since the start."""
        self._vips: Mapping[int, BoundVip] = {}
        self._keys: dict[int, _Keys] = {}
        self._owner = np.full((_IDS, 2), -1, np.int64)
        """The VIP and the epoch of each backend, by id; -1 of others."""
        self._rated = self._totalled = self._compared = self._clock()
        self._looked = 0.0

    def look(self, vips: Mapping[int, BoundVip], ejected: Collection[int]) -> Seen:
        """Return what the handshakes of these VIPs say, by id, and set which share of each is sampled."""
        now = self._clock()
        if vips != self._vips:
            self._follow(vips)
        if now - self._rated >= _RATES_EVERY_SECONDS or self._rates.keys() != vips.keys():
            self._rate(now)
        findings = self._judge(now, frozenset(ejected))
        self._looked = now
        if now - self._totalled >= _TOTALS_EVERY_SECONDS:
            self._total(now)
        if now - self._compared < _COMPARED_EVERY_SECONDS:
            return Seen(findings)
        self._compared = now
        differing: dict[int, str] = {}
        for totals in self._totals.values():
            differing.update(totals.differing())
        return Seen(findings, differing)

    def latency(self, vip_id: int, backend_id: int) -> Latency | None:
        """Return the latency of a backend's handshakes, None if it has had none lately. In any thread."""
        totals = self._totals.get(vip_id)
        return None if totals is None else totals.latency(backend_id)

    def counters(self, backend_ids: Collection[int]) -> NDArray[np.void]:
        """Return the counters of these backends, in their order."""
        return self._plane.handshake_counters(backend_ids)

    def _follow(self, vips: Mapping[int, BoundVip]) -> None:
        """Take in which VIPs there are. It costs what has changed."""
        changed = [
            vip_id for vip_id in self._vips.keys() | vips.keys() if self._vips.get(vip_id) is not vips.get(vip_id)
        ]
        for vip_id in changed:
            if vip_id in self._keys:
                lost = self._keys.pop(vip_id).ids
                self._owner[lost[self._owner[lost, 0] == vip_id]] = -1
        for vip_id in changed:
            if vip_id in vips:
                keys = self._keys[vip_id] = _Keys.of(vips[vip_id])
                self._owner[keys.ids] = np.array([(vip_id, epoch) for _, epoch in keys.places], np.int64).reshape(-1, 2)
            else:
                self._totals.pop(vip_id, None)
        if gone := self._vips.keys() - vips.keys():
            self._proven.forget(gone)
        self.silent = Counter({number: count for number, count in self.silent.items() if self._owner[number, 0] >= 0})
        self._vips = dict(vips)

    def _rate(self, now: float) -> None:
        """Sample of each VIP what its rates since the last reading allow; of a new one everything at first."""
        seconds = max(now - self._rated, 0.001)
        counters = self._plane.vip_counters(self._vips)
        shares = dict.fromkeys(self._rates.keys() - self._vips.keys(), 0)
        rates: dict[int, _Rate] = {}
        for vip_id, found in counters.items():
            held = self._rates.get(vip_id)
            before = found if held is None else held.counters
            share = share_of(
                max(0, found.new_flows - before.new_flows) / seconds,
                max(0, found.packets - before.packets) / seconds,
                len(counters),
                0 if held is None else held.share,
            )
            rates[vip_id] = _Rate(found, share)
            shares[vip_id] = share
        self._plane.write_shares(shares)  # all, whatever somebody else has written meanwhile
        self._rates, self._rated = rates, now

    def _judge(self, now: float, ejected: frozenset[int]) -> dict[int, dict[int, Finding]]:
        rows = self._own(self._plane.read_handshakes(int((now - _HORIZON_SECONDS) * 1e9)))
        answered = rows["flags"] & layout.HANDSHAKE_ANSWERED != 0
        fresh = answered & (rows["last_at"] >= int(self._looked * 1e9))
        self._proven.note(rows["vip"][fresh], _sources(rows[fresh]), now)
        rows = rows[answered | (rows["flags"] == 0)]  # without what the client has given up
        answered = rows["flags"] != 0
        waiting = np.flatnonzero(~answered)
        is_proven = self._proven.among(rows["vip"][waiting], _sources(rows[waiting]), now)
        counts = answered.copy()
        counts[waiting[is_proven]] = True
        found: dict[int, dict[int, Finding]] = {}
        for vip_id in np.unique(rows["vip"][waiting[is_proven]]).tolist():
            mine = np.flatnonzero(counts & (rows["vip"] == vip_id))
            sample = Sample(
                rows["backend"][mine].astype(np.int64),
                _sources(rows[mine]),
                rows["syn_at"][mine] / 1e9,
                answered[mine],
            )
            totals = self._totals.get(vip_id)
            if against := judge(sample, now, overdue_seconds(None if totals is None else totals.p99()), ejected):
                found[vip_id] = against
        return found

    def _total(self, now: float) -> None:
        """Take in the counters, and count what has fallen silent since the last time."""
        begin, ids = 0, [keys.ids for keys in self._keys.values()]
        counters = self._plane.handshake_counters(np.concatenate(ids).tolist() if ids else [])
        for vip_id, keys in self._keys.items():
            end = begin + len(keys.ids)
            self._totals.setdefault(vip_id, Totals()).note(keys.places, counters[begin:end], now)
            begin = end
        rows = self._own(self._plane.read_handshakes(0))
        quiet_at = rows["last_at"] / 1e9 + _SILENT_SECONDS
        is_silent = (rows["flags"] & layout.HANDSHAKE_ANSWERED != 0) & (rows["flags"] & _ENDED == 0)
        is_silent &= (quiet_at <= now) & (quiet_at > self._totalled)
        self.silent.update(rows["backend"][is_silent].tolist())
        self._totalled = now

    def _own(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Return those of backends that there are, and of the VIPs that are looked at."""
        owner = self._owner[rows["backend"]]
        own: NDArray[np.void] = rows[(owner[:, 0] == rows["vip"]) & (owner[:, 1] == rows["epoch"])]
        return own


def _sources(rows: NDArray[np.void]) -> NDArray[np.uint64]:
    return rows["source"].astype(np.uint64)
