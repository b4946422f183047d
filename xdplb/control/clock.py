# SPDX-License-Identifier: Apache-2.0
"""The time that drains, timeouts and "since" go by: it runs evenly, whatever is done to the wall clock.

It is the time since the boot (CLOCK_BOOTTIME, which goes on while the host sleeps), plus the wall clock's time of the
boot as it was when xdplb first ran in this boot. NTP, an operator or a hypervisor may set the wall clock by hours
meanwhile; then only what is shown changes, by `SteadyClock.ahead`. The mark in the state lets a restart go on with the
same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from xdplb.model.moment import moment_of_ns

__all__ = ["ClockMark", "SteadyClock", "boot_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STEP_NS = 500_000_000
"""By how much the wall clock must have gone apart until times are shown differently: they are not to flicker."""


def boot_id() -> str:
    """Return the kernel's id of this boot, which tells this running host from all others."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class ClockMark:
    """How the clock stood at a moment, in ns since 1970: to be kept with the times that it gave.

    `boot` is the kernel's id of the boot, `booted` the time of the boot, `at` that moment, and `ahead` how far the wall
    clock was ahead of it then.
    """

    boot: str
    booted: int
    at: int
    ahead: int


class SteadyClock:
    """Gives times that are UTC as of the first start in this boot, and go on evenly from there."""

    def __init__(
        self,
        since_boot: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        wall: Callable[[], int] = time.time_ns,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._since_boot, self._wall, self._boot = since_boot, wall, boot
        self._booted = wall() - since_boot()
        self._ahead = 0

    def now(self) -> datetime:
        """Return the present time."""
        return moment_of_ns(self._now())

    def ahead(self) -> timedelta:
        """Return how far the wall clock is ahead now: what to add to a time that `now` gave, to show it."""
        return timedelta(microseconds=self._look() // 1000)

    def has_stepped(self, since: ClockMark) -> bool:
        """Return whether the wall clock has been set since the mark."""
        return self._look() != since.ahead

    def mark(self) -> ClockMark:
        """Return how it stands."""
        return ClockMark(self._boot(), self._booted, self._now(), self._look())

    def resume(self, mark: ClockMark | None) -> int:
        """Go on as another process stood at `mark`; return by how many ns the times that it gave are to be moved.

        In the same boot the time goes on, and nothing is to be moved. After another boot it is not known how long the
        host was off, except by the wall clock: the times become what they were on it, and count from there. Without a
        mark they are an older version's, and were of the wall clock already.
        """
        wall = self._wall()
        if mark is not None and mark.boot == self._boot() and mark.booted + self._since_boot() >= mark.at:
            self._booted, self._ahead = mark.booted, mark.ahead
            return 0
        self._booted, self._ahead = wall - self._since_boot(), 0
        return 0 if mark is None else mark.ahead

    def _now(self) -> int:
        return self._booted + self._since_boot()

    def _look(self) -> int:
        ahead = self._wall() - self._now()
        if abs(ahead - self._ahead) >= _STEP_NS:
            self._ahead = ahead
        return self._ahead
