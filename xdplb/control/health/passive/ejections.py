# SPDX-License-Identifier: Apache-2.0
"""Ejections: for how long, how many at most, and how they end.

As Envoy's outlier detection does it: each lasts BASE_SECONDS times how often the backend was ejected lately, up to
MOST_SECONDS. For each CALM_SECONDS without one, an ejection less is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Ejection", "Ejections", "room"]

BASE_SECONDS = 30
MOST_SECONDS = 300
CALM_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ejection:
    """A backend that gets no new connections for now. `why` is part of a sentence; `times` counts the latest ones.

    `ends` is in seconds of the monotonic clock.
    """

    backend: int
    vip: int
    epoch: int
    since: datetime
    seconds: int
    times: int
    ends: float
    why: str

    @property
    def reason(self) -> str:
        """The reason as a sentence."""
        return f"ejected for {self.seconds} s: {self.why}"


def room(serving: int, ejected: int) -> int:
    """Return how many more may be ejected of a VIP: never more than half of those that would serve, never the last."""
    return max(0, min((serving + ejected) // 2 - ejected, serving - 1))


class Ejections:
    """Those that are under way, and how often backends were ejected lately. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._clock, self._now = clock, now
        self._times: dict[tuple[int, int], tuple[int, float]] = {}
        """By id and epoch: how often, and when the last one ended or ends."""
        self.present: Mapping[int, Ejection] = {}
        """Those under way, by backend id. Replaced as a whole."""

    def begin(self, backend: int, vip: int, epoch: int, why: str) -> Ejection:
        """Eject a backend."""
        at = self._clock()
        times = self._lately(backend, epoch, at) + 1
        seconds = min(BASE_SECONDS * times, MOST_SECONDS)
        made = Ejection(backend, vip, epoch, self._now(), seconds, times, at + seconds, why)
        self._times[backend, epoch] = times, made.ends
        self.present = {**self.present, backend: made}
        return made

    def over(self) -> list[Ejection]:
        """Return those whose time is over."""
        at = self._clock()
        return [one for one in self.present.values() if one.ends <= at]

    def end(self, backend_ids: Collection[int]) -> None:
        """End these, before their time or after it."""
        at = self._clock()
        for number in backend_ids:
            one = self.present[number]
            self._times[number, one.epoch] = one.times, at
        self.present = {number: one for number, one in self.present.items() if number not in backend_ids}

    def forget(self) -> None:
        """Forget how often backends were ejected, where that was long ago."""
        at = self._clock()
        self._times = {key: held for key, held in self._times.items() if self._lately(*key, at)}

    def _lately(self, backend: int, epoch: int, at: float) -> int:
        times, ended = self._times.get((backend, epoch), (0, at))
        return max(0, times - int(max(0.0, at - ended) // CALM_SECONDS))
