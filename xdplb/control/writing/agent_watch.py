# SPDX-License-Identifier: Apache-2.0
"""Takes what the agents of backends say, and has the tables follow it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from xdplb.control.events import AgentSaid
from xdplb.control.health.advising import Advised, advised
from xdplb.control.health.book import HealthBook
from xdplb.control.health.probes.result import AgentWord
from xdplb.control.writing.dirty import Index
from xdplb.control.writing.many_events import ManyEvents
from xdplb.model.advice import Advice

__all__ = ["AgentWatch"]

_LONG_AGO = datetime.fromtimestamp(0, UTC)
_AS_CONFIGURED = Advice()


class AgentWatch:
    """Sets in the book of health what agents want. Used in the event loop.

    An agent that does not answer has said nothing new, so what it said last goes on to count. `touch` is called with
    the ids of backends that must be planned again soon.
    """

    def __init__(
        self,
        health: HealthBook,
        index: Index,
        events: ManyEvents,
        *,
        touch: Callable[[Iterable[int]], object],
        now: Callable[[], datetime],
    ) -> None:
        self._health, self._index, self._events, self._touch, self._now = health, index, events, touch, now
        self._since: dict[int, datetime] = {}

    def said(self, backend_ids: Collection[int], word: AgentWord) -> None:
        """Take what one check said of these backends."""
        now, changed = self._now(), dict[int, Advice]()
        health, since_of = self._health.known, self._since
        # A host may be a backend of a thousand VIPs, for all of which the same counts: by its identity, which is cheap.
        alike: dict[tuple[int, datetime], Advice | None] = {}
        for number in backend_ids:
            if (known := health.get(number)) is None:
                continue
            present, since = known.advice or _AS_CONFIGURED, since_of.get(number, _LONG_AGO)
            key = id(present), since
            if key not in alike:
                before = Advised(present, since)
                after = advised(before, word, now)
                alike[key] = None if after is before else after.advice
            if (advice := alike[key]) is not None:
                since_of[number], changed[number] = now, advice
        if not changed:
            return
        self._health.advise(changed)
        self._touch(changed)
        found = [(*self._index.backend(number), advice) for number, advice in changed.items()]
        self._events.say(
            AgentSaid(str(vip.vip.key), str(backend.backend.address), str(advice)) for vip, backend, advice in found
        )

    def forget(self, backend_ids: Iterable[int]) -> None:
        """Forget when something changed for backends with these ids, which are others now."""
        for number in backend_ids:
            self._since.pop(number, None)
