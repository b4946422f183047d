# SPDX-License-Identifier: Apache-2.0
"""What `xdplb top` reads: in a thread of its own, so that a daemon that is slow or gone holds up no key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from xdplb.client import Client, NotFoundError, XdplbError
from xdplb.client.bodies import BackendOut, StatsOut, VipOut

from .rates import rates
from .vip_table import vip_text

__all__ = ["Failure", "Reader", "Reading"]

_SHARE_OF_TIME = 10
"""At most one part in so many of the time is spent on reading: a daemon with thousands of VIPs has other work."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the daemon said at `at`. `rates` are per second since the reading before, None if there is none.

    `backends` are those of `vip`, the one that is looked at; none if there is no such VIP any more.
    """

    at: datetime
    vips: list[VipOut]
    stats: StatsOut
    rates: StatsOut | None
    vip: str | None
    backends: list[BackendOut]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer, and what to do."""

    at: datetime
    detail: str
    hint: str


class Reader(threading.Thread):
    """Reads again and again, `interval` seconds apart at least, and tells `tell` of it, in this thread."""

    def __init__(
        self, make_client: Callable[[], Client], tell: Callable[[Reading | Failure], None], interval: float
    ) -> None:
        super().__init__(name="top-reader", daemon=True)  # the program ends without waiting for an answer
        self._make_client = make_client
        self._tell = tell
        self._interval = interval
        self._vip: str | None = None
        self._before: tuple[float, StatsOut] | None = None
        self._rates: StatsOut | None = None
        self._wake = threading.Event()
        self._paused = False
        self._stopped = False

    def look_at(self, vip: str | None) -> None:
        """Also read the backends of this VIP from now on, None for those of none; read at once."""
        self._vip = vip
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Stop reading, or go on."""
        self._paused = paused
        self._wake.set()

    def read_now(self) -> None:
        """Read at once, not only when it is time."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after the read that is being made."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Read until it is stopped."""
        client = self._make_client()
        while not self._stopped:
            self._wake.clear()
            began = time.monotonic()
            if self._paused:
                self._before = None  # a rate over the pause would not be one of now
                self._wake.wait()
                continue
            told: Reading | Failure
            try:
                told = self._read(client)
            except XdplbError as error:
                self._before = None
                told = Failure(datetime.now(UTC), error.detail, error.hint)
            if self._stopped:
                break
            self._tell(told)
            self._wake.wait(max(self._interval, _SHARE_OF_TIME * (time.monotonic() - began)))
        client.close()

    def _read(self, client: Client) -> Reading:
        vip = self._vip
        vips = client.vips.list().json()["vips"]
        backends: list[BackendOut] = []
        if vip is not None and any(vip_text(each) == vip for each in vips):
            try:
                backends = client.backends.list(vip).json()["backends"]
            except NotFoundError:  # it was removed in between
                vips = [each for each in vips if vip_text(each) != vip]
        stats = client.stats().json()
        now, before = time.monotonic(), self._before
        if before is None:
            self._before, self._rates = (now, stats), None
        elif now - before[0] >= self._interval / 2:  # a shorter time, after a key, would make the rates jump
            self._before, self._rates = (now, stats), rates(before[1], stats, now - before[0])
        return Reading(datetime.now(UTC), vips, stats, self._rates, vip, backends)
