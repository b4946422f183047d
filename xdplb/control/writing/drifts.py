# SPDX-License-Identifier: Apache-2.0
"""The book of drift: what is or was not as it should be on this host. Each is told once, and once when it is over.

Who finds a drift repairs it if that is xdplb's to do, and notes it here. Another program may undo every repair. So a
thing that was repaired several times in a few minutes is repaired ever more rarely, until it is left in peace. What
comes and goes, such as a NIC with a loose cable, is told once as that, and then no more until it has settled.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from xdplb.control.events import DriftFound, DriftKind, DriftOver, Events

__all__ = ["Drift", "Drifts"]

_FIGHT_REPAIRS = 4
_FIGHT_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 2.0
_LAST_WAIT_SECONDS = 60.0
_RETOLD_SECONDS = 60.0
"""How often at most it is told that something is wrong for another reason than before."""
_FLAPS = 4
_FLAP_SECONDS = 60.0
"""What comes so many times in so many seconds flaps, until it has neither come nor gone for as long."""

_Key = tuple[DriftKind, str]


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that is not as it should be: `reason` is a sentence, `since` a time of the steady clock."""

    kind: DriftKind
    what: str
    reason: str
    since: datetime


@dataclass(slots=True)
class _Fight:
    """The repairs of a thing in the last minutes, by the monotonic clock, and when the next one may be."""

    repairs: deque[float] = field(default_factory=deque)
    wait: float = 0.0
    not_before: float = 0.0
    told: Drift | None = None


@dataclass(slots=True)
class _Flap:
    """When a thing came in the last minute and when it last came or went; `told` is set while it flaps."""

    came: deque[float] = field(default_factory=deque)
    changed: float = 0.0
    told: Drift | None = None


