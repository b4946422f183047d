# SPDX-License-Identifier: Apache-2.0
"""Holds down backends that flap, and lets them go when their time is over. While none flaps, it has no timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from xdplb.control.events import BackendHeld, BackendNotHeld
from xdplb.control.health.flap_book import FlapBook
from xdplb.control.state.touched import Touched
from xdplb.control.writing.dirty import Index
from xdplb.control.writing.many_events import ManyEvents
from xdplb.model.backend import AdminState
from xdplb.model.hold import Hold

__all__ = ["FlapWatch"]

_LONGEST_SECONDS = 1.0
"""How long it waits at most: the clock that holds go by may run on while the host sleeps."""


class FlapWatch:
    """Keeps the book of flapping backends. Used in the event loop; `holds` may be read in any thread.

    `touch` is called with the ids of backends that must be planned again soon.
    """

    def __init__(
        self, now: Callable[[], datetime], index: Index, events: ManyEvents, touch: Callable[[Iterable[int]], object]
    ) -> None:
        self._now, self._index, self._events, self._touch = now, index, events, touch
        self._book = FlapBook(now)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def holds(self) -> Mapping[int, Hold]:
        """The backends that are held down, by id. Replaced as a whole."""
        return self._book.holds

    def fell(self, backend_ids: Collection[int]) -> None:
        """Take notice of backends that were up and went down; one that the operator took out may do so as it likes."""
        held = self._book.fell([number for number in backend_ids if self._is_ready(number)])
        if not held:
            return
        now = self._now()
        found = [(*self._index.backend(number), hold) for number, hold in held.items()]
        self._events.say(
            BackendHeld(str(vip.vip.key), str(backend.backend.address), hold.falls, round(hold.left(now), 1), hold.why)
            for vip, backend, hold in found
        )
        self._wait()

    def changed(self, changes: Iterable[Touched], reissued: Collection[int]) -> None:
        """Follow a change, which the index knows already. Who is made ready again is not held any more."""
        self._book.forget(reissued)
        if not self._book:
            return
        freed = [number for each in changes for number in _made_ready(each)]
        self._free(self._book.forget(freed), "the operator made it ready again")

    def stop(self) -> None:
        """Let go of nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_ready(self, number: int) -> bool:
        return self._index.backend(number)[1].backend.admin_state is AdminState.READY

    def _wait(self) -> None:
        if self.holds and self._timer is None:
            left = min(hold.until for hold in self.holds.values()) - self._now()
            seconds = min(max(left.total_seconds(), 0.0), _LONGEST_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._free(self._book.over(), "it has not gone down for long enough")
        self._wait()

    def _free(self, backend_ids: Collection[int], reason: str) -> None:
        if not backend_ids:
            return
        found = [self._index.backend(number) for number in backend_ids]
        self._events.say(
            BackendNotHeld(str(vip.vip.key), str(backend.backend.address), reason) for vip, backend in found
        )
        self._touch(backend_ids)


def _made_ready(each: Touched) -> list[int]:
    """Return the ids of the backends of a VIP that a change has ended the drain or the maintenance of."""
    taken_out = {backend.id for backend in each.lost if backend.backend.admin_state is not AdminState.READY}
    return [
        backend.id
        for backend in each.got
        if backend.id in taken_out and backend.backend.admin_state is AdminState.READY
    ]