class Drifts:
    """The book. It may be written and read in any thread. `clock` is monotonic, in seconds; `now` the steady clock."""

    def __init__(self, events: Events, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._events, self._clock, self._now = events, clock, now
        self._lock = threading.Lock()
        self._standing: dict[_Key, Drift] = {}
        self._told_at: dict[_Key, float] = {}
        self._fights: dict[_Key, _Fight] = {}
        self._flaps: dict[_Key, _Flap] = {}
        self._past: dict[_Key, _Flap] = {}
        """What was found and put right at once, or needs nothing."""
        self._counts: Counter[tuple[DriftKind, bool]] = Counter()

    def standing(self) -> tuple[Drift, ...]:
        """Return what is not as it should be now, the oldest first."""
        with self._lock:
            fights = [fight.told for fight in self._fights.values() if fight.told is not None]
            flaps = [
                flap.told for key, flap in self._flaps.items() if flap.told is not None and key not in self._standing
            ]
            return tuple(sorted((*self._standing.values(), *fights, *flaps), key=lambda each: each.since))

    def counts(self) -> Mapping[tuple[DriftKind, bool], int]:
        """Return how much drift was found since the start, by kind, and by whether it was repaired at once."""
        with self._lock:
            return {(kind, repaired): self._counts[kind, repaired] for kind in DriftKind for repaired in (True, False)}

    def may_repair(self, kind: DriftKind, what: str) -> bool:
        """Return whether to repair this now; not if another program undid it again and again just now."""
        with self._lock:
            fight = self._fights.get((kind, what))
            return fight is None or self._clock() >= fight.not_before

    def repaired(self, kind: DriftKind, what: str, reason: str) -> None:
        """Note that this was not as it should be, and was put right; tell it, unless it is told that this goes on."""
        with self._lock:
            fight = self._fights.setdefault((kind, what), _Fight())
            known = fight.told
            self._fought(fight, kind, what)
        if known is not None:
            self.counted(kind, repaired=True)
            return
        self.counted(kind, repaired=True)
        self._events.say(DriftFound(kind, what, repaired=True, reason=reason))
        if fight.told is not None:
            self._events.say(DriftFound(kind, what, repaired=False, reason=fight.told.reason))

    def noted(self, kind: DriftKind, what: str, reason: str, *, repaired: bool) -> None:
        """Note and tell that this was found, and is of the past: nothing will say that it is over.

        What is found again and again is told once as that.
        """
        self.counted(kind, repaired=repaired)
        with self._lock:
            past = self._past.setdefault((kind, what), _Flap())
            if past.told is not None:
                past.changed = self._clock()
                return
            reason = self._came(past, Drift(kind, what, reason, self._now()), self._clock())
        self._events.say(DriftFound(kind, what, repaired=repaired, reason=reason))

    def counted(self, kind: DriftKind, *, repaired: bool) -> None:
        """Count one more of those that were told just now."""
        with self._lock:
            self._counts[kind, repaired] += 1

    def stands(self, kind: DriftKind, what: str, reason: str, *, trace: BaseException | None = None) -> None:
        """Note that this is not as it should be, and tell it, unless that is known; `trace` is for the log."""
        key = (kind, what)
        with self._lock:
            before, clock = self._standing.get(key), self._clock()
            self._standing[key] = Drift(kind, what, reason, self._now() if before is None else before.since)
            if self._is_fought(key):
                return
            if before is None:
                self._counts[kind, False] += 1
            flap = self._flaps.setdefault(key, _Flap())
            if flap.told is not None:
                flap.changed = clock if before is None else flap.changed
                return
            if before is None:
                reason = self._came(flap, self._standing[key], clock)
            elif before.reason == reason or clock < self._told_at.get(key, -math.inf) + _RETOLD_SECONDS:
                return
            if flap.told is None:
                self._told_at[key] = clock
        self._events.say(DriftFound(kind, what, repaired=False, reason=reason), trace=trace)

    def well(self, kind: DriftKind, what: str) -> None:
        """Note that this is as it should be, and tell it if it was not."""
        key = (kind, what)
        if key not in self._standing:  # nearly always
            return
        with self._lock:
            over = self._standing.pop(key, None)
            was_told = self._told_at.pop(key, None) is not None
            if (flap := self._flaps.get(key)) is not None:
                flap.changed = self._clock()
        if over is not None and was_told:
            self._say_over(over)

    def look(self) -> None:
        """Forget the fights that are over and what has settled, and tell it of those that were told."""
        now = self._clock()
        with self._lock:
            ended = {key: each for key, each in self._fights.items() if each.repairs[-1] < now - _FIGHT_SECONDS}
            for key in ended:
                del self._fights[key]
            over = [fight.told for fight in ended.values() if fight.told is not None]
            over += self._settled(now)
        for each in over:
            self._say_over(each)

    def _came(self, flap: _Flap, drift: Drift, clock: float) -> str:
        """Note that a drift came; return what to tell of it, which is more if it flaps."""
        flap.came.append(clock)
        flap.changed = clock
        while flap.came[0] < clock - _FLAP_SECONDS:
            flap.came.popleft()
        if len(flap.came) < _FLAPS:
            return drift.reason
        reason = (
            f"{drift.reason}; this came {len(flap.came)} times within a minute, and is not told again until"
            f" it has settled for {_FLAP_SECONDS:.0f} s"
        )
        flap.told = Drift(drift.kind, drift.what, reason, drift.since)
        return reason

    def _settled(self, now: float) -> list[Drift]:
        """Forget what has neither come nor gone for long; return of what flapped what is over."""
        over, end = [], now - _FLAP_SECONDS
        for key in [key for key, past in self._past.items() if past.changed < end]:
            del self._past[key]
        for key in [key for key, flap in self._flaps.items() if flap.changed < end]:
            told = self._flaps.pop(key).told
            if told is not None and key in self._standing:  # it is told already, and will be told to be over
                self._told_at[key] = now
            elif told is not None:
                over.append(told)
        return over

    def _is_fought(self, key: _Key) -> bool:
        """Return whether it is told that this is undone again and again, so that no more of it is."""
        fight = self._fights.get(key)
        return fight is not None and fight.told is not None

    def _fought(self, fight: _Fight, kind: DriftKind, what: str) -> None:
        """Note a repair, and that there is something to tell if it is one too many."""
        clock = self._clock()
        fight.repairs.append(clock)
        while fight.repairs[0] < clock - _FIGHT_SECONDS:
            fight.repairs.popleft()
        if len(fight.repairs) < _FIGHT_REPAIRS:
            return
        fight.wait = min(2 * fight.wait or _FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS)
        fight.not_before = clock + fight.wait
        reason = (
            f"{what} was put right {len(fight.repairs)} times in {_FIGHT_SECONDS / 60:.0f} minutes: another program on"
            f" this host undoes it each time; until that stops, xdplb waits for up to {_LAST_WAIT_SECONDS:.0f} s before"
            " it repairs it again"
        )
        fight.told = Drift(kind, what, reason, self._now() if fight.told is None else fight.told.since)

    def _say_over(self, over: Drift) -> None:
        seconds = (self._now() - over.since).total_seconds()
        self._events.say(DriftOver(over.kind, over.what, round(seconds, 1)))
